"""Re-INVITE, sent and received: the offer and answer that change a session that runs (RFC 3261 14)."""

from __future__ import annotations

import secrets
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from sipsimple.core.client import Client
from sipsimple.core.composing import SDP_TYPE, response_to, session_headers
from sipsimple.core.invitation.payloads import refuse_foreign
from sipsimple.core.invitation.refreshing import too_brief
from sipsimple.core.notices import post
from sipsimple.core.stack import stack
from sipsimple.sip.acceptance import Acceptance
from sipsimple.sip.errors import MalformedMessage, SDPNegotiationError, SIPCoreError
from sipsimple.sip.headers import FrozenContactHeader, FrozenHeader
from sipsimple.sip.message import Request, Response
from sipsimple.sip.negotiation import next_version
from sipsimple.sip.sdp import FrozenSDPSession

if TYPE_CHECKING:
    from sipsimple.core.invitation.invitation import Invitation

MAX_RETRY_AFTER: Final = 10
"""Seconds: the upper end of what a re-INVITE that came too early is told to wait (RFC 3261 14.2)."""


class SentProposal:
    """A re-INVITE of ours, until its transaction is over."""

    def __init__(self, invitation: Invitation) -> None:
        self._invitation: Invitation | None = invitation
        self._client: Client | None = None
        self._ack: tuple[Request, Any] | None = None
        self._offer: FrozenSDPSession | None = None

    def send(self, offer: FrozenSDPSession, contact: FrozenContactHeader | None, extra: tuple[Any, ...]) -> None:
        """Send the offer; raises SIPCoreError when it is not our turn to offer."""
        invitation = self._invitation
        assert invitation is not None
        dialog = invitation._dialog
        assert dialog is not None
        invitation._negotiator.set_local_offer(offer)
        if contact is not None:
            dialog.local_contact = contact.body
        self._offer = offer
        proposed = invitation._refreshing.proposal()
        request = dialog.make_request(
            "INVITE",
            body=offer.encode(),
            content_type=SDP_TYPE,
            headers=[(header.name, header.body) for header in (*session_headers(), *proposed, *extra)],
        )
        self._client = Client(
            stack().endpoint,
            request,
            invitation._next_hop(),
            self,
            invitation._authenticator,
            invitation.credentials,
        )
        invitation._change("connected", "local", request, sub_state="sent_proposal")
        self._client.send()

    def cancel(self) -> None:
        if self._client is not None:
            self._client.cancel()

    def close(self) -> None:
        """The dialog is over: nothing is told any more."""
        self._invitation = None

    # What the client tells

    def next_cseq(self) -> int:
        invitation = self._invitation
        if invitation is None or invitation._dialog is None:
            return self._client.request.cseq[0] + 1 if self._client is not None else 1
        return invitation._dialog.next_cseq()

    def on_provisional(self, client: Client, response: Response) -> None:
        invitation = self._invitation
        if invitation is not None and response.code > 100 and invitation.sub_state == "sent_proposal":
            invitation._change("connected", "remote", response, sub_state="sent_proposal")

    def on_final(self, client: Client, response: Response) -> None:
        if response.code < 300:
            self._accepted(client, response)
            return
        invitation = self._over()
        if invitation is None:
            return
        invitation._negotiator.cancel()
        if response.code == 422:
            invitation._refreshing.learn_minimum(response)
        invitation._change("connected", "remote", response)
        if response.code == 481:
            # The other side knows nothing of this dialog: it is over (RFC 3261 12.2.1.2).
            invitation._bye()
            invitation._disconnect("remote", response, disconnect_reason=response.reason)

    def on_failure(self, client: Client, code: int, reason: str) -> None:
        invitation = self._over()
        if invitation is not None:
            invitation._negotiator.cancel()
            invitation._change("connected", "local", code=code, reason=reason)

    def _accepted(self, client: Client, response: Response) -> None:
        endpoint = stack().endpoint
        if self._ack is not None:
            with suppress(SIPCoreError):
                endpoint.send_stateless(*self._ack)
            return
        invitation = self._over()
        if invitation is None or invitation._dialog is None:
            return
        dialog = invitation._dialog
        with suppress(MalformedMessage):
            dialog.update(client.request, response)
        self._ack = (dialog.make_ack(client.request), invitation._next_hop())
        with suppress(SIPCoreError):
            # An ACK that cannot be sent shows as a repeated 2xx, and is sent again then.
            endpoint.send_stateless(*self._ack)
        invitation._refreshing.accepted(response)
        invitation._wish = self._offer
        invitation._negotiated(_answer_of(invitation, response.body))
        invitation._change("connected", "remote", response)

    def _over(self) -> Invitation | None:
        """The proposal is decided; the invitation, if this is still its proposal."""
        invitation = self._invitation
        if invitation is None or invitation._proposal is not self:
            return None
        invitation._proposal = None
        return invitation


class ReceivedProposal:
    """A re-INVITE of the other side, until its ACK."""

    def __init__(self, invitation: Invitation, transaction: Any, request: Request) -> None:
        self._invitation: Invitation | None = invitation
        self._transaction = transaction
        self._request = request
        self._acceptance: Acceptance | None = None
        self._awaits_answer = False
        transaction.user = self

    @classmethod
    def take(cls, invitation: Invitation, transaction: Any, request: Request) -> None:
        """Begin with a re-INVITE that came in, or refuse it at once."""
        endpoint = stack().endpoint
        updating = invitation._update is not None and invitation._negotiator.proposed_local is not None
        if invitation.sub_state == "sent_proposal" or updating:
            endpoint.respond(transaction, response_to(request, 491))
            return
        if invitation.sub_state != "normal" or invitation._answering:
            wait = FrozenHeader("Retry-After", str(secrets.randbelow(MAX_RETRY_AFTER + 1)))
            endpoint.respond(transaction, response_to(request, 500, extra=[wait]))
            return
        refusal = too_brief(request) or refuse_foreign(request)
        if refusal is not None:
            endpoint.respond(transaction, refusal)
            return
        proposal = cls(invitation, transaction, request)
        if not request.body:
            proposal._offer_as_it_is(invitation)
            return
        try:
            invitation._negotiator.set_remote_offer(FrozenSDPSession.parse(request.body))
        except SIPCoreError:
            endpoint.respond(transaction, response_to(request, 488))
            return
        invitation._proposal = proposal
        invitation._change("connected", "remote", request, sub_state="received_proposal")

    def respond(self, code: int, reason: str | None, answer: FrozenSDPSession | None, extra: tuple[Any, ...]) -> None:
        invitation = self._invitation
        if invitation is None:
            return
        endpoint = stack().endpoint
        if code < 200:
            endpoint.respond(self._transaction, response_to(self._request, code, reason, extra=extra))
        elif code < 300:
            assert answer is not None
            agreed = invitation._negotiator.set_local_answer(answer)
            invitation._wish = answer
            response = self._accept(invitation, code, reason, agreed, extra)
            invitation._proposal = None
            invitation._negotiated()
            invitation._change("connected", "local", response)
        else:
            response = response_to(self._request, code, reason, extra=extra)
            endpoint.respond(self._transaction, response)
            self._refused(invitation, "local", response)

    def cancelled(self) -> None:
        """The other side withdrew it."""
        invitation = self._invitation
        if invitation is None or invitation._proposal is not self:
            return
        response = response_to(self._request, 487)
        stack().endpoint.respond(self._transaction, response)
        self._refused(invitation, "remote", response)

    def acknowledged(self, ack: Request) -> None:
        acceptance, invitation = self._acceptance, self._invitation
        if acceptance is None or ack.cseq[0] != self._request.cseq[0]:
            return
        self._acceptance = None
        acceptance.receive(ack, stack().endpoint.now())
        if invitation is None:
            return
        if self._awaits_answer:
            error = _answer_of(invitation, ack.body)
            if error is None:
                invitation._negotiated()
        self._settle(invitation)

    def _settle(self, invitation: Invitation) -> None:
        """The ACK is here, or is not waited for any more: we may propose again."""
        invitation._answering = None
        post("SIPInvitationDidSettle", invitation)

    def close(self) -> None:
        self._invitation = None
        if self._acceptance is not None:
            self._acceptance.stop()
            self._acceptance = None

    def _offer_as_it_is(self, invitation: Invitation) -> None:
        """An INVITE without a description asks for our offer: the session as it stands."""
        active = invitation._negotiator.active_local
        assert active is not None
        offer = FrozenSDPSession.new(next_version(active))
        invitation._negotiator.set_local_offer(offer)
        self._awaits_answer = True
        self._accept(invitation, 200, None, offer, ())

    def _accept(
        self,
        invitation: Invitation,
        code: int,
        reason: str | None,
        local_sdp: FrozenSDPSession,
        extra: tuple[Any, ...],
    ) -> Response:
        response = response_to(
            self._request,
            code,
            reason,
            contact=invitation.local_contact_header,
            extra=(*session_headers(), *invitation._refreshing.answer(self._request), *extra),
            content_type=SDP_TYPE,
            body=local_sdp.encode(),
        )
        endpoint = stack().endpoint
        wire = self._transaction.wire
        endpoint.respond(self._transaction, response)
        self._acceptance = Acceptance(response, wire, self)
        self._acceptance.start(endpoint.now())
        invitation._answering = self
        return response

    def _refused(self, invitation: Invitation, originator: str, response: Response) -> None:
        invitation._proposal = None
        invitation._negotiator.cancel()
        invitation._change("connected", originator, response)

    # What the transaction and the acceptance tell

    def on_ack(self, source: Any, ack: Request, now: float) -> None:
        self.acknowledged(ack)

    def on_timeout(self, transaction: Any, now: float) -> None:
        """Nobody acknowledged our refusal; the session is as it was."""

    def on_transport_error(self, transaction: Any, error: Exception, now: float) -> None:
        """The response did not go out; the other side repeats its request."""

    def on_ack_timeout(self, acceptance: Acceptance, now: float) -> None:
        invitation = self._invitation
        if invitation is None:
            return
        if not stack().ignore_missing_ack:
            invitation._bye()
            invitation._disconnect("local", disconnect_reason="missing ACK")
        elif invitation._answering is self:
            if self._awaits_answer:
                invitation._negotiator.cancel()
            self._settle(invitation)


def _answer_of(invitation: Invitation, body: bytes) -> SDPNegotiationError | None:
    """Take the other side's answer; returns what is wrong with it."""
    negotiator = invitation._negotiator
    if not body:
        negotiator.cancel()
        return SDPNegotiationError("the answer has no session description")
    try:
        negotiator.set_remote_answer(FrozenSDPSession.parse(body))
    except SDPNegotiationError as error:
        return error
    except SIPCoreError as error:
        negotiator.cancel()
        return SDPNegotiationError(str(error))
    return None
