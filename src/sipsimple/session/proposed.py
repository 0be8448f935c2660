"""Changes of a running session that the other party proposes by re-INVITE (RFC 3264 8, RFC 3261 14.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sipsimple.core import FrozenSDPSession, SDPNegotiationError, SIPCoreError, WarningHeader, sip_status_messages
from sipsimple.session import sdp
from sipsimple.session.events import (
    AcceptRequested,
    DialogChanged,
    EndRequested,
    RejectRequested,
    StreamFailed,
    StreamInitialized,
)
from sipsimple.session.flow import DialogOver, HangUp, Interrupted, StreamBroke
from sipsimple.session.incoming import proposed_streams
from sipsimple.session.proposing import accepted, start

if TYPE_CHECKING:
    from sipsimple.session.conversation import Conversation


class ProposalWithdrawn(Interrupted):
    """The other party cancelled its re-INVITE, or it is void."""


async def answer(talk: Conversation) -> None:
    """Deal with a re-INVITE of the other party, from its arrival to its end."""
    invitation = talk.session._invitation
    if not talk.is_asked:
        return
    remote_sdp = invitation.sdp.proposed_remote
    assert remote_sdp is not None
    objection = _objection(talk, talk.active_remote, remote_sdp)
    if objection is not None:
        _refuse(talk, objection)
        return
    known = len(talk.active_remote.media)
    if len(remote_sdp.media) == known:
        await _follow(talk, remote_sdp)
        return
    streams = proposed_streams(talk.session.account, remote_sdp, first=known)
    if not streams:
        _refuse(talk, None)
        return
    await _decide(talk, remote_sdp, streams)


def _objection(talk: Conversation, active: FrozenSDPSession, proposed: FrozenSDPSession) -> str | None:
    """Why the proposal cannot even be considered, in words for a Warning header."""
    for stream in talk.streams:
        present = sdp.accepts(proposed, stream.index)
        if present and not stream.validate_update(proposed, stream.index):
            return f"Failed to update media stream index {stream.index}"
    origin = ("user", "net_type", "address_type", "address")
    if any(getattr(active, name) != getattr(proposed, name) for name in origin):
        return "Difference in contents of o= line"
    if len(proposed.media) < len(active.media):
        return "Media sections are missing"
    removed = any(not sdp.accepts(proposed, stream.index) for stream in talk.streams)
    changed = any(old.media != new.media for old, new in zip(active.media, proposed.media, strict=False))
    if changed or (removed and len(proposed.media) > len(active.media)):
        return "Both removing AND adding a media stream is currently not supported"
    return None


def _refuse(talk: Conversation, objection: str | None) -> None:
    session = talk.session
    warnings = [] if objection is None else [WarningHeader(399, _agent(session), objection)]
    session._invitation.send_response(488, extra_headers=warnings)
    talk.report_remote(488, sip_status_messages[488])


def _agent(session: Any) -> str:
    """The agent of a Warning: a token, as a host name would be."""
    return "".join(letter if letter.isalnum() else "-" for letter in str(session._local_address()))


async def _follow(talk: Conversation, remote_sdp: FrozenSDPSession) -> None:
    """No new stream: answered without asking anybody."""
    session = talk.session
    leaving = [stream for stream in talk.streams if not sdp.accepts(remote_sdp, stream.index)]
    for stream in leaving:
        session._ignore(stream)
        stream.deactivate()
    staying = [stream for stream in talk.streams if stream not in leaving]
    held = talk.held_by_remote()
    invitation = session._invitation
    try:
        local_sdp = sdp.reanswer(talk.active_local, remote_sdp, staying)
        invitation.send_response(200, contact_header=session._contact_header(), sdp=local_sdp)
    except SDPNegotiationError:
        for stream in leaving:
            session._observe(stream)
        _refuse(talk, "Changing the codec of an audio stream is currently not supported")
        return
    if leaving:
        talk.streams = session.streams = staying
        for stream in leaving:
            stream.end()
    talk.report_remote(200, "OK")
    talk.update_streams(talk.negotiated_now)
    talk.report_remote_hold(held)
    if leaving:
        talk.post("SIPSessionDidRenegotiateStreams", originator="remote", action="remove", streams=leaving)


async def _decide(talk: Conversation, remote_sdp: FrozenSDPSession, streams: list[Any]) -> None:
    """New streams: the application decides."""
    session = talk.session
    session._invitation.send_response(100)
    session.proposed_streams = streams
    session.state = "received_proposal"
    talk.post("SIPSessionGotProposal", originator="remote", streams=list(streams))
    try:
        decision = await _decision(talk)
    except ProposalWithdrawn:
        _over(talk, 487, sip_status_messages[487], streams)
        return
    except DialogOver:
        _failed(talk, "session ended", streams, state="terminating")
        raise
    if isinstance(decision, RejectRequested):
        text = decision.reason or sip_status_messages[decision.code]
        if not talk.is_asked:
            # The other party has withdrawn it in the same instant.
            _over(talk, 487, sip_status_messages[487], streams)
            return
        session._invitation.send_response(decision.code, decision.reason)
        talk.report_remote(decision.code, text)
        _over(talk, decision.code, text, streams)
        return
    await _accept(talk, remote_sdp, list(decision.streams))


async def _decision(talk: Conversation) -> AcceptRequested | RejectRequested:
    while True:
        match await talk.next():
            case (AcceptRequested() | RejectRequested()) as decision:
                return decision
            case DialogChanged(state="connected") if not talk.is_asked:
                raise ProposalWithdrawn
            case DialogChanged(state="disconnected", data=data):
                raise DialogOver(data)
            case EndRequested():
                raise HangUp("user_request")
            case StreamFailed(stream, reason):
                talk.lose(stream, reason)


async def _accept(talk: Conversation, remote_sdp: FrozenSDPSession, streams: list[Any]) -> None:
    session = talk.session
    session.proposed_streams = streams
    invitation = session._invitation
    held = talk.held_by_remote()
    try:
        await _initialize(talk, streams)
        local_sdp = sdp.reanswer(talk.active_local, remote_sdp, [*talk.streams, *streams])
        invitation.send_response(200, contact_header=session._contact_header(), sdp=local_sdp)
        negotiated = talk.negotiated_now
        talk.update_streams(negotiated)
        talk.report_remote(200, "OK")
        talk.report_remote_hold(held)
        await start(talk, streams, negotiated)
        accepted(talk, "remote", streams)
    except (StreamBroke, SIPCoreError, ProposalWithdrawn) as error:
        if invitation.sub_state == "received_proposal":
            code = 488 if isinstance(error, SDPNegotiationError) else 500
            invitation.send_response(code)
            talk.report_remote(code, sip_status_messages[code])
        talk.give_up(streams)
        prefix = "SIP core error: " if isinstance(error, SIPCoreError) else ""
        _failed(talk, f"{prefix}{error}", streams)
    except DialogOver:
        talk.give_up(streams)
        _failed(talk, "session ended", streams, state="terminating")
        raise
    except HangUp:
        talk.give_up(streams)
        session.proposed_streams = None
        raise


async def _initialize(talk: Conversation, streams: list[Any]) -> None:
    waiting = list(streams)
    for stream in streams:
        talk.session._observe(stream)
        stream.initialize(talk.session, "incoming")
    while waiting:
        match await talk.next():
            case StreamInitialized(stream) if stream in waiting:
                waiting.remove(stream)
            case StreamFailed(stream, reason) if stream in streams:
                raise StreamBroke(f"media stream failed: {reason}")
            case StreamFailed(stream, reason):
                talk.lose(stream, reason)
            case DialogChanged(state="connected") if not talk.is_asked:
                raise ProposalWithdrawn("the proposal was cancelled")
            case DialogChanged(state="disconnected", data=data):
                raise DialogOver(data)
            case EndRequested():
                raise HangUp("user_request")


def _over(talk: Conversation, code: int, reason: str, streams: list[Any]) -> None:
    session = talk.session
    session.state = "connected"
    session.proposed_streams = None
    talk.post("SIPSessionGotRejectProposal", originator="remote", code=code, reason=reason, streams=list(streams))


def _failed(talk: Conversation, reason: str, streams: list[Any], state: str = "connected") -> None:
    session = talk.session
    session.state = state
    session.proposed_streams = None
    talk.post("SIPSessionHadProposalFailure", originator="remote", failure_reason=reason, streams=list(streams))
