"""One SIP session between the local and a remote party, whatever streams it carries.

The methods check the state at once, in the caller's thread, and raise `IllegalStateError` there. The work is done by
one coroutine per session in the loop thread, which reads what happens from one mailbox; see the flows beside this
module.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from zope.interface import implementer

from sipsimple.core import (
    ContactHeader,
    FromHeader,
    FrozenFromHeader,
    FrozenToHeader,
    SIPCoreInvalidStateError,
)
from sipsimple.loop import Result, TaskOwner, run_in_loop
from sipsimple.notification import IObserver, Notification, NotificationCenter, TimestampedNotificationData
from sipsimple.session.conversation import converse
from sipsimple.session.errors import IllegalStateError, SessionError
from sipsimple.session.events import (
    AcceptRequested,
    AddRequested,
    CancelRequested,
    DialogChanged,
    DialogSettled,
    EndRequested,
    Event,
    HoldChanged,
    Negotiated,
    NegotiationFailed,
    RejectRequested,
    RemoveRequested,
    StreamFailed,
    StreamInitialized,
    StreamStarted,
)
from sipsimple.session.incoming import IncomingCall
from sipsimple.session.mailbox import Mailbox
from sipsimple.session.outgoing import OutgoingCall
from sipsimple.session.transfer import IncomingTransfer, OutgoingTransfer, target_uri

if TYPE_CHECKING:
    from sipsimple.core import IncomingReferral, Invitation, ToHeader
    from sipsimple.session.flow import CallFlow
    from sipsimple.util import Route

log = logging.getLogger(__name__)


@implementer(IObserver)
class Session:
    """A SIP session; created by the application to call somebody, or announced by `SIPSessionNewIncoming`.

    `state` is one of None, "outgoing", "incoming", "accepting", "connected", "sending_proposal", "cancelling_proposal",
    "received_proposal", "accepting_proposal", "rejecting_proposal", "terminating", "terminated".
    """

    media_stream_timeout = 15
    """Seconds that all streams together may take to start."""

    def __init__(self, account: Any) -> None:
        self.account = account
        self._state: str | None = None
        self.direction: str | None = None
        self.transport: str | None = None
        self.route: Route | None = None
        self.start_time: datetime | None = None
        self.stop_time: datetime | None = None
        self.streams: list[Any] | None = None
        self.proposed_streams: list[Any] | None = None
        self._invitation: Invitation = None  # type: ignore[assignment]  # set before any flow needs it
        self._identities: tuple[Any, Any] = (None, None)
        self._mailbox = Mailbox()
        self._tasks = TaskOwner("session")
        self._lock = threading.Lock()
        self.replaced_session: Session | None = None
        self._extra_headers: list[Any] = []
        self._transfer: OutgoingTransfer | IncomingTransfer | None = None
        self._wants_hold = False
        self._held = False
        self._started: Result[Session] = Result()
        self._ended: Result[Session] = Result()
        self._is_over = False

    def __repr__(self) -> str:
        return f"<Session {self.direction or 'unused'} {self.state} at {id(self):#x}>"

    # What the application asks for

    def connect(self, to_header: ToHeader, routes: Iterable[Route], streams: Iterable[Any]) -> Result[Session]:
        """Propose a session with these streams to `to_header`; the routes are tried in order until one works.

        The result is this session once `SIPSessionDidStart` was posted; awaiting it raises SessionDidFail, or
        SessionDidEnd when the session was answered and ended before its streams ran. Only in the state None.
        """
        started = self._started
        identities = FrozenFromHeader.new(self._from_header()), FrozenToHeader.new(to_header)
        routes, streams = list(routes), list(streams)
        self._change("connect", (None,), "outgoing")
        self._identities = identities
        self.direction = "outgoing"
        run_in_loop(self._begin_outgoing, to_header, routes, streams)
        return started

    def send_ring_indication(self) -> None:
        """Answer an incoming session or proposal with 180 Ringing, until it is accepted or refused."""
        if self.state not in ("incoming", "received_proposal"):
            raise IllegalStateError("send_ring_indication", self.state)
        run_in_loop(self._ring)

    def accept(self, streams: Iterable[Any]) -> Result[Session]:
        """Accept an incoming session with a subset of its `proposed_streams`; the others are refused.

        The result is as that of `connect`. Raises ValueError for streams that were not proposed, or none at all.
        """
        streams = list(streams)
        self._check_choice("accept", "incoming", streams)
        started = self._started
        self._change("accept", ("incoming",), "accepting")
        self._tell(AcceptRequested(streams))
        return started

    def reject(self, code: int = 603, reason: str | None = None) -> Result[Session]:
        """Refuse an incoming session with a final response from 300 to 699; the result is settled when it is over."""
        if not 300 <= code <= 699:
            raise ValueError(f"a session is refused with a code from 300 to 699, not {code}")
        ended = self._ended
        self._change("reject", ("incoming",), "terminating")
        self._tell(RejectRequested(code, reason))
        return ended

    def accept_proposal(self, streams: Iterable[Any]) -> None:
        """Accept a subset of the streams that the other party proposes to add; only in the state received_proposal."""
        streams = list(streams)
        self._check_choice("accept_proposal", "received_proposal", streams)
        self._change("accept_proposal", ("received_proposal",), "accepting_proposal")
        self._tell(AcceptRequested(streams))

    def reject_proposal(self, code: int = 488, reason: str | None = None) -> None:
        """Refuse the streams that the other party proposes to add; the session goes on as it is."""
        if not 300 <= code <= 699:
            raise ValueError(f"a proposal is refused with a code from 300 to 699, not {code}")
        self._change("reject_proposal", ("received_proposal",), "rejecting_proposal")
        self._tell(RejectRequested(code, reason))

    def add_stream(self, stream: Any) -> None:
        """Propose one more stream to the other party; only in the state connected."""
        self._change("add_stream", ("connected",), "sending_proposal")
        self._tell(AddRequested(stream))

    def remove_stream(self, stream: Any) -> None:
        """Take a stream out of the session, whatever the other party says; only in the state connected."""
        if self.state == "connected" and stream not in (self.streams or ()):
            return
        self._change("remove_stream", ("connected",), "sending_proposal")
        self._tell(RemoveRequested(stream))

    def cancel_proposal(self) -> None:
        """Withdraw our proposal; `SIPSessionGotRejectProposal` with code 487 tells of its end."""
        self._change("cancel_proposal", ("sending_proposal",), "cancelling_proposal")
        self._tell(CancelRequested())

    def hold(self) -> None:
        """Put the streams on hold, as soon as the state allows; allowed in any state."""
        self._want_hold(True)

    def unhold(self) -> None:
        """Take the streams out of hold, as soon as the state allows; allowed in any state."""
        self._want_hold(False)

    def transfer(self, target: Any, replaced_session: Session | None = None) -> Result[None]:
        """Ask the other party to call `target` instead of us: a SIP URI, or text with `sip:` or `tel:`.

        With `replaced_session` the other party takes our place in that session, which is one with the target (an
        attended transfer). The result is settled when the new call stands, and this session then ends; it raises
        TransferDidFail. Only in the state connected, and one at a time; raises ValueError for what is no address.
        """
        uri = target_uri(target, str(self.account.id.domain))
        for session in (self, replaced_session):
            if session is not None and session.state != "connected":
                raise IllegalStateError("transfer", session.state)
        with self._lock:
            if self._transfer is not None:
                raise IllegalStateError("transfer", "with a transfer under way")
            transfer = self._transfer = OutgoingTransfer(self, uri, replaced_session)
        run_in_loop(transfer.start)
        return transfer.result

    def accept_transfer(self) -> None:
        """Do what `SIPSessionTransferNewIncoming` asks: call the destination with the same kinds of streams."""
        run_in_loop(self._incoming_transfer("accept_transfer").accept)

    def reject_transfer(self, code: int = 603) -> None:
        """Refuse what `SIPSessionTransferNewIncoming` asks; also what becomes of it when nobody decides."""
        if not 300 <= code <= 699:
            raise ValueError(f"a transfer is refused with a code from 300 to 699, not {code}")
        run_in_loop(self._incoming_transfer("reject_transfer").reject, code)

    def _incoming_transfer(self, method: str) -> IncomingTransfer:
        if not isinstance(self._transfer, IncomingTransfer):
            raise IllegalStateError(method, f"{self.state} without a transfer to decide")
        return self._transfer

    def end(self) -> Result[Session]:
        """End the session, whatever it is doing; the result is settled when it is over.

        Before the other party answered this cancels the call; afterwards it says BYE. Does nothing to a session that
        is over, or was never begun.
        """
        with self._lock:
            if self.state is None or self._is_over:
                over: Result[Session] = Result()
                over.set_result(self)
                return over
            if self.state in ("terminating", "terminated"):
                return self._ended
            self._state = "terminating"
            ended = self._ended
        self._tell(EndRequested())
        return ended

    # What it knows

    @property
    def state(self) -> str | None:
        """See the class. A session that is ending goes on to no other state than its end."""
        return self._state

    @state.setter
    def state(self, state: str) -> None:
        # A method in another thread may be between its check of the state and its change.
        with self._lock:
            if self._state != "terminated" and (self._state != "terminating" or state == "terminated"):
                self._state = state

    @property
    def on_hold(self) -> bool:
        """True while at least one stream is on hold, by whichever party."""
        return any(stream.on_hold for stream in self.streams or ())

    @property
    def end_time(self) -> datetime | None:
        """Another name of `stop_time`."""
        return self.stop_time

    @property
    def remote_user_agent(self) -> str | None:
        """The User-Agent (or Server) that the other party told, if any."""
        return self._invitation.remote_user_agent if self._invitation is not None else None

    @property
    def local_identity(self) -> FrozenFromHeader | FrozenToHeader | None:
        """Who we are in this session; kept after its end."""
        live = self._invitation.local_identity if self._invitation is not None else None
        return live or self._identities[0]

    @property
    def remote_identity(self) -> FrozenFromHeader | FrozenToHeader | None:
        """Who the other party is; kept after the end of the session."""
        live = self._invitation.remote_identity if self._invitation is not None else None
        return live or self._identities[1]

    def remote_allows(self, method: str) -> bool:
        """True when the other party has said, by Allow, that it takes requests of this method."""
        return self._invitation is not None and self._invitation.remote_allows(method)

    def send_info(self, content_type: str, body: bytes) -> None:
        """Send an INFO in the dialog of this session (RFC 6086), after those that wait for an answer.

        Raises SIPCoreInvalidStateError unless connected, SIPCoreError when too many wait.
        """
        if self._invitation is None:
            raise SIPCoreInvalidStateError("an INFO is for sessions that are connected")
        self._invitation.send_info(content_type, body)

    # The work, in the loop thread

    def _begin_outgoing(self, to_header: ToHeader, routes: list[Route], streams: list[Any]) -> None:
        self.proposed_streams = streams
        if routes:
            self.route, self.transport = routes[0], routes[0].transport
        self._announce("SIPSessionNewOutgoing", streams)
        call = OutgoingCall(self)
        self._mailbox.follow(self._run(call, lambda: call.establish(to_header, routes, streams)))

    def _got_referral(self, referral: IncomingReferral) -> None:
        """The other party asks for a transfer; it may do so before our streams run, which comes first."""
        if self._started.done():
            self._begin_transfer(referral)
        else:
            self._started.add_done_callback(lambda _: self._begin_transfer(referral))

    def _begin_transfer(self, referral: IncomingReferral) -> None:
        if self._transfer is not None or self.state in ("terminating", "terminated"):
            referral.reject(491)
            return
        transfer = self._transfer = IncomingTransfer(self, referral)
        transfer.start()

    def _begin_incoming(self, invitation: Invitation, streams: list[Any]) -> None:
        self._follow(invitation)
        self.direction = self.state = "incoming"
        self.transport = invitation.transport
        self.proposed_streams = streams
        call = IncomingCall(self)
        self._mailbox.follow(self._run(call, call.establish))
        self._announce("SIPSessionNewIncoming", streams)

    async def _run(self, call: CallFlow, establish: Callable[[], Awaitable[bool]]) -> None:
        try:
            if await establish():
                await converse(call)
        except Exception as error:
            # A mistake of a stream class (or of ours) must not leave a call open that nobody can end.
            log.exception("the session came to grief")
            call.abandon(f"internal error: {error}")

    def _announce(self, name: str, streams: list[Any]) -> None:
        NotificationCenter().post_notification(name, self, TimestampedNotificationData(streams=list(streams)))

    def _ring(self) -> None:
        invitation = self._invitation
        if invitation.state in ("incoming", "early") or invitation.sub_state == "received_proposal":
            invitation.send_response(180)

    def _want_hold(self, wanted: bool) -> None:
        with self._lock:
            if self._wants_hold == wanted or self.state in ("terminating", "terminated"):
                return
            self._wants_hold = wanted
            if self.state == "connected":
                self._state = "sending_proposal"
        if wanted and self.streams:
            run_in_loop(self._hold_streams)
        if self.streams is not None:
            self._tell(HoldChanged())

    def _hold_streams(self) -> None:
        """Nobody is to hear or be heard from now on, whenever the other party learns of it."""
        for stream in self.streams or ():
            if stream.hold_supported and self._wants_hold:
                stream.hold()

    def _check_choice(self, method: str, state: str, streams: list[Any]) -> None:
        proposed = self.proposed_streams or []
        if self.state == state and (not streams or any(stream not in proposed for stream in streams)):
            raise ValueError(f"Session.{method}() takes at least one of the proposed streams, and no others")

    def _change(self, method: str, allowed: tuple[str | None, ...], state: str) -> None:
        with self._lock:
            if self.state not in allowed:
                raise IllegalStateError(method, self.state)
            self._state = state

    def _tell(self, event: Event) -> None:
        run_in_loop(self._mailbox.put_nowait, event)

    def _finish(self, error: SessionError) -> None:
        """Settle what the application may wait for, and let go of everything."""
        self._forget_invitation()
        if self._transfer is not None:
            self._transfer.session_over()
        with self._lock:
            started, ended = self._started, self._ended
            # Their value is this session: if it went on to hold them, only the garbage collector could free it.
            self._started, self._ended, self._is_over = Result(), Result(), True
        started.set_exception(error)
        ended.set_result(self)

    # What the flows need to know about us

    def _from_header(self) -> FromHeader:
        return FromHeader(self.account.uri, self.account.display_name)

    def _contact_header(self) -> ContactHeader:
        return ContactHeader(self.account.contact[self.transport or "udp"])

    def _local_address(self) -> str:
        return str(self.account.contact.domain)

    # Observing

    def _follow(self, invitation: Invitation) -> None:
        self._forget_invitation()
        self._invitation = invitation
        NotificationCenter().add_observer(self, sender=invitation)

    def _forget_invitation(self) -> None:
        if self._invitation is not None:
            NotificationCenter().discard_observer(self, sender=self._invitation)

    def _observe(self, stream: Any) -> None:
        NotificationCenter().add_observer(self, sender=stream)

    def _ignore(self, stream: Any) -> None:
        NotificationCenter().discard_observer(self, sender=stream)

    def handle_notification(self, notification: Notification) -> None:
        """Turn what streams and dialog tell into events of the mailbox; a stream may tell it in a thread of its own."""
        data = notification.data
        match notification.name:
            case "SIPInvitationChangedState":
                self._tell(DialogChanged(data.state, data))
            case "SIPInvitationGotSDPUpdate" if data.succeeded:
                self._tell(Negotiated(data.local_sdp, data.remote_sdp))
            case "SIPInvitationGotSDPUpdate":
                self._tell(NegotiationFailed(data.error))
            case "SIPInvitationDidSettle" | "SIPInvitationUpdateDidSucceed" | "SIPInvitationUpdateDidFail":
                self._tell(DialogSettled())
            case "SIPInvitationGotInfo":
                # It may come with the ACK, before the streams have begun.
                for stream in self.streams or self.proposed_streams or ():
                    if stream.type == "audio":
                        stream.take_info(data.content_type, data.content)
            case "MediaStreamDidInitialize":
                self._tell(StreamInitialized(notification.sender))
            case "MediaStreamDidStart":
                self._tell(StreamStarted(notification.sender))
            case "MediaStreamDidFail":
                self._tell(StreamFailed(notification.sender, data.reason))
