"""The flow of an established session: it is changed by either party, until somebody ends it."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from sipsimple.session import proposed, proposing, sdp
from sipsimple.session.events import (
    AddRequested,
    AddressChanged,
    CancelRequested,
    DialogChanged,
    EndRequested,
    Event,
    HoldChanged,
    Negotiated,
    RemoveRequested,
    StreamFailed,
    StreamsLeft,
)
from sipsimple.session.flow import CallFlow, DialogOver, HangUp

if TYPE_CHECKING:
    from sipsimple.core import FrozenSDPSession
    from sipsimple.notification import NotificationData
    from sipsimple.session.proposing import Outcome

log = logging.getLogger(__name__)


class Conversation(CallFlow):
    """A session that runs; goes on with the streams of the call that established it."""

    def __init__(self, call: CallFlow) -> None:
        super().__init__(call.session)
        self.streams = call.streams
        self.acknowledged = True
        self.postponed = call.postponed
        # What goes out by itself as soon as the dialog has room for a proposal of ours.
        self.later: list[Event] = []
        self._known = call.negotiated

    async def run(self) -> None:
        """Live until the session is over."""
        try:
            while True:
                await self._settle_dialog()
                await self._settle_hold()
                self.dismiss_refused()
                await self._take(await self._next_business())
        except HangUp as error:
            await self.hang_up(str(error))
        except DialogOver as error:
            await self.remote_hung_up(error.data)

    async def _next_business(self) -> Event:
        if self.postponed:
            return self.postponed.pop(0)
        if self.later and self.may_propose:
            return self.later.pop(0)
        return await self.receive()

    async def _take(self, event: Event) -> None:
        match event:
            case EndRequested():
                raise HangUp("user_request")
            case DialogChanged(state="disconnected", data=data):
                raise DialogOver(data)
            case AddRequested(stream):
                self._begin_proposal()
                await proposing.add(self, stream)
            case RemoveRequested(stream) if stream in self.streams:
                self._begin_proposal()
                await proposing.remove(self, stream)
            case RemoveRequested():
                # The other party has removed it in the same instant.
                self._back_to_calm()
            case AddressChanged() | StreamsLeft() if not self.may_propose:
                self.later.append(event)
            case AddressChanged():
                self._begin_proposal()
                await proposing.move(self, event)
            case StreamsLeft() if self.has_leftovers:
                self._begin_proposal()
                await proposing.tell_what_left(self, event)
                self.session.state = "connected"
            case HoldChanged() if self.session.state == "sending_proposal":
                # It changed back before anything was sent, or is carried out already, or is done next.
                self._back_to_calm()
            case CancelRequested() if self.session.state == "cancelling_proposal":
                # The hold was withdrawn before it was sent.
                self.session._wants_hold = self.session._held
                self._back_to_calm()
            case StreamFailed(stream, reason) if stream in self.streams:
                await self._stream_failed(stream, reason)

    def _back_to_calm(self) -> None:
        session = self.session
        if session._wants_hold == session._held:
            # The streams may have been put on hold for what is not wanted any more.
            proposing.align_hold(self.streams, session._held)
        session.state = "connected"

    def _begin_proposal(self) -> None:
        # A hold that came in between may have left the state that the method set.
        if self.session.state == "connected":
            self.session.state = "sending_proposal"

    async def _settle_dialog(self) -> None:
        """Take up what the dialog has come to, whoever has read of it meanwhile."""
        known, negotiated = self._known, self.negotiated_now
        if (
            known is None
            or known.local_sdp is not negotiated.local_sdp
            or known.remote_sdp is not negotiated.remote_sdp
        ):
            # An UPDATE of the other party (RFC 3311), or its answer in an ACK: the dialog has dealt with it.
            held = self.held_by_remote()
            self.update_streams(negotiated)
            self.report_remote_hold(held)
        self.dismiss_refused()
        await proposed.answer(self)

    async def _settle_hold(self) -> None:
        """Carry out what `hold` and `unhold` asked for meanwhile."""
        session = self.session
        while session._wants_hold != session._held and session.state in ("connected", "sending_proposal"):
            if not self.may_propose:
                return
            session.state = "sending_proposal"
            await proposing.change_hold(self)

    async def _stream_failed(self, stream: Any, reason: str) -> None:
        if len(self.streams) == 1:
            raise HangUp(f"media stream failed: {reason}")
        self.session.state = "sending_proposal"
        await proposing.remove(self, stream)

    # Waiting

    @property
    def is_asked(self) -> bool:
        """True while a re-INVITE of the other party waits for an answer."""
        return bool(self.session._invitation.sub_state == "received_proposal")

    @property
    def may_propose(self) -> bool:
        """True while the dialog has room for a re-INVITE of ours."""
        return bool(self.session._invitation.may_propose)

    def remind(self, event: Event, delay: float) -> None:
        """Have the event come in `delay` seconds."""
        asyncio.get_running_loop().call_later(delay, self.session._mailbox.put_nowait, event)

    # What the proposals need

    @property
    def active_local(self) -> FrozenSDPSession:
        """Our description in force; a running session has one."""
        active = self.session._invitation.sdp.active_local
        assert active is not None
        return active

    @property
    def active_remote(self) -> FrozenSDPSession:
        """The description of the other party in force."""
        active = self.session._invitation.sdp.active_remote
        assert active is not None
        return active

    @property
    def negotiated_now(self) -> Negotiated:
        """Both descriptions in force."""
        return Negotiated(self.active_local, self.active_remote)

    def provisional(self, data: NotificationData) -> None:
        """A provisional response to our re-INVITE; the re-INVITE itself is told in the same way and has no code."""
        if not hasattr(data, "code"):
            return
        if data.code == 180:
            self.post("SIPSessionGotRingIndication")
        self.post("SIPSessionGotProvisionalResponse", code=data.code, reason=data.reason)

    def post_proposal(self, stream: Any) -> None:
        """Tell that a stream is being proposed."""
        self.post("SIPSessionGotProposal", originator="local", streams=[stream])

    def report(self, result: Outcome) -> None:
        self.post_transaction("local", "INVITE", result.code, result.reason)

    def report_remote(self, code: int, reason: str) -> None:
        self.post_transaction("remote", "INVITE", code, reason, ack_received="unknown")

    def update_streams(self, negotiated: Negotiated) -> None:
        """Tell the running streams of the new descriptions."""
        self._known = negotiated
        for stream in self.streams:
            if sdp.accepts(negotiated.local_sdp, stream.index) and sdp.accepts(negotiated.remote_sdp, stream.index):
                stream.update(negotiated.local_sdp, negotiated.remote_sdp, stream.index)

    @property
    def has_leftovers(self) -> bool:
        """True while both descriptions have media that no stream of ours carries any more."""
        carried = {stream.index for stream in self.streams}
        return any(index not in carried and self._agreed(index) for index in range(len(self.active_local.media)))

    def _agreed(self, index: int) -> bool:
        return sdp.accepts(self.active_local, index) and sdp.accepts(self.active_remote, index)

    def dismiss_refused(self) -> None:
        """Let the streams go that the other party has taken out, be it by UPDATE or in an answer (RFC 3264 8.2)."""
        leaving = [stream for stream in self.streams if not self._agreed(stream.index)]
        if leaving:
            self.streams = self.session.streams = [stream for stream in self.streams if stream not in leaving]
            self.give_up(leaving)
            self.post("SIPSessionDidRenegotiateStreams", originator="remote", action="remove", streams=leaving)

    def held_by_remote(self) -> set[int]:
        """Which streams the other party holds."""
        return {id(stream) for stream in self.streams if stream.on_hold_by_remote}

    def report_remote_hold(self, before: set[int]) -> None:
        """Tell of a change since `before`."""
        held = self.held_by_remote()
        if held == before:
            return
        holdable = [stream for stream in self.streams if stream.hold_supported]
        partial = bool(held) and any(not stream.on_hold_by_remote for stream in holdable)
        self.post("SIPSessionDidChangeHoldState", originator="remote", on_hold=bool(held), partial=partial)

    def lose(self, stream: Any, reason: str) -> None:
        """A stream failed while something else was going on: it leaves without signalling."""
        if stream in self.streams:
            log.info("a stream failed during a proposal: %s", reason)
            self.streams = self.session.streams = [other for other in self.streams if other is not stream]
            self.give_up([stream])
            self.post("SIPSessionDidRenegotiateStreams", originator="remote", action="remove", streams=[stream])

    @staticmethod
    def complain(what: str, error: Exception) -> None:
        log.warning("the other party could not be asked to %s: %s", what, error)


async def converse(call: CallFlow) -> None:
    """Run an established session to its end."""
    await Conversation(call).run()
