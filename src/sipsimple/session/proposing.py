"""Changes of a running session that we propose by re-INVITE: add a stream, remove one, hold, unhold."""

from __future__ import annotations

import random
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from sipsimple.core import SIPCoreError
from sipsimple.session import sdp
from sipsimple.session.events import (
    AddressChanged,
    CancelRequested,
    DialogChanged,
    EndRequested,
    Negotiated,
    NegotiationFailed,
    StreamFailed,
    StreamInitialized,
    StreamsLeft,
    StreamStarted,
)
from sipsimple.session.flow import DialogOver, HangUp, Interrupted, StreamBroke

if TYPE_CHECKING:
    from sipsimple.session.conversation import Conversation


MAX_ATTEMPTS: Final = 5
"""How often a change is proposed that is not for the other party to refuse, while its own proposals cross it."""

OWNER_WAIT: Final = (2.1, 4.0)
"""Seconds, from and to, that the maker of the Call-ID waits after a 491 (RFC 3261 14.1)."""

OTHER_WAIT: Final = (0.0, 2.0)
"""Seconds, from and to, that the other side waits: so the next proposals do not cross again."""


class Withdrawn(Interrupted):
    """The application called `cancel_proposal()`."""


class Overtaken(Interrupted):
    """The other party proposed first."""


class ProposalFailed(Interrupted):
    """The proposal cannot be carried out."""


class Outcome:
    """What came of a re-INVITE: the final response and, for a 2xx, what was agreed."""

    def __init__(self, code: int, reason: str, negotiated: Negotiated | None, error: str | None) -> None:
        self.code = code
        self.reason = reason
        self.negotiated = negotiated
        self.error = error


def send_offer(talk: Conversation, streams: list[Any]) -> None:
    """Send a re-INVITE with these streams; raises SIPCoreError when that is not possible now."""
    session = talk.session
    session._invitation.send_reinvite(session._contact_header(), sdp.reoffer(talk.active_local, streams))


async def offer(talk: Conversation, streams: list[Any]) -> Outcome:
    """Send a re-INVITE with these streams and wait for its end; raises HangUp or DialogOver."""
    send_offer(talk, streams)
    return await outcome(talk)


async def outcome(talk: Conversation) -> Outcome:
    """Wait for the final answer to our re-INVITE."""
    agreed: Negotiated | None = None
    objection: str | None = None
    sent = False
    while True:
        match await talk.next():
            case Negotiated() as negotiated:
                agreed = negotiated
            case NegotiationFailed(error):
                objection = error
            case DialogChanged(state="connected", data=data) if data.sub_state == "sent_proposal":
                # What came before it was of an earlier proposal.
                sent = True
                talk.provisional(data)
            case DialogChanged(state="connected", data=data) if sent:
                return Outcome(data.code, data.reason, agreed, objection)
            case DialogChanged(state="disconnected", data=data):
                raise DialogOver(data)
            case EndRequested():
                raise HangUp("user_request")
            case StreamFailed(stream, reason):
                talk.lose(stream, reason)
            case CancelRequested():
                # The answer may be here already, and waits in the mailbox.
                with suppress(SIPCoreError):
                    talk.session._invitation.cancel_reinvite()


async def add(talk: Conversation, stream: Any) -> None:
    """Propose one more stream."""
    session = talk.session
    session.proposed_streams = [stream]
    try:
        await _initialize(talk, stream)
        send_offer(talk, [*talk.streams, stream])
        talk.post_proposal(stream)
        result = await outcome(talk)
        talk.report(result)
        await _take(talk, stream, result)
    except Withdrawn:
        _rejected(talk, stream, 487, "Session Cancelled")
    except Overtaken as error:
        _failed(talk, stream, str(error))
    except (StreamBroke, ProposalFailed) as error:
        _failed(talk, stream, str(error))
    except SIPCoreError as error:
        _failed(talk, stream, f"SIP core error: {error}")
    except DialogOver:
        _failed(talk, stream, "session ended", state="terminating")
        raise
    except HangUp:
        # Given up with the others, and not told: the application ends everything by itself.
        talk.give_up([stream])
        session.proposed_streams = None
        raise


async def _initialize(talk: Conversation, stream: Any) -> None:
    """Initialise the stream, and wait until it may be proposed."""
    talk.session._observe(stream)
    stream.index = None
    stream.initialize(talk.session, "outgoing")
    initialized = False
    while not (initialized and talk.may_propose):
        match await talk.next():
            case StreamInitialized(ready) if ready is stream:
                initialized = True
            case StreamFailed(broken, reason) if broken is stream:
                raise StreamBroke(f"media stream failed: {reason}")
            case StreamFailed(broken, reason):
                talk.lose(broken, reason)
            case CancelRequested():
                raise Withdrawn
            case EndRequested():
                raise HangUp("user_request")
            case DialogChanged(state="connected") if talk.is_asked:
                raise Overtaken("received stream proposal")
            case DialogChanged(state="disconnected", data=data):
                raise DialogOver(data)


async def _take(talk: Conversation, stream: Any, result: Outcome) -> None:
    """Go on with the final answer to the proposal of a stream."""
    if result.code >= 300:
        _rejected(talk, stream, result.code, result.reason)
        return
    if result.negotiated is None:
        raise ProposalFailed(f"SDP negotiation failed: {result.error}")
    talk.update_streams(result.negotiated)
    if stream.index >= len(result.negotiated.remote_sdp.media):
        raise ProposalFailed("SDP media missing in answer")
    if talk.session.state == "cancelling_proposal":
        await _undo(talk, stream)
    elif not sdp.accepts(result.negotiated.remote_sdp, stream.index):
        _rejected(talk, stream, result.code, result.reason)
    else:
        await start(talk, [stream], result.negotiated)
        if talk.session.state == "cancelling_proposal":
            await _undo(talk, stream)
        else:
            accepted(talk, "local", [stream])


async def _undo(talk: Conversation, stream: Any) -> None:
    """The acceptance crossed our CANCEL: take the stream out again."""
    talk.give_up([stream])
    talk.report(await offer(talk, talk.streams))
    _rejected(talk, stream, 487, "Session Cancelled", given_up=True)


async def start(talk: Conversation, streams: list[Any], negotiated: Negotiated) -> None:
    """Start new streams of the running session; raises StreamBroke, HangUp or DialogOver."""
    waiting = list(streams)
    for stream in streams:
        stream.start(negotiated.local_sdp, negotiated.remote_sdp, stream.index)
    deadline = talk.deadline(talk.session.media_stream_timeout)
    while waiting:
        try:
            event = await talk.next(deadline)
        except TimeoutError:
            raise StreamBroke("media stream timed out while starting") from None
        match event:
            case StreamStarted(stream) if stream in waiting:
                waiting.remove(stream)
            case StreamFailed(stream, reason) if stream in streams:
                raise StreamBroke(f"media stream failed: {reason}")
            case StreamFailed(stream, reason):
                talk.lose(stream, reason)
            case EndRequested():
                raise HangUp("user_request")
            case DialogChanged(state="disconnected", data=data):
                raise DialogOver(data)


def accepted(talk: Conversation, originator: str, streams: list[Any]) -> None:
    """The streams run: they belong to the session from now on."""
    session = talk.session
    session.state = "connected"
    talk.post("SIPSessionGotAcceptProposal", originator=originator, streams=list(streams))
    talk.streams = session.streams = [*talk.streams, *streams]
    session.proposed_streams = None
    talk.post("SIPSessionDidRenegotiateStreams", originator=originator, action="add", streams=list(streams))


def _rejected(talk: Conversation, stream: Any, code: int, reason: str, *, given_up: bool = False) -> None:
    if not given_up:
        talk.give_up([stream])
    session = talk.session
    session.state = "connected"
    session.proposed_streams = None
    talk.post("SIPSessionGotRejectProposal", originator="local", code=code, reason=reason, streams=[stream])


def _failed(talk: Conversation, stream: Any, reason: str, state: str = "connected") -> None:
    talk.give_up([stream])
    session = talk.session
    session.state = state
    session.proposed_streams = None
    talk.post("SIPSessionHadProposalFailure", originator="local", failure_reason=reason, streams=[stream])


async def remove(talk: Conversation, stream: Any) -> None:
    """Take a stream out of the session, whatever the other party says to it."""
    session = talk.session
    session._ignore(stream)
    stream.deactivate()
    talk.streams = session.streams = [other for other in talk.streams if other is not stream]
    try:
        if talk.may_propose:
            await tell_what_left(talk, StreamsLeft())
        else:
            talk.later.append(StreamsLeft())
    finally:
        stream.end()
    session.state = "connected"
    talk.post("SIPSessionDidRenegotiateStreams", originator="local", action="remove", streams=[stream])


async def tell_what_left(talk: Conversation, event: StreamsLeft) -> None:
    """Propose the streams that we have, without those that are gone."""
    try:
        result = await offer(talk, talk.streams)
    except SIPCoreError as error:
        talk.complain("remove a stream", error)
        return
    talk.report(result)
    if result.negotiated is not None:
        talk.update_streams(result.negotiated)
    else:
        _try_again(talk, result, StreamsLeft(event.attempt + 1))


def _try_again(talk: Conversation, result: Outcome, event: AddressChanged | StreamsLeft) -> None:
    """Repeat later what was refused only because it crossed a proposal of the other party (RFC 3261 14.1)."""
    if result.code == 491 and event.attempt <= MAX_ATTEMPTS:
        earliest, latest = OWNER_WAIT if talk.session.direction == "outgoing" else OTHER_WAIT
        talk.remind(event, random.uniform(earliest, latest))


async def move(talk: Conversation, event: AddressChanged) -> None:
    """Tell the other party the address at which we are reached now, for signalling and for media."""
    session = talk.session
    session.account.refresh_contact()
    try:
        description = sdp.at_address(sdp.reoffer(talk.active_local, talk.streams), session._local_address())
        session._invitation.send_reinvite(session._contact_header(), description)
        result = await outcome(talk)
        talk.report(result)
        if result.negotiated is not None:
            talk.update_streams(result.negotiated)
        else:
            _try_again(talk, result, AddressChanged(event.attempt + 1))
    except SIPCoreError as error:
        talk.complain("follow to another address", error)
    session.state = "connected"


def align_hold(streams: list[Any], held: bool) -> None:
    """Have the streams hold, or go on."""
    for stream in streams:
        if stream.hold_supported:
            stream.hold() if held else stream.unhold()


async def change_hold(talk: Conversation) -> None:
    """Make the hold state what the application wants."""
    session = talk.session
    wanted = session._wants_hold
    holdable = [stream for stream in talk.streams if stream.hold_supported]
    if not holdable:
        session._held = wanted
        session.state = "connected"
        return
    align_hold(holdable, wanted)
    refused = False
    try:
        result = await offer(talk, talk.streams)
        talk.report(result)
        refused = result.negotiated is None
        if result.negotiated is not None:
            talk.update_streams(result.negotiated)
    except SIPCoreError as error:
        talk.complain("change the hold state", error)
        refused = True
    if refused:
        align_hold(holdable, not wanted)
        session._wants_hold = session._held
        session.state = "connected"
        return
    session._held = wanted
    session.state = "connected"
    partial = wanted and any(not stream.on_hold_by_local for stream in holdable)
    talk.post("SIPSessionDidChangeHoldState", originator="local", on_hold=wanted, partial=partial)
