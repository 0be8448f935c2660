"""What happens to a session in the same instant: wishes of the application and the other party, news of streams.

The other party is written message by message, so that the order is the one that a test wants.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest

from sipsimple.core import SIPURI, ToHeader
from sipsimple.notification import NotificationCenter
from sipsimple.session import Session, proposing
from sipsimple.sip.endpoint import Endpoint
from sipsimple.sip.message import Response
from sipsimple.sip.transport import TransportNotListening
from sipsimple.util import Route
from tests.support.agent import Agent, eventually
from tests.support.raw_peer import RawPeer, description


@asynccontextmanager
async def established(agent: Agent, **script: Any) -> AsyncIterator[tuple[RawPeer, Session]]:
    """A call that a raw peer has made; `script` is for the stream that answers."""
    with RawPeer() as peer:
        peer.request("INVITE", description())
        callee = await agent.incoming()
        for name, value in script.items():
            setattr(callee.proposed_streams[0], name, value)
        callee.accept(callee.proposed_streams)
        await peer.response(200)
        peer.request("ACK", cseq=peer.cseq)
        if not script:
            await agent.record.until(callee, "DidStart")
        yield peer, callee


@contextmanager
def at_once(session: Session, sub_state: str, action: Callable[[], object]) -> Any:
    """Do something in the instant in which the dialog goes to this sub-state, before the session acts on it."""

    class Observer:
        done = False

        def handle_notification(self, notification: Any) -> None:
            if not self.done and getattr(notification.data, "sub_state", None) == sub_state:
                self.done = True
                action()

    observer = Observer()
    NotificationCenter().add_observer(observer, sender=session._invitation)
    try:
        yield
    finally:
        NotificationCenter().remove_observer(observer, sender=session._invitation)


def changed(version: int, body: str = "", direction: str = "sendrecv") -> str:
    """A later description of the raw peer, with more sections."""
    return description(direction=direction).replace("o=- 1 1", f"o=- 1 {version}") + body


def cancel(peer: RawPeer, branch: str) -> None:
    """Withdraw a re-INVITE."""
    peer.send(
        f"CANCEL sip:alice@127.0.0.1:{peer.target[1]} SIP/2.0\n"
        f"Via: SIP/2.0/UDP 127.0.0.1:{peer.port};branch={branch};rport\n"
        f"From: <sip:raw@127.0.0.1:{peer.port}>;tag={peer.tag}\n"
        f"To: <sip:alice@127.0.0.1>;tag={peer.remote_tag}\n"
        f"Call-ID: {peer.call_id}\n"
        f"CSeq: {peer.cseq} CANCEL\n"
    )


async def test_a_hold_waits_for_its_own_answer_after_a_proposal_of_the_other_party(agent: Agent):
    async with established(agent) as (peer, callee):
        with at_once(callee, "received_proposal", callee.hold):
            peer.request("INVITE", changed(2))
            await peer.response(200)
            peer.request("ACK", cseq=peer.cseq)
        invite = await peer.expect("INVITE")
        assert b"a=sendonly" in invite.body
        assert callee.state == "sending_proposal"
        assert "DidChangeHoldState" not in agent.record.short(callee)
        peer.respond(invite, 200, "OK", changed(3, direction="recvonly"))
        told = await agent.record.until(callee, "DidChangeHoldState")
        assert (told.originator, told.on_hold, told.partial) == ("local", True, False)
        assert callee.state == "connected"


async def test_a_hold_that_waits_behind_a_refused_proposal_is_carried_out(agent: Agent):
    async with established(agent) as (peer, callee):
        peer.request("INVITE", changed(2, "m=x-contract 9 TCP/X *\n"))
        await agent.record.until(callee, "GotProposal")
        callee.hold()
        callee.reject_proposal()
        await peer.response(488)
        peer.request("ACK", cseq=peer.cseq)
        invite = await peer.expect("INVITE")
        peer.respond(invite, 200, "OK", changed(3, direction="recvonly"))
        assert (await agent.record.until(callee, "DidChangeHoldState")).on_hold
        assert callee.streams[0].on_hold_by_local


async def test_a_proposal_that_comes_while_the_streams_start_is_answered_afterwards(agent: Agent):
    async with established(agent, slow=frozenset({"start"})) as (peer, callee):
        await eventually(lambda: callee._invitation.state == "connected", "the ACK")
        peer.request("INVITE", changed(2, direction="sendonly"))
        await eventually(lambda: callee._invitation.sub_state == "received_proposal", "the proposal")
        callee.proposed_streams[0].tell("MediaStreamDidStart")
        await peer.response(200)
        told = await agent.record.until(callee, "DidChangeHoldState")
        assert (told.originator, told.on_hold) == ("remote", True)


async def test_a_proposal_that_comes_while_our_new_stream_starts_is_answered_afterwards(agent: Agent):
    async with established(agent) as (peer, callee):
        fresh = agent.stream(slow=frozenset({"start"}))
        callee.add_stream(fresh)
        invite = await peer.expect("INVITE")
        peer.respond(invite, 200, "OK", changed(2, "m=x-contract 9 TCP/X *\n"))
        await eventually(lambda: "start" in fresh.calls, "the start of the stream")
        peer.request("INVITE", changed(3, "m=x-contract 9 TCP/X *\n"))
        await eventually(lambda: callee._invitation.sub_state == "received_proposal", "the proposal")
        fresh.tell("MediaStreamDidStart")
        await peer.response(200)
        assert len(callee.streams) == 2


async def test_a_refusal_that_crosses_the_withdrawal_of_the_proposal_leaves_the_session_alone(agent: Agent):
    async with established(agent) as (peer, callee):
        branch = peer.request("INVITE", changed(2, "m=x-contract 9 TCP/X *\n"))
        await agent.record.until(callee, "GotProposal")
        with at_once(callee, "normal", callee.reject_proposal):
            cancel(peer, branch)
            told = await agent.record.until(callee, "GotRejectProposal")
        assert (told.originator, told.code) == ("remote", 487)
        assert callee.state == "connected"
        peer.request("BYE")
        assert (await agent.record.until(callee, "DidEnd")).originator == "remote"


async def test_a_stream_that_is_added_in_the_instant_of_a_proposal_is_proposed_after_it(agent: Agent):
    async with established(agent) as (peer, callee):
        fresh = agent.stream()
        with at_once(callee, "received_proposal", lambda: callee.add_stream(fresh)):
            peer.request("INVITE", changed(2, "m=x-contract 9 TCP/X *\n"))
            await agent.record.until(callee, "GotProposal")
        callee.reject_proposal()
        await peer.response(488)
        invite = await peer.expect("INVITE")
        assert (await agent.record.until(callee, "GotProposal", 2)).streams == [fresh]
        peer.respond(invite, 488)
        assert (await agent.record.until(callee, "GotRejectProposal", 2)).streams == [fresh]


async def test_a_hold_that_is_cancelled_before_it_is_sent_leaves_no_trace(agent: Agent):
    async with established(agent) as (_, callee):
        callee.hold()
        callee.cancel_proposal()
        await eventually(lambda: callee.state == "connected", "the calm")
        assert callee.streams[0].calls[-1] == "unhold"
        callee.hold()
        assert callee.state == "sending_proposal"


async def test_hold_and_unhold_in_one_instant_let_the_streams_go_on(agent: Agent):
    async with established(agent) as (_, callee):
        callee.hold()
        callee.unhold()
        await eventually(lambda: callee.state == "connected", "the calm")
        assert callee.streams[0].calls[-2:] == ["hold", "unhold"]


async def test_6_17_a_cancelled_stream_is_taken_back_also_while_it_starts(agent: Agent):
    async with established(agent) as (peer, callee):
        fresh = agent.stream(slow=frozenset({"start"}))
        callee.add_stream(fresh)
        invite = await peer.expect("INVITE")
        peer.respond(invite, 200, "OK", changed(2, "m=x-contract 9 TCP/X *\n"))
        await eventually(lambda: "start" in fresh.calls, "the start of the stream")
        callee.cancel_proposal()
        fresh.tell("MediaStreamDidStart")
        invite = await peer.expect("INVITE")
        assert b"m=x-contract 0 " in invite.body
        peer.respond(invite, 200, "OK", changed(3, "m=x-contract 0 TCP/X *\n"))
        assert (await agent.record.until(callee, "GotRejectProposal")).code == 487
        assert callee.state == "connected"
        assert len(callee.streams) == 1


async def test_a_new_address_is_told_also_when_it_comes_during_a_proposal(agent: Agent):
    async with established(agent) as (peer, callee):
        callee.hold()
        invite = await peer.expect("INVITE")
        NotificationCenter().post_notification("SystemIPAddressDidChange")
        peer.respond(invite, 200, "OK", changed(2, direction="recvonly"))
        moving = await peer.expect("INVITE")
        assert moving.cseq[0] == invite.cseq[0] + 1
        peer.respond(moving, 200, "OK", changed(3, direction="recvonly"))
        await eventually(lambda: callee.state == "connected", "the calm")


async def test_a_session_that_is_ending_goes_on_to_no_other_state(agent: Agent):
    async with established(agent) as (_, callee):
        callee.end()
        callee.state = "connected"
        assert callee.state == "terminating"
        await agent.record.until(callee, "DidEnd")
        callee.state = "terminating"
        assert callee.state == "terminated"


async def test_whom_to_call_is_checked_before_anything_begins(agent: Agent):
    session = Session(agent.account)
    with pytest.raises((TypeError, AttributeError)):
        session.connect("sip:bob@example.org", [agent.route], [agent.stream()])  # type: ignore[arg-type]
    assert session.state is None


async def test_a_2xx_whose_contact_is_out_of_reach_is_acknowledged_where_it_came_from(agent: Agent):
    with RawPeer() as peer:
        session = Session(agent.account)
        session.connect(ToHeader(SIPURI("127.0.0.1", "alice")), [Route("127.0.0.1", peer.port)], [agent.stream()])
        invite = await peer.expect("INVITE")
        lines = [f"Via: {invite.headers.get('Via')}", f"From: {invite.headers.get('From')}"]
        lines += [f"To: {invite.headers.get('To')};tag={peer.tag}", f"Call-ID: {invite.call_id}"]
        lines += [f"CSeq: {invite.headers.get('CSeq')}", "Contact: <sip:raw@127.0.0.1:9;transport=tls>"]
        peer.send("SIP/2.0 200 OK\n" + "\n".join(lines) + "\n", description())
        ack = await peer.expect("ACK")
        assert ack.raw_uri == "sip:raw@127.0.0.1:9;transport=tls"
        await agent.record.until(session, "DidStart")
        session.end()
        peer.respond(await peer.expect("BYE"), 200)
        await agent.record.until(session, "DidEnd")


async def test_an_ack_that_cannot_be_sent_goes_out_when_the_2xx_comes_again(agent: Agent, monkeypatch):
    failed = []

    def not_now(endpoint: Endpoint, request: Any, destination: Any) -> None:
        monkeypatch.undo()
        failed.append(request)
        raise TransportNotListening(destination)

    with RawPeer() as peer:
        caller = agent.call(routes=[Route("127.0.0.1", peer.port)])
        invite = await peer.expect("INVITE")
        monkeypatch.setattr(Endpoint, "send_stateless", not_now)
        peer.respond(invite, 200, "OK", description())
        await agent.record.until(caller, "DidStart")
        peer.respond(invite, 200, "OK", description())
        assert (await peer.expect("ACK")).cseq == failed[0].cseq
        caller.end()
        peer.respond(await peer.expect("BYE"), 200)
        await agent.record.until(caller, "DidEnd")


async def test_an_end_before_the_ack_says_bye_when_the_ack_is_here(agent: Agent):
    with RawPeer() as peer:
        peer.request("INVITE", description())
        callee = await agent.incoming()
        callee.accept(callee.proposed_streams)
        await peer.response(200)
        callee.end()
        assert isinstance(await peer.receive(), Response)
        peer.request("ACK", cseq=peer.cseq)
        peer.respond(await peer.expect("BYE"), 200)
        await agent.record.until(callee, "DidEnd")


async def test_an_end_without_any_ack_says_bye_all_the_same(agent: Agent):
    with RawPeer() as peer:
        peer.request("INVITE", description())
        callee = await agent.incoming()
        callee.accept(callee.proposed_streams)
        await peer.response(200)
        callee.end()
        await peer.expect("BYE")
        await agent.record.until(callee, "DidEnd")
        assert agent.record.transactions(callee)[-1] == ("local", "BYE", 408, None)


async def test_a_hold_without_any_stream_left_settles_at_once(agent: Agent):
    async with established(agent) as (peer, callee):
        callee.remove_stream(callee.streams[0])
        peer.respond(await peer.expect("INVITE"), 200, "OK", changed(2).replace(" 9 TCP/X", " 0 TCP/X"))
        await agent.record.until(callee, "DidRenegotiateStreams")
        callee.hold()
        await eventually(lambda: callee.state == "connected", "the calm", limit=2)


async def test_a_session_that_comes_to_grief_ends_the_stream_that_was_being_added_too(agent: Agent, caplog):
    async with established(agent) as (peer, callee):
        fresh = agent.stream()
        fresh.get_local_media = lambda for_offer: 1 / 0  # type: ignore[method-assign, assignment, return-value]
        callee.add_stream(fresh)
        await agent.record.until(callee, "DidEnd")
        assert fresh.calls[-1] == callee.streams[0].calls[-1] == "end"
        peer.respond(await peer.expect("BYE"), 200)
        assert "the session came to grief" in caplog.text


async def unacknowledged(peer: RawPeer, version: int = 2) -> None:
    """Have the agent accept a re-INVITE of ours, and do not say that the 2xx has come."""
    peer.request("INVITE", changed(version))
    await peer.response(200)


async def test_a_hold_waits_for_the_ack_of_a_proposal_of_the_other_party(agent: Agent):
    async with established(agent) as (peer, callee):
        await unacknowledged(peer)
        callee.hold()
        again = await peer.receive()
        assert (again.code, again.cseq[0]) == (200, peer.cseq), "the 2xx is repeated, and nothing else is sent"
        peer.request("ACK", cseq=peer.cseq)
        peer.respond(await peer.expect("INVITE"), 200, "OK", changed(3, direction="recvonly"))
        assert (await agent.record.until(callee, "DidChangeHoldState")).on_hold


async def test_a_new_stream_waits_for_the_ack_of_a_proposal_of_the_other_party(agent: Agent):
    async with established(agent) as (peer, callee):
        await unacknowledged(peer)
        fresh = agent.stream()
        callee.add_stream(fresh)
        again = await peer.receive()
        assert (again.code, again.cseq[0]) == (200, peer.cseq), "the 2xx is repeated, and nothing else is sent"
        peer.request("ACK", cseq=peer.cseq)
        peer.respond(await peer.expect("INVITE"), 200, "OK", changed(3, "m=x-contract 9 TCP/X *\n"))
        assert (await agent.record.until(callee, "GotAcceptProposal")).streams == [fresh]


async def test_a_new_stream_that_waits_for_an_ack_can_be_withdrawn(agent: Agent):
    async with established(agent) as (peer, callee):
        await unacknowledged(peer)
        callee.add_stream(agent.stream())
        callee.cancel_proposal()
        assert (await agent.record.until(callee, "GotRejectProposal")).code == 487
        peer.request("ACK", cseq=peer.cseq)
        callee.end()
        assert (await peer.expect("BYE")).cseq[0] == 1, "nothing was sent before it"


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again at once what has crossed a proposal of the other party."""
    monkeypatch.setattr(proposing, "OWNER_WAIT", (0.0, 0.0))
    monkeypatch.setattr(proposing, "OTHER_WAIT", (0.0, 0.0))


@pytest.mark.usefixtures("no_waiting")
async def test_the_removal_of_a_stream_that_crosses_a_proposal_is_told_again(agent: Agent):
    async with established(agent) as (peer, callee):
        (stream,) = callee.streams
        callee.remove_stream(stream)
        crossing = await peer.expect("INVITE")
        peer.respond(crossing, 491)
        again = await peer.expect("INVITE")
        assert b"m=x-contract 0 " in again.body
        assert agent.record.short(callee).count("DidRenegotiateStreams") == 1
        assert stream.calls[-1] == "end"
        peer.respond(again, 200, "OK", changed(3).replace(" 9 TCP/X", " 0 TCP/X"))
        await eventually(lambda: len(agent.record.transactions(callee)) == 3, "the second answer")
        assert [code for _, _, code, _ in agent.record.transactions(callee)[1:]] == [491, 200]
        await eventually(lambda: callee.state == "connected", "the calm")


@pytest.mark.usefixtures("no_waiting")
async def test_a_removal_that_crosses_every_time_is_given_up(agent: Agent):
    async with established(agent) as (peer, callee):
        callee.remove_stream(callee.streams[0])
        for _ in range(proposing.MAX_ATTEMPTS):
            peer.respond(await peer.expect("INVITE"), 491)
        await eventually(
            lambda: len(agent.record.transactions(callee)) == 1 + proposing.MAX_ATTEMPTS, "the last answer"
        )
        callee.end()
        await peer.expect("BYE")


async def test_a_stream_that_is_removed_in_the_instant_of_a_proposal_is_told_after_it(agent: Agent):
    async with established(agent) as (peer, callee):
        with at_once(callee, "received_proposal", lambda: callee.remove_stream(callee.streams[0])):
            peer.request("INVITE", changed(2))
            await peer.response(200)
        peer.request("ACK", cseq=peer.cseq)
        assert b"m=x-contract 0 " in (await peer.expect("INVITE")).body
        assert callee.streams == []


async def test_a_removal_waits_for_the_ack_of_a_proposal_of_the_other_party(agent: Agent):
    async with established(agent) as (peer, callee):
        await unacknowledged(peer)
        callee.remove_stream(callee.streams[0])
        await agent.record.until(callee, "DidRenegotiateStreams")
        peer.request("ACK", cseq=peer.cseq)
        assert b"m=x-contract 0 " in (await peer.expect("INVITE")).body


@pytest.mark.usefixtures("no_waiting")
async def test_a_new_address_is_told_again_when_its_proposal_crosses_another(agent: Agent):
    async with established(agent) as (peer, callee):
        await unacknowledged(peer)
        NotificationCenter().post_notification("SystemIPAddressDidChange")
        assert (await peer.receive()).code == 200
        peer.request("ACK", cseq=peer.cseq)
        crossing = await peer.expect("INVITE")
        peer.respond(crossing, 491)
        again = await peer.expect("INVITE")
        assert again.cseq[0] == crossing.cseq[0] + 1
        peer.respond(again, 200, "OK", changed(3))
        await eventually(lambda: callee.state == "connected", "the calm")


@pytest.mark.parametrize("method", ["INVITE", "UPDATE"])
async def test_6_22_a_stream_that_the_other_party_removes_leaves_the_session(agent: Agent, method: str):
    async with established(agent) as (peer, callee):
        (stream,) = callee.streams
        peer.request(method, changed(2).replace(" 9 TCP/X", " 0 TCP/X"))
        assert b"m=x-contract 0 " in (await peer.response(200)).body
        told = await agent.record.until(callee, "DidRenegotiateStreams")
        assert (told.originator, told.action, told.streams) == ("remote", "remove", [stream])
        assert callee.streams == []
        assert stream.calls[-2:] == ["deactivate", "end"]


async def test_a_stream_that_is_refused_in_the_answer_to_a_hold_leaves_the_session(agent: Agent):
    async with established(agent) as (peer, callee):
        (stream,) = callee.streams
        callee.hold()
        peer.respond(await peer.expect("INVITE"), 200, "OK", changed(2).replace(" 9 TCP/X", " 0 TCP/X"))
        told = await agent.record.until(callee, "DidRenegotiateStreams")
        assert (told.originator, told.action, told.streams) == ("remote", "remove", [stream])
        assert stream.calls[-2:] == ["deactivate", "end"]
        assert callee.state == "connected"


async def test_what_a_stream_tells_in_its_own_thread_wakes_the_session(agent: Agent):
    async with established(agent, slow=frozenset({"start"})) as (_, callee):
        (stream,) = callee.proposed_streams
        await eventually(lambda: "start" in stream.calls, "the start")
        mailbox, threads = callee._mailbox, []
        put = mailbox.put_nowait
        mailbox.put_nowait = lambda event: (threads.append(threading.current_thread()), put(event))
        await asyncio.to_thread(stream.tell, "MediaStreamDidStart")
        await agent.record.until(callee, "DidStart")
        assert set(threads) == {threading.current_thread()}
