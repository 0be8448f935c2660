"""How a session begins, or fails to: the scenarios 6.1 to 6.13 of the behaviour, by their numbers."""

from __future__ import annotations

import asyncio
import sys
import threading
from datetime import datetime

import pytest

from sipsimple.core import SIPURI, ToHeader
from sipsimple.session import IllegalStateError, Session, SessionDidFail, SessionManager
from sipsimple.streams import MediaStreamRegistry
from sipsimple.util import Route
from tests.support.agent import LIMIT, Agent, eventually
from tests.support.contract_stream import ContractStream


@pytest.mark.spec(73, 108, 109, 110, 111, 112, 113)
async def test_6_1_and_6_9_an_accepted_call_tells_both_sides_in_order(agent: Agent):
    caller = agent.call()
    assert caller.state == "outgoing"
    callee = await agent.incoming()
    assert agent.record.data(callee, "NewIncoming").streams == callee.proposed_streams
    callee.send_ring_indication()
    await agent.record.until(caller, "GotRingIndication")
    callee.accept(callee.proposed_streams)
    assert callee.state == "accepting"
    await agent.record.until(caller, "DidStart")
    await agent.record.until(callee, "DidStart")
    assert agent.record.short(caller) == [
        "NewOutgoing",
        "GotRingIndication",
        "GotProvisionalResponse",
        "WillStart",
        "DidProcessTransaction",
        "DidStart",
    ]
    assert agent.record.short(callee) == ["NewIncoming", "WillStart", "DidProcessTransaction", "DidStart"]
    assert agent.record.transactions(caller) == [("local", "INVITE", 200, None)]
    assert agent.record.transactions(callee) == [("remote", "INVITE", 200, True)]
    assert agent.record.data(caller, "GotProvisionalResponse").code == 180
    assert (caller.state, callee.state) == ("connected", "connected")
    assert isinstance(agent.record.data(caller, "DidStart").timestamp, datetime)


@pytest.mark.spec(71, 72, 96, 97, 98, 99, 100, 101, 103, 104, 105, 106, 107)
@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_what_a_session_knows_from_its_first_to_its_last_moment(agent: Agent, transport: str):
    fresh = Session(agent.account)
    assert (fresh.state, fresh.direction, fresh.start_time, fresh.stop_time) == (None, None, None, None)
    assert fresh.local_identity is fresh.remote_identity is fresh.remote_user_agent is None
    stream = agent.stream()
    caller, callee = await agent.talking(stream, transport=transport)
    assert (caller.direction, callee.direction) == ("outgoing", "incoming")
    assert caller.transport == callee.transport == transport
    assert caller.account is callee.account is agent.account
    assert caller.streams == [stream]
    assert caller.proposed_streams is None
    assert isinstance(caller.start_time, datetime)
    assert caller.remote_identity.display_name == "Alice"
    assert callee.local_identity.uri.user == "alice"
    assert "sipsimple" in caller.remote_user_agent
    assert "sipsimple" in callee.remote_user_agent
    await caller.end()
    await agent.record.until(callee, "DidEnd")
    assert caller.streams == [stream]
    assert caller.stop_time == caller.end_time
    assert caller.stop_time >= caller.start_time
    assert callee.state == "terminated"
    assert caller.remote_identity.uri.user == "alice"


@pytest.mark.spec(80, 81, 82, 114)
async def test_6_2_and_6_10_a_refused_call_fails_on_both_sides(agent: Agent):
    caller = agent.call()
    callee = await agent.incoming()
    callee.reject(486, "Not Now")
    assert callee.state == "terminating"
    told = await agent.record.until(caller, "DidFail")
    assert (told.originator, told.code, told.reason, told.failure_reason) == ("remote", 486, "Not Now", "user_request")
    told = await agent.record.until(callee, "DidFail")
    assert (told.originator, told.code, told.reason, told.failure_reason) == ("local", 486, "Not Now", "user_request")
    assert agent.record.transactions(caller) == [("local", "INVITE", 486, None)]
    assert agent.record.transactions(callee) == [("remote", "INVITE", 486, True)]
    assert (caller.state, callee.state) == ("terminated", "terminated")
    assert "DidEnd" not in agent.record.short(caller) + agent.record.short(callee)


async def test_a_refusal_without_a_code_says_603(agent: Agent):
    caller = agent.call()
    (await agent.incoming()).reject()
    with pytest.raises(SessionDidFail) as failure:
        await caller._started
    assert (failure.value.code, failure.value.reason) == (603, "Decline")


@pytest.mark.spec(95)
async def test_6_3_and_6_11_a_cancelled_call_fails_with_487(agent: Agent):
    caller = agent.call()
    callee = await agent.incoming()
    callee.send_ring_indication()
    await agent.record.until(caller, "GotRingIndication")
    caller.end()
    assert caller.state == "terminating"
    told = await agent.record.until(caller, "DidFail")
    assert (told.originator, told.code, told.reason) == ("local", 487, "Session Cancelled")
    assert told.failure_reason == "user_request"
    told = await agent.record.until(callee, "DidFail")
    assert (told.originator, told.code, told.reason) == ("remote", 487, "Session Cancelled")
    assert agent.record.transactions(caller) == [("local", "INVITE", 487, None)]
    assert agent.record.transactions(callee) == [("remote", "INVITE", 487, "unknown")]
    assert "WillEnd" not in agent.record.short(caller)


async def test_6_3_ending_before_the_invite_is_sent_tells_no_transaction(agent: Agent):
    stream = agent.stream(slow=frozenset({"initialize"}))
    caller = agent.call(stream)
    caller.end()
    told = await agent.record.until(caller, "DidFail")
    assert (told.originator, told.code, told.failure_reason) == ("local", 487, "user_request")
    assert agent.record.transactions(caller) == []
    assert stream.calls == ["initialize", "deactivate", "end"]


async def test_6_4_a_dead_route_is_told_as_it_is(agent: Agent, free_udp_port: int):
    caller = agent.call(routes=[Route("127.0.0.1", free_udp_port)])
    told = await agent.record.until(caller, "DidFail")
    assert (told.originator, told.code, told.reason) == ("local", 0, None)
    assert "503" not in str(told.code)
    assert told.failure_reason
    assert agent.record.transactions(caller) == []


@pytest.mark.spec(75)
async def test_6_5_the_second_route_is_tried_when_the_first_is_dead(agent: Agent, free_udp_port: int):
    stream = agent.stream()
    caller = agent.call(stream, routes=[Route("127.0.0.1", free_udp_port), agent.route])
    callee = await agent.incoming()
    callee.accept(callee.proposed_streams)
    await agent.record.until(caller, "DidStart")
    assert caller.route.port == agent.route.port
    assert agent.record.short(caller).count("NewOutgoing") == 1
    assert stream.calls.count("initialize") == 1


async def test_6_5_without_routes_the_call_fails_and_raises_nothing(agent: Agent):
    caller = agent.call(routes=[])
    told = await agent.record.until(caller, "DidFail")
    assert (told.originator, told.code, told.failure_reason) == ("local", 0, "No more routes to try")


async def test_6_6_a_stream_that_cannot_be_initialised_sends_no_invite(agent: Agent):
    stream = agent.stream(fails="initialize")
    caller = agent.call(stream)
    told = await agent.record.until(caller, "DidFail")
    assert (told.originator, told.code) == ("local", 0)
    assert told.failure_reason == "media stream failed: initialize failed"
    assert agent.record.transactions(caller) == []
    assert stream.calls[-1] == "end"


async def test_6_6_a_stream_that_does_not_start_ends_the_call_with_bye(agent: Agent):
    caller = agent.call(agent.stream(fails="start"))
    callee = await agent.incoming()
    callee.accept(callee.proposed_streams)
    told = await agent.record.until(caller, "DidEnd")
    assert (told.originator, told.end_reason) == ("local", "media stream failed: start failed")
    assert agent.record.transactions(caller) == [("local", "BYE", 200, None)]
    await agent.record.until(callee, "DidEnd")


async def test_6_6_a_stream_that_takes_too_long_to_start_is_not_waited_for(agent: Agent, monkeypatch):
    monkeypatch.setattr(Session, "media_stream_timeout", 0.1)
    caller = agent.call(agent.stream(slow=frozenset({"start"})))
    callee = await agent.incoming()
    callee.accept(callee.proposed_streams)
    told = await agent.record.until(caller, "DidEnd")
    assert told.end_reason == "media stream timed out while starting"


async def test_6_7_the_remote_ends_before_our_streams_run(agent: Agent):
    caller = agent.call(agent.stream(slow=frozenset({"start"})))
    callee = await agent.incoming()
    callee.accept(callee.proposed_streams)
    await agent.record.until(callee, "DidStart")
    callee.end()
    told = await agent.record.until(caller, "DidEnd")
    assert told.originator == "remote"
    assert agent.record.short(caller)[-3:] == ["WillEnd", "DidProcessTransaction", "DidEnd"]
    assert agent.record.transactions(caller) == [("remote", "BYE", 200, None)]


async def test_6_8_a_call_without_acceptable_media_is_refused_and_not_announced(agent: Agent):
    class Strange(type(agent.stream())):  # type: ignore[misc]
        type = "strange"
        priority = None
        media = "x-strange"

    caller = agent.call(Strange(agent.account))
    told = await agent.record.until(caller, "DidFail")
    assert told.code == 488
    assert [n for n in agent.record.all if n.name == "SIPSessionNewIncoming"] == []


@pytest.mark.spec(126)
async def test_a_call_for_nobody_is_answered_404(agent: Agent):
    session = Session(agent.account)
    session.connect(ToHeader(SIPURI("127.0.0.1", "nobody")), [agent.route], [agent.stream()])
    assert (await agent.record.until(session, "DidFail")).code == 404


async def test_the_classes_of_the_first_stream_of_its_kind_are_loaded_in_a_thread(agent: Agent, monkeypatch, tmp_path):
    (tmp_path / "late_stream_classes.py").write_text("import threading\nTHREAD = threading.current_thread()\n")
    monkeypatch.syspath_prepend(tmp_path)
    MediaStreamRegistry().announce("late_stream_classes", ContractStream.media)
    caller = agent.call()
    callee = await agent.incoming()
    assert sys.modules.pop("late_stream_classes").THREAD is not threading.current_thread()
    callee.accept(callee.proposed_streams)
    await agent.record.until(caller, "DidStart")


async def test_a_call_that_is_cancelled_while_its_classes_are_loaded_is_not_announced(agent: Agent, monkeypatch):
    go_on = threading.Event()
    monkeypatch.setattr(MediaStreamRegistry, "is_loaded", lambda self, *media: go_on.is_set())
    monkeypatch.setattr(MediaStreamRegistry, "load", lambda self, *media: go_on.wait(LIMIT))
    caller = agent.call()

    def states() -> list[str]:
        return [n.data.state for n in agent.record.all if n.name == "SIPInvitationChangedState"]

    await eventually(lambda: "incoming" in states(), "the arrival of the call")
    caller.end()
    await agent.record.until(caller, "DidFail")
    go_on.set()
    again = agent.call()
    callee = await agent.incoming()
    assert [n.sender for n in agent.record.all if n.name == "SIPSessionNewIncoming"] == [callee]
    again.end()
    await agent.record.until(again, "DidFail")


@pytest.mark.spec(76, 78, 79)
async def test_6_9_streams_that_are_not_accepted_get_port_0(agent: Agent):
    wanted, unwanted = agent.stream(), agent.stream()
    caller = agent.call(wanted, unwanted)
    callee = await agent.incoming()
    assert len(callee.proposed_streams) == 2
    refused = callee.proposed_streams[1]
    callee.accept(callee.proposed_streams[:1])
    await agent.record.until(caller, "DidStart")
    assert caller.streams == [wanted]
    assert unwanted.calls == ["initialize", "deactivate", "end"]
    assert refused.calls == []
    assert caller._invitation.sdp.active_remote.media[1].port == 0


async def test_6_13_a_stream_of_the_called_side_that_cannot_be_initialised_is_answered_500(agent: Agent):
    caller = agent.call()
    callee = await agent.incoming()
    callee.proposed_streams[0].fails = "initialize"
    callee.accept(callee.proposed_streams)
    told = await agent.record.until(callee, "DidFail")
    assert (told.originator, told.code) == ("local", 500)
    assert told.failure_reason == "media stream failed: initialize failed"
    assert (await agent.record.until(caller, "DidFail")).code == 500


async def test_6_13_a_stream_of_the_called_side_that_does_not_start_ends_the_call(agent: Agent):
    caller = agent.call()
    callee = await agent.incoming()
    callee.proposed_streams[0].fails = "start"
    callee.accept(callee.proposed_streams)
    told = await agent.record.until(callee, "DidEnd")
    assert told.end_reason == "media stream failed: start failed"
    await agent.record.until(caller, "DidEnd")


@pytest.mark.spec(74, 77)
async def test_methods_are_refused_in_the_wrong_state_by_name_and_state(agent: Agent):
    session = Session(agent.account)
    for method in ("send_ring_indication", "reject"):
        with pytest.raises(IllegalStateError, match=rf"{method}.*None"):
            getattr(session, method)()
    with pytest.raises(IllegalStateError):
        session.accept([])
    assert (await session.end()) is session
    caller, callee = await agent.talking()
    assert caller.remote_identity.uri.user == "alice"
    with pytest.raises(IllegalStateError):
        caller.connect(ToHeader(SIPURI("127.0.0.1", "alice")), [agent.route], [agent.stream()])
    with pytest.raises(IllegalStateError):
        callee.send_ring_indication()


async def test_accepting_what_was_not_proposed_is_a_mistake_that_changes_nothing(agent: Agent):
    agent.call()
    callee = await agent.incoming()
    for choice in ([], [agent.stream()]):
        with pytest.raises(ValueError, match="proposed"):
            callee.accept(choice)
    assert callee.state == "incoming"
    await callee.reject()


async def test_an_application_may_accept_inside_the_announcement(agent: Agent):
    from sipsimple.notification import NotificationCenter

    class Eager:
        def handle_notification(self, notification):
            notification.sender.accept(notification.data.streams)

    eager = Eager()
    NotificationCenter().add_observer(eager, "SIPSessionNewIncoming")
    caller = agent.call()
    await agent.record.until(caller, "DidStart")
    NotificationCenter().remove_observer(eager, "SIPSessionNewIncoming")


@pytest.mark.spec(124, 125)
async def test_the_manager_lists_the_active_sessions_and_hands_out_copies(agent: Agent):
    manager = SessionManager()
    assert manager is SessionManager()
    assert manager.sessions == []
    caller, callee = await agent.talking()
    assert set(manager.sessions) == {caller, callee}
    manager.sessions.clear()
    assert len(manager.sessions) == 2
    await caller.end()
    await agent.record.until(callee, "DidEnd")
    assert manager.sessions == []


async def test_awaiting_the_methods_gives_the_session_or_raises_what_became_of_it(agent: Agent):
    caller = agent.call()
    callee = await agent.incoming()
    assert await callee.accept(callee.proposed_streams) is callee
    assert await caller._started is caller
    assert await asyncio.wait_for(caller.end(), 5) is caller
