"""The flow of a session that the other party proposes: announced, accepted or refused by the application."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from sipsimple.core import SDPNegotiationError, SIPCoreError, sip_status_messages
from sipsimple.session import sdp
from sipsimple.session.events import AcceptRequested, DialogChanged, EndRequested, Negotiated, RejectRequested
from sipsimple.session.flow import (
    GOODBYE_TIMEOUT,
    CallFlow,
    DialogOver,
    HangUp,
    Interrupted,
    NotNegotiated,
    StreamBroke,
    reason_of,
)
from sipsimple.streams import InvalidStreamError, MediaStreamRegistry, UnknownStreamError

if TYPE_CHECKING:
    from sipsimple.core import FrozenSDPSession
    from sipsimple.notification import NotificationData

log = logging.getLogger(__name__)


def proposed_streams(account: Any, remote_sdp: FrozenSDPSession, first: int = 0) -> list[Any]:
    """One stream for each media section from `first` on that a registered stream class takes."""
    streams = []
    for index, section in enumerate(remote_sdp.media):
        if index < first or section.port == 0:
            continue
        stream = _stream_for(account, remote_sdp, index)
        if stream is not None:
            stream.index = index
            streams.append(stream)
    return streams


def offerable_streams(account: Any) -> list[Any]:
    """One stream of each registered class that can be offered, for an INVITE that leaves the offer to us."""
    streams = []
    for stream_class in MediaStreamRegistry():
        if not getattr(stream_class, "offered_by_default", True):
            continue
        try:
            streams.append(stream_class(account))
        except Exception as error:  # noqa: BLE001
            # Some classes need to know more than the account; they are for the application to propose.
            log.debug("%s is not offered: %s", stream_class.__name__, error)
    return streams


def _stream_for(account: Any, remote_sdp: FrozenSDPSession, index: int) -> Any:
    for stream_class in MediaStreamRegistry().classes_for(remote_sdp.media[index].media):
        try:
            stream = stream_class.new_from_sdp(account, remote_sdp, index)
        except UnknownStreamError:
            continue
        except InvalidStreamError:
            return None
        except Exception:
            # A stream class is the application's code; its mistake must not lose the call.
            log.exception("%s.new_from_sdp failed", stream_class.__name__)
            continue
        if stream is not None:
            return stream
    return None


class IncomingCall(CallFlow):
    """Establishes one incoming session."""

    async def establish(self) -> bool:
        """Run the call from its announcement up to `SIPSessionDidStart`; False when the session is over instead."""
        try:
            decision = await self.decision()
        except DialogOver as error:
            self.cancelled(error.data)
            return False
        if isinstance(decision, RejectRequested):
            await self.refuse(decision.code, decision.reason)
            return False
        if isinstance(decision, EndRequested):
            await self.refuse(603, None)
            return False
        self.streams = self.session.proposed_streams = list(decision.streams)
        return await self.accept()

    async def decision(self) -> AcceptRequested | RejectRequested | EndRequested:
        while True:
            match await self.next():
                case (AcceptRequested() | RejectRequested() | EndRequested()) as decision:
                    return decision
                case DialogChanged(state="disconnected", data=data):
                    raise DialogOver(data)

    async def accept(self) -> bool:
        try:
            offerless = self.session._invitation.sdp.proposed_remote is None
            await self.initialize_streams(self.streams, "outgoing" if offerless else "incoming")
            self.answer()
        except DialogOver as error:
            self.give_up(self.streams)
            self.cancelled(error.data)
            return False
        except HangUp:
            self.give_up(self.streams)
            await self.refuse(603, None)
            return False
        except StreamBroke as error:
            self.give_up(self.streams)
            await self.refuse(500, None, str(error))
            return False
        except SDPNegotiationError as error:
            self.give_up(self.streams)
            await self.refuse(488, None, f"SDP negotiation failed: {error}")
            return False
        except SIPCoreError as error:
            self.give_up(self.streams)
            await self.refuse(500, None, f"SIP core error: {error}")
            return False
        return await self.start()

    def answer(self) -> None:
        """Send the 200. The dialog reports its states and the negotiation while this runs."""
        session = self.session
        invitation = session._invitation
        remote_sdp = invitation.sdp.proposed_remote
        if remote_sdp is None:
            local_sdp = sdp.offer(session._local_address(), self.streams)
        else:
            local_sdp = sdp.answer(session._local_address(), remote_sdp, self.streams)
        invitation.send_response(200, contact_header=session._contact_header(), sdp=local_sdp)
        self.post("SIPSessionWillStart")

    async def start(self) -> bool:
        try:
            while self.negotiated is None:
                match self.interruption(await self.next()):
                    case Negotiated() as negotiated:
                        self.negotiated = negotiated
                    case DialogChanged(state="connected"):
                        self.acknowledged = True
            await self.start_streams(self.negotiated)
        except DialogOver as error:
            if getattr(error.data, "disconnect_reason", None) == "missing ACK":
                self.never_acknowledged()
            else:
                self.post_transaction("remote", "INVITE", 200, "OK", ack_received=self.acknowledged or "unknown")
                await self.remote_hung_up(error.data)
            return False
        except Interrupted as error:
            if self.negotiated is None and isinstance(error, NotNegotiated):
                self.answer_unusable(error)
                return False
            self.post_transaction("remote", "INVITE", 200, "OK", ack_received=self.acknowledged or "unknown")
            prefix = "SDP negotiation failed: " if isinstance(error, NotNegotiated) else ""
            await self.hang_up(f"{prefix}{error}")
            return False
        self.post_transaction("remote", "INVITE", 200, "OK", ack_received=True)
        self.did_start()
        return True

    # The ways in which it ends early

    async def refuse(self, code: int, reason: str | None, failure_reason: str = "user_request") -> None:
        session = self.session
        session.state = "terminating"
        text = reason or sip_status_messages[code]
        try:
            session._invitation.send_response(code, reason)
        except SIPCoreError as error:
            # The caller withdrew in the same instant; what it says is on its way to the mailbox.
            log.debug("no refusal sent: %s", error)
        data = await self.disconnected(GOODBYE_TIMEOUT)
        if data is not None and getattr(data, "method", None) == "CANCEL":
            self.cancelled(data)
            return
        acknowledged = data is not None and getattr(data, "disconnect_reason", None) != "missing ACK"
        self.post_transaction("remote", "INVITE", code, text, ack_received=acknowledged)
        self.did_fail("local", code, text, failure_reason)

    def cancelled(self, data: NotificationData) -> None:
        """The other party withdrew its INVITE, or the dialog died before it was answered."""
        if getattr(data, "originator", "remote") == "local":
            self.did_fail("local", 0, None, reason_of(data))
            return
        self.session.state = "terminated"
        self.post_transaction("remote", "INVITE", 487, "Session Cancelled", ack_received="unknown")
        self.did_fail("remote", 487, "Session Cancelled", reason_of(data))

    def answer_unusable(self, error: NotNegotiated) -> None:
        """We made the offer, and the ACK has no answer to it; the dialog ends itself with BYE."""
        self.session.state = "terminating"
        self.post_transaction("remote", "INVITE", 200, "OK", ack_received=True)
        self.give_up(self.streams)
        self.did_fail("remote", 200, "OK", f"SDP negotiation failed: {error}")

    def never_acknowledged(self) -> None:
        self.give_up(self.streams)
        self.session.state = "terminated"
        self.post_transaction("remote", "INVITE", 200, "OK", ack_received=False)
        self.did_fail("local", 200, "OK", "missing ACK")
