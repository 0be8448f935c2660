"""The calling side of an INVITE: forks, early dialogs, the ACK, the crossing of CANCEL and 2xx (RFC 3261 13.2, 15)."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from sipsimple.core.client import Client
from sipsimple.core.composing import (
    ALLOW,
    SDP_TYPE,
    SUPPORTED,
    compose_request,
    first_cseq,
)
from sipsimple.core.hops import next_hop
from sipsimple.core.invitation.forks import Fork
from sipsimple.core.outbound import supported
from sipsimple.core.stack import stack
from sipsimple.sip.dialog import Dialog
from sipsimple.sip.errors import MalformedMessage, SDPNegotiationError, SIPCoreError
from sipsimple.sip.headers import FrozenHeader
from sipsimple.sip.message import Request, Response
from sipsimple.sip.negotiation import Negotiator
from sipsimple.sip.sdp import FrozenSDPSession
from sipsimple.sip.uri import SIPURI, FrozenSIPURI

if TYPE_CHECKING:
    from sipsimple.core.invitation.invitation import Invitation


MAX_FORKS: Final = 64
"""How many forks of one INVITE are told apart, those that ring and those that accept; more are ignored."""


class OutgoingLeg:
    """Sends the INVITE and follows every answer to it."""

    request: Request

    def __init__(self, invitation: Invitation) -> None:
        self._invitation: Invitation | None = invitation
        self._endpoint = stack().endpoint
        self._cseq = first_cseq()
        self._client: Client | None = None
        self._forks: dict[str, Fork] = {}  # those that ring, by their tags
        self._acks: dict[str, tuple[Request, Any]] = {}  # by the tag of each fork that said 2xx
        self._cancelled = False

    def compose(self, offer: FrozenSDPSession, extra: tuple[Any, ...]) -> None:
        invitation = self._invitation
        assert invitation is not None
        to_header, route, call_id = invitation.to_header, invitation.route_header, invitation.call_id
        assert to_header is not None
        assert route is not None
        assert call_id is not None
        options = supported(SUPPORTED, invitation.local_contact_header)
        self.request = compose_request(
            "INVITE",
            _request_uri(to_header.uri, route.uri),
            from_header=invitation.from_header,
            to_header=to_header,
            call_id=call_id,
            cseq=self._cseq,
            contact=invitation.local_contact_header,
            route=route,
            extra=(
                FrozenHeader("Allow", ALLOW),
                FrozenHeader("Supported", options),
                *invitation._refreshing.proposal(),
                *extra,
            ),
            content_type=SDP_TYPE,
            body=offer.encode(),
        )

    def send(self) -> None:
        invitation = self._invitation
        assert invitation is not None
        assert invitation._hop is not None
        self._client = Client(
            self._endpoint, self.request, invitation._hop, self, invitation._authenticator, invitation.credentials
        )
        self._client.send()

    def cancel(self, extra: tuple[Any, ...] = ()) -> None:
        """Withdraw it, and say in extra headers why."""
        self._cancelled = True
        if self._client is not None:
            self._client.cancel((header.name, header.body) for header in extra)

    def close(self) -> None:
        """The invitation is over. A 2xx that still comes is acknowledged and released."""
        self._invitation = None
        self._cancelled = True

    # What the client tells

    def next_cseq(self) -> int:
        self._cseq += 1
        return self._cseq

    def on_provisional(self, client: Client, response: Response) -> None:
        invitation = self._invitation
        if invitation is None or response.code == 100 or invitation.state not in ("outgoing", "early"):
            return
        fork = self._fork_of(invitation, client, response)
        if fork is not None:
            if not fork.is_news(response):
                return
            fork.acknowledge(
                client.request, response, client.destination, invitation._authenticator, invitation.credentials
            )
        invitation._learn(response)
        invitation._change("early", "remote", response)
        if fork is not None and fork.take_answer(invitation._negotiator.proposed_local, response):
            invitation._negotiated(early=fork.negotiator)

    def _fork_of(self, invitation: Invitation, client: Client, response: Response) -> Fork | None:
        """Who it is that rings; None when the response makes no dialog, and only tells that somebody does."""
        try:
            tag = response.to.tag
            if tag is None:
                return None
            fork = self._forks.get(tag)
            if fork is None and len(self._forks) < MAX_FORKS:
                fork = self._forks[tag] = Fork(Dialog.from_response(client.request, response))
                stack().router.add(invitation)
        except (MalformedMessage, SIPCoreError):
            return None
        return fork

    def early_dialog(self, tag: str | None) -> Dialog | None:
        """The dialog with the fork that has this tag, before any fork has accepted."""
        fork = self._forks.get(tag or "")
        return None if fork is None else fork.dialog

    def early_negotiator(self, dialog: Dialog | None) -> Negotiator | None:
        """What was agreed for good with an early fork; None where our offer still waits for a final answer."""
        forks = (fork for fork in self._forks.values() if fork.dialog is dialog)
        return next((fork.negotiator for fork in forks if fork.settled), None)

    def last_early(self) -> tuple[Dialog | None, Negotiator | None]:
        """The dialog with the fork that rang last, and what was agreed with it."""
        if not self._forks:
            return None, None
        dialog = list(self._forks.values())[-1].dialog
        return dialog, self.early_negotiator(dialog)

    def on_final(self, client: Client, response: Response) -> None:
        if response.code < 300:
            self._accepted(client, response)
        elif self._invitation is not None and not self._repeat_longer(self._invitation, client, response):
            self._refused(self._invitation, response)

    def _repeat_longer(self, invitation: Invitation, client: Client, response: Response) -> bool:
        """Send the INVITE once more when its session time was too brief (RFC 4028 7.3)."""
        if response.code != 422 or self._cancelled or not invitation._refreshing.learn_minimum(response):
            return False
        fields = client.request.headers.copy()
        fields.remove("Via")
        fields.set("CSeq", f"{self.next_cseq()} INVITE")
        for header in invitation._refreshing.proposal():
            fields.set(header.name, header.body)
        self.request = Request("INVITE", client.request.raw_uri, fields, client.request.body)
        self._forks.clear()
        self.send()
        return True

    def on_failure(self, client: Client, code: int, reason: str) -> None:
        invitation = self._invitation
        if invitation is None:
            return
        if self._cancelled:
            invitation._disconnect("local", code=code, reason=reason)
        else:
            invitation._disconnect("local", disconnect_reason="timeout" if code == 408 else reason)

    def _refused(self, invitation: Invitation, response: Response) -> None:
        invitation._learn(response)
        originator = "local" if self._cancelled else "remote"
        invitation._disconnect(originator, response)

    def _accepted(self, client: Client, response: Response) -> None:
        """A 2xx: of the first fork, again of the same, or of another one (RFC 3261 13.2.2.4)."""
        try:
            tag = response.to.tag or ""
            known = self._acks.get(tag)
            if known is not None:
                self._acknowledge(*known)
                return
            if len(self._acks) >= MAX_FORKS:
                return
            fork = self._forks.pop(tag, None) or Fork(Dialog.from_response(client.request, response))
            dialog = fork.dialog
            dialog.update(client.request, response)
        except (MalformedMessage, SIPCoreError) as error:
            if self._invitation is not None and not self._acks:
                self._invitation._disconnect("local", disconnect_reason=f"the 200 was unusable: {error}")
            return
        first = not self._acks
        ack = dialog.make_ack(client.request)
        hop = self._hop_of(dialog, client)
        self._acks[tag] = (ack, hop)
        invitation = self._invitation
        if invitation is None or not first:
            self._acknowledge(ack, hop)
            self._release(dialog, hop)
            return
        self._confirm(invitation, fork, response, ack, hop)

    def _confirm(self, invitation: Invitation, fork: Fork, response: Response, ack: Request, hop: Any) -> None:
        invitation._learn(response)
        invitation._established(fork.dialog)
        if self._cancelled:
            # The 2xx crossed our CANCEL: acknowledge it and hang up; the answer to the BYE ends the invitation.
            self._acknowledge(ack, hop)
            invitation._bye()
            return
        invitation._arm(None)
        invitation._refreshing.accepted(response)
        invitation._change("connecting", "remote", response)
        error = self._negotiate(invitation, fork, response)
        invitation._negotiated(error)
        self._acknowledge(ack, hop)
        if error is not None:
            invitation._bye()
        elif invitation.state == "connecting":
            invitation._change("connected", "local", ack)

    @staticmethod
    def _negotiate(invitation: Invitation, fork: Fork, response: Response) -> SDPNegotiationError | None:
        if fork.negotiator is not None and (fork.settled or not response.body):
            # What the 2xx repeats is no other answer (RFC 6337 3.1).
            invitation._negotiator = fork.negotiator
            return None
        if not response.body:
            return SDPNegotiationError("the answer has no session description")
        try:
            invitation._negotiator.set_remote_answer(FrozenSDPSession.parse(response.body))
        except SDPNegotiationError as error:
            return error
        except SIPCoreError as error:
            return SDPNegotiationError(str(error))
        return None

    def _acknowledge(self, ack: Request, hop: Any) -> None:
        # An ACK that cannot be sent shows as a repeated 2xx, and is sent again then.
        with suppress(SIPCoreError):
            self._endpoint.send_stateless(ack, hop)

    def _hop_of(self, dialog: Dialog, client: Client) -> Any:
        return next_hop(dialog, client.destination, client.request.from_.uri)

    def _release(self, dialog: Dialog, hop: Any) -> None:
        """End a dialog that nobody wants."""
        # One that is out of reach finds out by itself that nobody speaks to it.
        with suppress(SIPCoreError):
            self._endpoint.send_request(dialog.make_request("BYE"), hop, _Nobody())


class _Nobody:
    """Does not care what comes of a request."""

    __slots__ = ()

    def on_response(self, transaction: Any, response: Response, now: float) -> None: ...

    def on_timeout(self, transaction: Any, now: float) -> None: ...

    def on_transport_error(self, transaction: Any, error: Exception, now: float) -> None: ...


def _request_uri(target: FrozenSIPURI, route: FrozenSIPURI) -> FrozenSIPURI:
    """The called URI, with the transport of the route where that is not UDP."""
    transport = route.parameters.get("transport")
    if not transport or transport == target.parameters.get("transport"):
        return target
    uri = SIPURI.new(target)
    uri.parameters = {**target.parameters, "transport": transport}
    return FrozenSIPURI.new(uri)
