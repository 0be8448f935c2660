"""The called side of an INVITE: its responses, the 2xx that is sent until the ACK comes (RFC 3261 13.3, RFC 3262 3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sipsimple.core.composing import SDP_TYPE, response_to, session_headers
from sipsimple.core.hops import own_contact
from sipsimple.core.invitation.reliable import ReliableResponses
from sipsimple.core.invitation.updates import take_update
from sipsimple.core.stack import stack
from sipsimple.sip.acceptance import Acceptance
from sipsimple.sip.dialog import Dialog
from sipsimple.sip.errors import SDPNegotiationError, SIPCoreError
from sipsimple.sip.headers import FrozenContactHeader
from sipsimple.sip.message import Request, Response
from sipsimple.sip.provisional import OPTION_TAG, has_option
from sipsimple.sip.sdp import FrozenSDPSession
from sipsimple.sip.status import sip_status_messages

if TYPE_CHECKING:
    from sipsimple.core.invitation.invitation import Invitation


MAX_OVERTAKING: Final = 4
"""How many requests are kept that come before the ACK of our 2xx; who sends more is told to come again."""


class IncomingLeg:
    """Answers one INVITE; the server transaction repeats what it is told, this repeats the 2xx."""

    def __init__(self, invitation: Invitation, transaction: Any, request: Request) -> None:
        self._invitation: Invitation | None = invitation
        self._transaction = transaction
        self._endpoint = stack().endpoint
        self._hop = transaction.wire.source
        self._request = request
        self._acceptance: Acceptance | None = None
        self._refusal: Any = None
        self._awaits_answer = False
        self._goodbye: tuple[Any, ...] | None = None  # the headers of a BYE that waits for the ACK
        self._dialog: Dialog | None = None
        self._reliable: ReliableResponses | None = None
        self._early_answer: FrozenSDPSession | None = None
        self._settled = False  # the early answer went out in a response that is acknowledged
        self._overtaking: list[tuple[Any, Request]] = []  # what came before the ACK, though it was sent after it
        self._router = stack().router
        self._router.unanswered.add(self)
        transaction.user = self

    @property
    def hop(self) -> Any:
        """Where the INVITE came from."""
        return self._hop

    def default_contact(self) -> FrozenContactHeader:
        """The user that the INVITE is for, at the address where it arrived."""
        return own_contact(self._request, self._hop)

    def respond(
        self, code: int, reason: str | None, local_sdp: FrozenSDPSession | None, extra: tuple[Any, ...]
    ) -> None:
        invitation = self._invitation
        if invitation is None:
            return
        if code == 100:
            self._endpoint.respond(self._transaction, response_to(self._request, 100))
        elif code < 200:
            self._progress(invitation, code, reason, local_sdp, extra)
        elif code < 300:
            assert local_sdp is not None
            self._accept(invitation, code, reason, local_sdp, extra)
        else:
            self._refuse(invitation, code, reason, extra)

    def _progress(
        self,
        invitation: Invitation,
        code: int,
        reason: str | None,
        local_sdp: FrozenSDPSession | None,
        extra: tuple[Any, ...],
    ) -> None:
        answer = self._answer_early(invitation, local_sdp)
        response = response_to(
            self._request,
            code,
            reason,
            to_tag=invitation._local_tag(),
            contact=invitation.local_contact_header,
            extra=(*session_headers(), *extra),
            content_type=SDP_TYPE if answer is not None else None,
            body=answer.encode() if answer is not None else b"",
        )
        invitation._established(self._begin_dialog(invitation))
        self._send_progress(response)
        if invitation.state == "incoming":
            invitation._change("early", "local", response)
        if answer is not None:
            invitation._negotiated(early=invitation._negotiator)

    def _answer_early(self, invitation: Invitation, local_sdp: FrozenSDPSession | None) -> FrozenSDPSession | None:
        """The answer for early media, which is given once."""
        if local_sdp is None or invitation._negotiator.proposed_remote is None:
            return None
        self._early_answer = invitation._negotiator.set_local_answer(local_sdp)
        invitation._wish = local_sdp
        return self._early_answer

    def _send_progress(self, response: Response) -> None:
        """Send it reliably when the caller demands that, or when it has an answer and the caller is able to."""
        reliably = has_option(self._request, "Require", OPTION_TAG) or (
            bool(response.body) and has_option(self._request, "Supported", OPTION_TAG)
        )
        if not reliably:
            self._endpoint.respond(self._transaction, response)
            return
        self._settled = self._settled or bool(response.body)
        if self._reliable is None:
            self._reliable = ReliableResponses(self._transaction, self._never_acknowledged)
        self._reliable.send(response)

    def _never_acknowledged(self) -> None:
        if self._invitation is not None:
            self._refuse(self._invitation, 504, None, ())

    def _begin_dialog(self, invitation: Invitation) -> Dialog:
        """The dialog that a response of ours makes, early until we accept."""
        if self._dialog is None:
            contact = invitation.local_contact_header
            local_contact = None if contact is None else contact.body
            self._dialog = Dialog.from_request(self._request, invitation._local_tag(), local_contact=local_contact)
        return self._dialog

    def _accept(
        self,
        invitation: Invitation,
        code: int,
        reason: str | None,
        local_sdp: FrozenSDPSession,
        extra: tuple[Any, ...],
    ) -> None:
        if self._reliable is not None and self._reliable.described:
            # RFC 3262 3: the 2xx must not overtake the answer that it relies on.
            self._reliable.afterwards(lambda: self._accept(invitation, code, reason, local_sdp, extra))
            return
        self._stop_progress()
        description = self._describe(invitation, local_sdp)
        dialog = self._begin_dialog(invitation)
        dialog.confirm()
        response = response_to(
            self._request,
            code,
            reason,
            to_tag=dialog.local_tag,
            contact=invitation.local_contact_header,
            extra=(*session_headers(), *invitation._refreshing.answer(self._request), *extra),
            content_type=SDP_TYPE if description is not None else None,
            body=description.encode() if description is not None else b"",
        )
        wire = self._transaction.wire
        self._endpoint.respond(self._transaction, response)
        acceptance = self._acceptance = Acceptance(response, wire, self)
        acceptance.start(self._endpoint.now())
        invitation._established(dialog)
        invitation._change("connecting", "local", response)
        if not self._awaits_answer:
            invitation._negotiated()

    def _describe(self, invitation: Invitation, local_sdp: FrozenSDPSession) -> FrozenSDPSession | None:
        """What the 2xx has to say of the session (RFC 6337 3.1): nothing new, when an answer went out before."""
        if self._early_answer is not None:
            return None if self._settled else self._early_answer
        negotiator = invitation._negotiator
        invitation._wish = local_sdp
        self._awaits_answer = negotiator.proposed_remote is None
        if self._awaits_answer:
            negotiator.set_local_offer(local_sdp)
            return local_sdp
        return negotiator.set_local_answer(local_sdp)

    def _stop_progress(self) -> None:
        self._router.unanswered.discard(self)
        if self._reliable is not None:
            self._reliable.stop()
            self._reliable = None

    def _refuse(self, invitation: Invitation, code: int, reason: str | None, extra: tuple[Any, ...]) -> None:
        self._stop_progress()
        # It has no dialog to be found by any more; only its ACK is waited for.
        self._router.remove(invitation)
        response = self._refusal = response_to(self._request, code, reason, to_tag=invitation._local_tag(), extra=extra)
        self._endpoint.respond(self._transaction, response)
        invitation._change("disconnecting", "local", response)

    def withdrawn(self) -> None:
        """The caller sent CANCEL, or BYE before we answered: the INVITE is answered 487 (RFC 3261 9.2, 15.1.2)."""
        invitation = self._invitation
        self._stop_progress()
        if invitation is not None and invitation.state in ("incoming", "early"):
            self._endpoint.respond(self._transaction, response_to(self._request, 487, to_tag=invitation._local_tag()))

    def close(self) -> None:
        """The invitation is over: nothing is repeated any more."""
        self._invitation = None
        # The transaction lingers, and must not keep us and the dialog that long.
        self._transaction.user = self._router
        self._stop_progress()
        if self._acceptance is not None:
            self._acceptance.stop()
            self._acceptance = None
        overtaking, self._overtaking = self._overtaking, []
        for transaction, request in overtaking:
            self._endpoint.respond(transaction, response_to(request, 481))

    def progress_acknowledged(self, transaction: Any, prack: Request) -> None:
        """A PRACK: for the reliable response that waits for one, or for nothing."""
        reliable = self._reliable
        if reliable is None or not reliable.awaits(prack):
            self._endpoint.respond(transaction, response_to(prack, 481))
            return
        if prack.body and self._invitation is not None and self._dialog is not None:
            # RFC 3262 5: a PRACK may bring the next offer.
            take_update(self._invitation, self._dialog, self._invitation._negotiator, transaction, prack)
        else:
            self._endpoint.respond(transaction, response_to(prack, 200))
        reliable.acknowledged()

    def acknowledged(self, ack: Request) -> None:
        """The ACK for our 2xx; later ones repeat it."""
        invitation = self._invitation
        if self._acceptance is not None:
            self._acceptance.receive(ack, self._endpoint.now())
        self.say_goodbye()
        if invitation is None or invitation.state != "connecting":
            return
        error = self._take_answer(invitation, ack) if self._awaits_answer else None
        if self._awaits_answer:
            invitation._negotiated(error)
        if error is not None:
            invitation._bye()
        elif invitation.state == "connecting":
            invitation._change("connected", "remote", ack)
            overtaking, self._overtaking = self._overtaking, []
            for transaction, request in overtaking:
                self._router.referred(transaction, request, invitation)

    def keep_for_later(self, transaction: Any, request: Request) -> bool:
        """Keep a request that has overtaken the ACK until that comes; False when there are too many already."""
        if len(self._overtaking) >= MAX_OVERTAKING:
            return False
        self._overtaking.append((transaction, request))
        return True

    def postpone_goodbye(self, extra: tuple[Any, ...]) -> bool:
        """Have the BYE wait for the ACK of our 2xx (RFC 3261 15); False when nothing is waited for."""
        waiting = self._acceptance is not None and self._acceptance.waiting
        if waiting:
            self._goodbye = extra
        return waiting

    def say_goodbye(self) -> None:
        """Send the BYE that was postponed, if any."""
        extra, self._goodbye = self._goodbye, None
        if extra is not None and self._invitation is not None:
            self._invitation._bye(extra)

    @staticmethod
    def _take_answer(invitation: Invitation, ack: Request) -> SDPNegotiationError | None:
        if not ack.body:
            return SDPNegotiationError("the ACK has no session description, and the INVITE had none")
        try:
            invitation._negotiator.set_remote_answer(FrozenSDPSession.parse(ack.body))
        except SDPNegotiationError as error:
            return error
        except SIPCoreError as error:
            return SDPNegotiationError(str(error))
        return None

    # What the transaction and the acceptance tell

    def on_ack(self, source: Any, ack: Request, now: float) -> None:
        """An ACK that went to the transaction: for a refusal, or from a peer of the old branch rules for a 2xx."""
        invitation = self._invitation
        if invitation is None:
            return
        if self._refusal is not None:
            invitation._disconnect("local", self._refusal)
        else:
            self.acknowledged(ack)

    def on_timeout(self, transaction: Any, now: float) -> None:
        """No ACK for our refusal."""
        if self._invitation is not None and self._refusal is not None:
            self._invitation._disconnect("local", self._refusal, disconnect_reason="missing ACK")

    def on_ack_timeout(self, acceptance: Any, now: float) -> None:
        """Our 2xx was never acknowledged: the call is ended with BYE (RFC 3261 13.3.1.4)."""
        invitation = self._invitation
        if invitation is None:
            return
        if stack().ignore_missing_ack:
            self.say_goodbye()
            return
        invitation._bye()
        invitation._disconnect("local", disconnect_reason="missing ACK")

    def on_transport_error(self, transaction: Any, error: Exception, now: float) -> None:
        invitation = self._invitation
        if invitation is not None:
            reason = f"{sip_status_messages[503]} ({error})"
            invitation._disconnect("local", disconnect_reason=reason)
