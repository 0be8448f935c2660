"""How a running session ends: the scenarios 6.14, 6.15, 6.24 and 6.25 of the behaviour."""

from __future__ import annotations

import pytest

from tests.support.agent import Agent


@pytest.mark.spec(115, 116, 123)
async def test_6_14_and_6_15_a_bye_ends_both_sides(agent: Agent):
    stream = agent.stream()
    caller, callee = await agent.talking(stream)
    caller.end()
    assert caller.state == "terminating"
    told = await agent.record.until(caller, "DidEnd")
    assert (told.originator, told.end_reason) == ("local", "user_request")
    told = await agent.record.until(callee, "DidEnd")
    assert (told.originator, told.end_reason) == ("remote", "user_request")
    assert agent.record.short(caller)[-3:] == ["WillEnd", "DidProcessTransaction", "DidEnd"]
    assert agent.record.short(callee)[-3:] == ["WillEnd", "DidProcessTransaction", "DidEnd"]
    assert agent.record.transactions(caller)[-1] == ("local", "BYE", 200, None)
    assert agent.record.transactions(callee)[-1] == ("remote", "BYE", 200, None)
    assert stream.calls[-2:] == ["deactivate", "end"]


async def test_6_14_ending_twice_is_ending_once(agent: Agent):
    caller, callee = await agent.talking()
    first, second = caller.end(), caller.end()
    await first
    await second
    await agent.record.until(callee, "DidEnd")
    assert agent.record.short(caller).count("DidEnd") == 1


async def test_6_14_both_end_at_once(agent: Agent):
    caller, callee = await agent.talking()
    caller.end()
    callee.end()
    await agent.record.until(caller, "DidEnd")
    await agent.record.until(callee, "DidEnd")
    assert caller.state == callee.state == "terminated"


async def test_6_24_the_only_stream_fails_and_the_session_ends(agent: Agent):
    stream = agent.stream()
    caller, callee = await agent.talking(stream)
    stream.break_down()
    told = await agent.record.until(caller, "DidEnd")
    assert (told.originator, told.end_reason) == ("local", "media stream failed: it broke")
    await agent.record.until(callee, "DidEnd")


async def test_6_24_one_of_two_streams_fails_and_is_removed(agent: Agent):
    stays, breaks = agent.stream(), agent.stream()
    caller, callee = await agent.talking(stays, breaks)
    breaks.break_down()
    told = await agent.record.until(caller, "DidRenegotiateStreams")
    assert (told.action, told.streams) == ("remove", [breaks])
    assert caller.streams == [stays]
    told = await agent.record.until(callee, "DidRenegotiateStreams")
    assert (told.originator, told.action, len(callee.streams)) == ("remote", "remove", 1)


async def test_sessions_are_ended_when_the_application_stops(agent: Agent):
    caller, callee = await agent.talking()
    await agent.application.stop()
    assert caller.state == callee.state == "terminated"
    assert "DidEnd" in agent.record.short(caller)


@pytest.mark.spec(127, 128, 129, 130, 131, 132, 133, 136, 137, 138, 139, 140, 141, 142, 143, 144, 145, 146, 147, 148)
async def test_a_stream_written_from_the_documented_interface_alone_serves_a_session(agent: Agent):
    stream = agent.stream()
    caller, callee = await agent.talking(stream)
    caller.hold()
    await agent.record.until(callee, "DidChangeHoldState")
    await agent.record.until(caller, "DidChangeHoldState")
    (theirs,) = callee.streams
    assert (stream.on_hold_by_local, stream.on_hold_by_remote, stream.on_hold) == (True, False, True)
    assert (theirs.on_hold_by_local, theirs.on_hold_by_remote, theirs.on_hold) == (False, True, True)
    caller.end()
    await agent.record.until(callee, "DidEnd")
    await agent.record.until(caller, "DidEnd")
    assert stream.calls == ["initialize", "start", "hold", "hold", "update", "deactivate", "end"]
    assert theirs.calls == ["initialize", "start", "update", "deactivate", "end"]
    assert agent.record.names(stream) == [
        "MediaStreamDidInitialize",
        "MediaStreamDidStart",
        "MediaStreamWillEnd",
        "MediaStreamDidEnd",
    ]
    # The loss of a transport after `deactivate` is no failure: nothing but the end was told.
    assert agent.record.data(callee, "DidEnd").end_reason == "user_request"
