"""UPDATE, sent and received: what changes a session without an INVITE, also before it is accepted (RFC 3311)."""

from __future__ import annotations

import secrets
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from sipsimple.core.composing import SDP_TYPE, response_to, session_headers
from sipsimple.core.exchange import Answer, Exchange
from sipsimple.core.invitation.asking import exchange_inside
from sipsimple.core.invitation.payloads import refuse_foreign
from sipsimple.core.invitation.refreshing import too_brief
from sipsimple.core.notices import post
from sipsimple.core.stack import stack
from sipsimple.sip.errors import MalformedMessage, SDPNegotiationError, SIPCoreError, SIPCoreInvalidStateError
from sipsimple.sip.headers import FrozenHeader
from sipsimple.sip.message import Request, Response
from sipsimple.sip.negotiation import Negotiator, refuse
from sipsimple.sip.sdp import FrozenSDPSession, SDPSession

if TYPE_CHECKING:
    from sipsimple.core.invitation.invitation import Invitation
    from sipsimple.sip.dialog import Dialog

MAX_RETRY_AFTER: Final = 10
"""Seconds: the upper end of what an UPDATE that came too early is told to wait (RFC 3311 5.2)."""


class SentUpdate:
    """An UPDATE of ours, until it is answered."""

    def __init__(
        self, invitation: Invitation, dialog: Dialog, negotiator: Negotiator | None, offer: FrozenSDPSession | None
    ) -> None:
        self._invitation = invitation
        self._dialog = dialog
        self._negotiator = negotiator
        self._offer = offer
        self._exchange: Exchange | None = None

    def send(self, extra: tuple[Any, ...]) -> None:
        """Send it; raises SIPCoreInvalidStateError when it is not our turn to offer."""
        invitation, offer = self._invitation, self._offer
        if offer is not None:
            if self._negotiator is None:
                raise SIPCoreInvalidStateError("the first offer was not answered yet")
            self._negotiator.set_local_offer(offer)
        contact = invitation.local_contact_header
        if contact is not None:
            self._dialog.local_contact = contact.body
        headers = [*session_headers(), *invitation._refreshing.proposal(), *extra]
        request = self._dialog.make_request(
            "UPDATE",
            body=b"" if offer is None else offer.encode(),
            content_type=None if offer is None else SDP_TYPE,
            headers=[(header.name, header.body) for header in headers],
        )
        self._exchange = exchange_inside(invitation, self._dialog, request, self._answered)
        self._exchange.start()

    def close(self) -> None:
        """The dialog is over: nothing is told any more."""
        if self._exchange is not None:
            self._exchange.abandon()
            self._exchange = None

    def _answered(self, answer: Answer) -> None:
        invitation, response = self._invitation, answer.response
        invitation._update = self._exchange = None
        if response is None or not answer.accepted:
            self._refused(invitation, answer)
            return
        with suppress(MalformedMessage):
            self._dialog.update(answer.request, response)
        invitation._refreshing.accepted(response)
        if self._offer is not None and self._negotiator is not None:
            invitation._negotiated(_take_answer(self._negotiator, response), self._early())
            invitation._wish = self._offer
        post("SIPInvitationUpdateDidSucceed", invitation, response)

    def _early(self) -> Negotiator | None:
        return None if self._invitation.state == "connected" else self._negotiator

    def _refused(self, invitation: Invitation, answer: Answer) -> None:
        if self._offer is not None and self._negotiator is not None:
            self._negotiator.cancel()
        if answer.code == 422 and answer.response is not None:
            invitation._refreshing.learn_minimum(answer.response)
        if answer.response is not None:
            post("SIPInvitationUpdateDidFail", invitation, answer.response)
        else:
            post("SIPInvitationUpdateDidFail", invitation, code=answer.code, reason=answer.reason)
        if answer.code == 481 and invitation.state == "connected":
            # The other side knows nothing of this dialog: it is over (RFC 3261 12.2.1.2).
            invitation._bye()
            invitation._disconnect("remote", answer.response, disconnect_reason=answer.reason)


def take_update(
    invitation: Invitation, dialog: Dialog, negotiator: Negotiator | None, transaction: Any, request: Request
) -> None:
    """Answer an UPDATE; `negotiator` is None when the first offer of an early dialog waits for its answer."""
    endpoint = stack().endpoint
    response = too_brief(request) or refuse_foreign(request) or _refusal(invitation, negotiator, request)
    agreed: FrozenSDPSession | None = None
    if response is None and request.body:
        assert negotiator is not None
        try:
            negotiator.set_remote_offer(FrozenSDPSession.parse(request.body))
            agreed = negotiator.set_local_answer(_standing(invitation, negotiator))
        except SIPCoreError:
            negotiator.cancel()
            response = response_to(request, 488)
    if response is not None:
        endpoint.respond(transaction, response)
        return
    confirmed = invitation.state == "connected"
    response = response_to(
        request,
        200,
        contact=invitation.local_contact_header,
        extra=[*session_headers(), *(invitation._refreshing.answer(request) if confirmed else [])],
        content_type=None if agreed is None else SDP_TYPE,
        body=b"" if agreed is None else agreed.encode(),
    )
    endpoint.respond(transaction, response)
    if agreed is not None:
        invitation._negotiated(early=None if confirmed else negotiator)


def _refusal(invitation: Invitation, negotiator: Negotiator | None, request: Request) -> Response | None:
    """Why an offer has to be refused just now (RFC 3311 5.2): ours is open, or theirs was not answered yet."""
    if not request.body:
        return None
    ours = invitation._negotiator.proposed_local if negotiator is None else negotiator.proposed_local
    if ours is not None:
        return response_to(request, 491)
    if negotiator is None or negotiator.active_local is None or negotiator.proposed_remote is not None:
        wait = FrozenHeader("Retry-After", str(secrets.randbelow(MAX_RETRY_AFTER + 1)))
        return response_to(request, 500, extra=[wait])
    return None


def _standing(invitation: Invitation, negotiator: Negotiator) -> SDPSession:
    """What we answer without asking the application: what it wanted last, and no media that is new."""
    active, offer = negotiator.active_local, negotiator.proposed_remote
    assert active is not None
    assert offer is not None
    answer = SDPSession.new(invitation._wish or active)
    answer.version = active.version + 1
    for index, section in enumerate(offer.media):
        if index >= len(answer.media):
            answer.media.append(refuse(section))
        elif index >= len(active.media) or not active.media[index].port:
            answer.media[index].port = 0
    return answer


def _take_answer(negotiator: Negotiator, response: Response) -> SDPNegotiationError | None:
    try:
        negotiator.set_remote_answer(FrozenSDPSession.parse(response.body))
    except SDPNegotiationError as error:
        return error
    except SIPCoreError as error:
        negotiator.cancel()
        return SDPNegotiationError(str(error))
    return None
