"""What the call flows of a session share: waiting for events, caring for streams, telling what happened.

A flow is a coroutine that reads top to bottom like the ladder diagram of its call. Everything that happens to the
session meanwhile comes through one mailbox, in order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from sipsimple.core import SIPCoreError
from sipsimple.notification import NotificationCenter, NotificationData, TimestampedNotificationData
from sipsimple.session import sdp
from sipsimple.session.errors import SessionDidEnd, SessionDidFail
from sipsimple.session.events import (
    AddRequested,
    AddressChanged,
    DialogChanged,
    EndRequested,
    Event,
    Negotiated,
    NegotiationFailed,
    RemoveRequested,
    StreamFailed,
    StreamInitialized,
    StreamsLeft,
    StreamStarted,
)

if TYPE_CHECKING:
    from sipsimple.session.session import Session

GOODBYE_TIMEOUT: Final = 1.0
"""Seconds that a CANCEL, a BYE or a refusal may take before the session is over all the same."""


OTHER_BUSINESS: Final = (AddRequested, RemoveRequested, AddressChanged, StreamsLeft)
"""What begins something else, and so has to wait until the session has time for it."""


class Interrupted(Exception):
    """The flow cannot go on as written; the base of the reasons below."""


class HangUp(Interrupted):
    """The application called `end()`."""


class StreamBroke(Interrupted):
    """A stream failed, or did not start in time."""


class NotNegotiated(Interrupted):
    """Offer and answer do not agree."""


class DialogOver(Interrupted):
    """The dialog ended; `data` is that of the last `SIPInvitationChangedState`."""

    def __init__(self, data: NotificationData) -> None:
        super().__init__(getattr(data, "disconnect_reason", None) or "the dialog ended")
        self.data = data


class CallFlow:
    """The common part of the flows; one object for the life of a session."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.streams: list[Any] = []
        self.acknowledged = False
        self.negotiated: Negotiated | None = None
        # Streams that early media has started, and those of them that told so.
        self.early: list[Any] = []
        self.running: list[Any] = []
        # Requests that came while something else was going on.
        self.postponed: list[Event] = []

    # Waiting

    async def next(self, deadline: float | None = None) -> Event:
        """The next event that concerns what is going on; raises TimeoutError at `deadline` (loop time).

        What asks for something else is postponed until the session has time for it.
        """
        while isinstance(event := await self.receive(deadline), OTHER_BUSINESS):
            self.postponed.append(event)
        return event

    async def receive(self, deadline: float | None = None) -> Event:
        """The next event, whatever it is."""
        return await self.session._mailbox.get(deadline)

    @staticmethod
    def deadline(seconds: float) -> float:
        return asyncio.get_running_loop().time() + seconds

    async def initialize_streams(self, streams: list[Any], direction: str) -> None:
        """Initialise the streams and wait for all; raises StreamBroke, HangUp or DialogOver."""
        waiting = list(streams)
        for stream in streams:
            self.session._observe(stream)
            stream.initialize(self.session, direction)
        while waiting:
            event = self.interruption(await self.next())
            if isinstance(event, StreamInitialized) and event.stream in waiting:
                waiting.remove(event.stream)

    async def start_streams(self, negotiated: Negotiated) -> None:
        """Start what the peer accepted, drop what it refused, and wait for streams and ACK.

        Raises StreamBroke, NotNegotiated (everything was refused), HangUp or DialogOver.
        """
        agreed = [
            stream
            for stream in self.streams
            if sdp.accepts(negotiated.remote_sdp, stream.index) and sdp.accepts(negotiated.local_sdp, stream.index)
        ]
        self.give_up([stream for stream in self.streams if stream not in agreed])
        self.streams = self.session.proposed_streams = agreed
        if not agreed:
            raise NotNegotiated("the other party refused every media stream")
        waiting = [stream for stream in agreed if stream not in self.running]
        for stream in agreed:
            if stream in self.early:
                stream.update(negotiated.local_sdp, negotiated.remote_sdp, stream.index)
            else:
                stream.start(negotiated.local_sdp, negotiated.remote_sdp, stream.index)
        deadline = self.deadline(self.session.media_stream_timeout)
        while waiting or not self.acknowledged:
            try:
                # A missing ACK is found by the dialog itself (RFC 3261 13.3.1.4), and only later.
                event = self.interruption(await self.next(deadline if waiting else None))
            except TimeoutError:
                raise StreamBroke("media stream timed out while starting") from None
            match event:
                case StreamStarted(stream) if stream in waiting:
                    waiting.remove(stream)
                case DialogChanged(state="connected"):
                    self.acknowledged = True

    def interruption(self, event: Event) -> Event:
        """Hand the event back, or raise what it means for a flow that just wants to go on."""
        match event:
            case EndRequested():
                raise HangUp("user_request")
            case StreamFailed(stream, reason) if stream in self.streams:
                raise StreamBroke(f"media stream failed: {reason}")
            case NegotiationFailed(error):
                raise NotNegotiated(error)
            case DialogChanged(state="disconnected", data=data):
                raise DialogOver(data)
        return event

    async def disconnected(self, timeout: float = GOODBYE_TIMEOUT) -> NotificationData | None:
        """Wait until the dialog is over; None when that takes longer than `timeout` seconds."""
        deadline = self.deadline(timeout)
        try:
            while True:
                match await self.next(deadline):
                    case DialogChanged(state="disconnected", data=data):
                        return data
        except TimeoutError:
            return None

    # Streams

    def give_up(self, streams: Iterable[Any]) -> None:
        """Stop listening to the streams and end them."""
        for stream in list(streams):
            self.session._ignore(stream)
            stream.deactivate()
            stream.end()

    # Telling

    def post(self, name: str, **attributes: Any) -> None:
        NotificationCenter().post_notification(name, self.session, TimestampedNotificationData(**attributes))

    def post_transaction(self, originator: str, method: str, code: int, reason: str | None, **more: Any) -> None:
        self.post(
            "SIPSessionDidProcessTransaction", originator=originator, method=method, code=code, reason=reason, **more
        )

    def did_start(self) -> None:
        session = self.session
        session.streams = self.streams
        session.proposed_streams = None
        session.start_time = datetime.now()
        session.state = "connected"
        self.post("SIPSessionDidStart", streams=list(self.streams))
        session._started.set_result(session)
        if session.replaced_session is not None:
            # RFC 3891 3: the new call takes the place of the old one.
            session.replaced_session.end()

    def did_fail(
        self,
        originator: str,
        code: int,
        reason: str | None,
        failure_reason: str,
        redirect_identities: list[Any] | None = None,
    ) -> None:
        session = self.session
        session.state = "terminated"
        session.proposed_streams = None
        self.post(
            "SIPSessionDidFail",
            originator=originator,
            code=code,
            reason=reason,
            failure_reason=failure_reason,
            redirect_identities=redirect_identities,
        )
        session._finish(SessionDidFail(originator, code, reason, failure_reason))

    def did_end(self, originator: str, end_reason: str) -> None:
        session = self.session
        session.state = "terminated"
        session.proposed_streams = None
        session.stop_time = datetime.now()
        self.post("SIPSessionDidEnd", originator=originator, end_reason=end_reason)
        session._finish(SessionDidEnd(originator, end_reason))

    # Ending

    def release(self) -> None:
        """Have the dialog ended, unless it is ending by itself."""
        invitation = self.session._invitation
        if invitation.state not in ("disconnecting", "disconnected"):
            invitation.end(timeout=GOODBYE_TIMEOUT)

    async def hang_up(self, end_reason: str) -> None:
        """End an established dialog from our side (BYE)."""
        session = self.session
        session.state = "terminating"
        self.post("SIPSessionWillEnd", originator="local")
        for stream in self.streams:
            session._ignore(stream)
            stream.deactivate()
        self.release()
        data = await self.disconnected(2 * GOODBYE_TIMEOUT)
        self.post_goodbye(data)
        for stream in self.streams:
            stream.end()
        self.did_end("local", end_reason)

    def abandon(self, reason: str) -> None:
        """End everything at once; what goes wrong on the way is passed over, as something went wrong already."""
        session = self.session
        if session.state == "terminated":
            return
        invitation = session._invitation
        if invitation is not None:
            with suppress(SIPCoreError):
                if invitation.direction == "incoming" and invitation.state in ("incoming", "early"):
                    invitation.send_response(500)
                else:
                    invitation.end(timeout=GOODBYE_TIMEOUT)
        for stream in [*(session.streams or ()), *(session.proposed_streams or ())] or self.streams:
            session._ignore(stream)
            with suppress(Exception):
                stream.end()
        if session.start_time is None:
            self.did_fail("local", 500, "Internal Server Error", reason)
        else:
            self.post("SIPSessionWillEnd", originator="local")
            self.did_end("local", reason)

    async def remote_hung_up(self, data: NotificationData) -> None:
        """The dialog is over, by the remote's BYE or because it died."""
        originator = getattr(data, "originator", "remote")
        self.post("SIPSessionWillEnd", originator=originator)
        self.give_up(self.streams)
        self.session.state = "terminated"
        if getattr(data, "method", None) == "BYE":
            self.post_goodbye(data)
        self.did_end(originator, reason_of(data))

    def post_goodbye(self, data: NotificationData | None) -> None:
        if data is None:
            self.post_transaction("local", "BYE", 408, "Request Timeout")
        elif getattr(data, "method", None) == "BYE":
            self.post_transaction("remote", "BYE", 200, "OK")
        elif hasattr(data, "code"):
            self.post_transaction("local", "BYE", data.code, data.reason)
        else:
            self.post_transaction("local", "BYE", 408, "Request Timeout")


def reason_of(data: NotificationData) -> str:
    """Why the dialog ended, in the spelling of the session notifications."""
    reason = getattr(data, "disconnect_reason", None)
    return "user_request" if reason in (None, "user request") else str(reason)
