"""Takes the requests that arrive to whom they concern, and answers those that concern nobody (RFC 3261 8.2, 12.2.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sipsimple.core.composing import ACCEPT, ALLOW, SDP_TYPE, response_to, token
from sipsimple.core.incoming_request import IncomingRequest
from sipsimple.core.invitation import Invitation
from sipsimple.core.notices import post
from sipsimple.sip.errors import MalformedMessage, SIPCoreError
from sipsimple.sip.headers import FrozenHeader
from sipsimple.sip.message import Request, Response
from sipsimple.sip.sdp import FrozenSDPSession

if TYPE_CHECKING:
    from sipsimple.core.engine import Engine

SUPPORTED: Final[frozenset[str]] = frozenset()
"""Option tags that a `Require` may name."""


class Router:
    """The user of the SIP endpoint: everything that comes in passes here once."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._dialogs: dict[tuple[str, str], Invitation] = {}

    @property
    def invitations(self) -> list[Invitation]:
        """Every invitation that has a dialog or waits for an answer."""
        return list(self._dialogs.values())

    def add(self, invitation: Invitation) -> None:
        """Hand the requests of this dialog to the invitation."""
        self._dialogs[_dialog_key(invitation)] = invitation

    def remove(self, invitation: Invitation) -> None:
        self._dialogs.pop(_dialog_key(invitation), None)

    # What the endpoint tells

    def on_request(self, transaction: Any, request: Request) -> None:
        tag = request.to.tag
        if tag is not None:
            invitation = self._dialogs.get((request.call_id, tag))
            if invitation is None:
                self._answer(transaction, response_to(request, 481))
            else:
                invitation._receive(transaction, request)
        elif request.method in self._engine.incoming_requests:
            IncomingRequest()._take(transaction, request)
        else:
            self._outside_dialog(transaction, request)

    def on_acknowledgement(self, ack: Request) -> None:
        try:
            invitation = self._dialogs.get((ack.call_id, ack.to.tag or ""))
        except MalformedMessage:
            return
        if invitation is not None:
            invitation._receive_ack(ack)

    def on_cancel(self, transaction: Any, cancel: Request) -> None:
        leg = transaction.user
        invitation = getattr(leg, "_invitation", None)
        if invitation is not None:
            invitation._receive_cancel(cancel)

    def on_connection_lost(self, destination: Any, error: Exception) -> None:
        """A stream connection ended; the next request opens another."""

    def on_ack(self, transaction: Any, ack: Request, now: float) -> None:
        """A refusal of ours was acknowledged; nothing depends on it."""

    def on_timeout(self, transaction: Any, now: float) -> None:
        """A response of ours was not acknowledged; nothing depends on it."""

    def on_transport_error(self, transaction: Any, error: Exception, now: float) -> None:
        """A response of ours could not be sent; the other party will ask again."""

    # What the core answers by itself

    def _outside_dialog(self, transaction: Any, request: Request) -> None:
        match request.method:
            case "OPTIONS":
                self._answer(transaction, self.options_answer(request))
            case "INVITE":
                self._invited(transaction, request)
            case "SUBSCRIBE":
                events = ", ".join(sorted(self._engine.incoming_events))
                extra = [FrozenHeader("Allow-Events", events)] if events else []
                self._answer(transaction, response_to(request, 489, to_tag=token(), extra=extra))
            case "MESSAGE":
                self._got_message(transaction, request)
            case _:
                self._answer(transaction, self.not_allowed(request))

    def _invited(self, transaction: Any, request: Request) -> None:
        refusal, offer = _examine(request)
        if refusal is not None:
            self._answer(transaction, refusal)
            return
        Invitation()._take(transaction, request, offer)

    def _got_message(self, transaction: Any, request: Request) -> None:
        self._answer(transaction, response_to(request, 200, to_tag=token()))
        media_type, _ = request.content_type or ("text/plain", {})
        main, _, sub = media_type.partition("/")
        post(
            "SIPEngineGotMessage",
            self._engine,
            request_uri=request.uri,
            from_header=request.from_,
            to_header=request.to,
            content_type=main,
            content_subtype=sub,
            body=request.body,
        )

    @staticmethod
    def options_answer(request: Request) -> Response:
        extra = [FrozenHeader("Allow", ALLOW), FrozenHeader("Accept", ACCEPT), FrozenHeader("Supported", "")]
        return response_to(request, 200, to_tag=request.to.tag or token(), extra=extra)

    @staticmethod
    def not_allowed(request: Request) -> Response:
        extra = [FrozenHeader("Allow", ALLOW)]
        return response_to(request, 405, to_tag=request.to.tag or token(), extra=extra)

    def _answer(self, transaction: Any, response: Response) -> None:
        self._engine.endpoint.respond(transaction, response)


def _dialog_key(invitation: Invitation) -> tuple[str, str]:
    identity = invitation.local_identity
    assert identity is not None
    assert invitation.call_id is not None
    return (invitation.call_id, str(identity.tag))


def _examine(request: Request) -> tuple[Response | None, FrozenSDPSession | None]:
    """Why an INVITE has to be refused, or else its offer (None: the offer is ours to make)."""
    required = [tag.strip() for value in request.headers.get_all("Require") for tag in value.split(",")]
    unsupported = [tag for tag in required if tag and tag.lower() not in SUPPORTED]
    if unsupported:
        extra = [FrozenHeader("Unsupported", ", ".join(unsupported))]
        return response_to(request, 420, to_tag=token(), extra=extra), None
    if not request.contacts:
        return response_to(request, 400, "Missing Contact", to_tag=token()), None
    if not request.body:
        return None, None
    media_type, _ = request.content_type or ("", {})
    encoding = request.headers.get("Content-Encoding")
    if media_type.lower() != SDP_TYPE or (encoding and encoding.strip().lower() != "identity"):
        extra = [FrozenHeader("Accept", ACCEPT), FrozenHeader("Accept-Encoding", "identity")]
        return response_to(request, 415, to_tag=token(), extra=extra), None
    try:
        return None, FrozenSDPSession.parse(request.body)
    except SIPCoreError:
        return response_to(request, 400, "Bad Session Description", to_tag=token()), None
