"""How a running session changes: the scenarios 6.16 to 6.23 of the behaviour, by their numbers."""

from __future__ import annotations

import pytest

from sipsimple.session import IllegalStateError, Session
from tests.support.agent import Agent, eventually


@pytest.mark.spec(83, 84, 88, 89, 118, 120, 122)
async def test_6_16_and_6_18_a_stream_is_added_with_the_consent_of_the_other_party(agent: Agent):
    caller, callee = await agent.talking()
    extra = agent.stream()
    caller.add_stream(extra)
    assert caller.state == "sending_proposal"
    proposal = await agent.record.until(callee, "GotProposal")
    assert proposal.originator == "remote"
    assert callee.state == "received_proposal"
    assert callee.proposed_streams == proposal.streams
    assert (await agent.record.until(caller, "GotProposal")).streams == [extra]
    assert caller.proposed_streams == [extra]
    callee.accept_proposal(proposal.streams)
    assert callee.state == "accepting_proposal"
    for session, originator in ((caller, "local"), (callee, "remote")):
        added = await agent.record.until(session, "DidRenegotiateStreams")
        assert (added.originator, added.action) == (originator, "add")
        assert session.streams[-1] in added.streams
        assert len(session.streams) == 2
        assert session.proposed_streams is None
        assert session.state == "connected"
        assert agent.record.short(session)[-2:] == ["GotAcceptProposal", "DidRenegotiateStreams"]
    assert agent.record.transactions(caller)[-1] == ("local", "INVITE", 200, None)
    assert agent.record.transactions(callee)[-1] == ("remote", "INVITE", 200, "unknown")
    assert "update" in caller.streams[0].calls


@pytest.mark.spec(85, 86, 87, 119)
async def test_6_16_a_refused_stream_leaves_the_session_as_it_was(agent: Agent):
    caller, callee = await agent.talking()
    extra = agent.stream()
    caller.add_stream(extra)
    proposal = await agent.record.until(callee, "GotProposal")
    callee.reject_proposal(488, "No More")
    told = await agent.record.until(caller, "GotRejectProposal")
    assert (told.originator, told.code, told.reason, told.streams) == ("local", 488, "No More", [extra])
    told = await agent.record.until(callee, "GotRejectProposal")
    assert (told.originator, told.code, told.streams) == ("remote", 488, proposal.streams)
    assert (caller.state, callee.state) == ("connected", "connected")
    assert len(caller.streams) == len(callee.streams) == 1
    assert extra.calls[-1] == "end"


async def test_6_16_a_stream_that_cannot_be_initialised_is_not_proposed(agent: Agent):
    caller, _ = await agent.talking()
    caller.add_stream(agent.stream(fails="initialize"))
    told = await agent.record.until(caller, "HadProposalFailure")
    assert told.failure_reason == "media stream failed: initialize failed"
    assert caller.state == "connected"
    assert "GotProposal" not in agent.record.short(caller)


@pytest.mark.spec(121)
async def test_6_16_a_stream_that_does_not_start_is_a_failed_proposal(agent: Agent):
    caller, callee = await agent.talking()
    extra = agent.stream(fails="start")
    caller.add_stream(extra)
    callee.accept_proposal((await agent.record.until(callee, "GotProposal")).streams)
    told = await agent.record.until(caller, "HadProposalFailure")
    assert (told.failure_reason, told.streams) == ("media stream failed: start failed", [extra])
    assert caller.state == "connected"
    assert len(caller.streams) == 1


@pytest.mark.spec(92)
async def test_6_17_a_cancelled_proposal_is_rejected_with_487(agent: Agent):
    caller, callee = await agent.talking()
    extra = agent.stream()
    caller.add_stream(extra)
    await agent.record.until(callee, "GotProposal")
    callee.send_ring_indication()
    await agent.record.until(caller, "GotRingIndication")
    caller.cancel_proposal()
    assert caller.state == "cancelling_proposal"
    told = await agent.record.until(caller, "GotRejectProposal")
    assert (told.originator, told.code, told.streams) == ("local", 487, [extra])
    told = await agent.record.until(callee, "GotRejectProposal")
    assert (told.originator, told.code) == ("remote", 487)
    assert (caller.state, callee.state) == ("connected", "connected")


async def test_6_17_a_proposal_is_cancelled_before_it_is_sent(agent: Agent):
    caller, _ = await agent.talking()
    extra = agent.stream(slow=frozenset({"initialize"}))
    caller.add_stream(extra)
    caller.cancel_proposal()
    told = await agent.record.until(caller, "GotRejectProposal")
    assert (told.code, told.reason) == (487, "Session Cancelled")
    assert agent.record.transactions(caller) == [("local", "INVITE", 200, None)]


async def test_6_17_an_acceptance_that_crosses_the_cancel_is_taken_back(agent: Agent):
    caller, callee = await agent.talking()
    caller.add_stream(agent.stream())
    callee.accept_proposal((await agent.record.until(callee, "GotProposal")).streams)
    caller.cancel_proposal()
    told = await agent.record.until(caller, "GotRejectProposal")
    assert told.code == 487
    await agent.record.until(callee, "DidRenegotiateStreams", 2)
    assert len(caller.streams) == len(callee.streams) == 1
    assert caller.state == callee.state == "connected"


async def test_6_18_a_proposal_with_another_origin_is_refused_with_a_warning(agent: Agent):
    caller, callee = await agent.talking()
    offer = caller._invitation.sdp.active_local
    from sipsimple.core import SDPSession

    forged = SDPSession.new(offer)
    forged.user = "mallory"
    caller._invitation.send_reinvite(sdp=forged)
    await eventually(lambda: agent.record.transactions(callee)[-1][2] == 488, "the refusal")
    assert agent.record.transactions(callee)[-1] == ("remote", "INVITE", 488, "unknown")
    assert callee.state == "connected"
    assert len(callee.streams) == 1


async def test_6_18_the_called_side_fails_to_prepare_the_stream_and_answers_500(agent: Agent):
    caller, callee = await agent.talking()
    caller.add_stream(agent.stream())
    streams = (await agent.record.until(callee, "GotProposal")).streams
    streams[0].fails = "initialize"
    callee.accept_proposal(streams)
    told = await agent.record.until(callee, "HadProposalFailure")
    assert (told.originator, told.failure_reason) == ("remote", "media stream failed: initialize failed")
    assert (await agent.record.until(caller, "GotRejectProposal")).code == 500
    assert caller.state == callee.state == "connected"


async def test_6_19_crossing_proposals_are_both_refused_with_491(agent: Agent):
    caller, callee = await agent.talking()
    caller.add_stream(agent.stream())
    callee.add_stream(agent.stream())
    for session in (caller, callee):
        told = await agent.record.until(session, "GotRejectProposal")
        assert (told.originator, told.code) == ("local", 491)
        assert session.state == "connected"


async def test_6_19_a_remote_proposal_overtakes_ours_that_is_not_sent_yet(agent: Agent):
    caller, callee = await agent.talking()
    ours = agent.stream(slow=frozenset({"initialize"}))
    caller.add_stream(ours)
    callee.add_stream(agent.stream())
    told = await agent.record.until(caller, "HadProposalFailure")
    assert (told.failure_reason, told.streams) == ("received stream proposal", [ours])
    proposal = await agent.record.until(caller, "GotProposal")
    caller.accept_proposal(proposal.streams)
    await agent.record.until(callee, "DidRenegotiateStreams")


@pytest.mark.spec(93, 94, 102, 117, 134, 135)
async def test_6_20_and_6_21_hold_and_its_end(agent: Agent):
    stream = agent.stream()
    caller, callee = await agent.talking(stream)
    caller.hold()
    assert caller.state == "sending_proposal"
    assert "hold" in stream.calls
    told = await agent.record.until(caller, "DidChangeHoldState")
    assert (told.originator, told.on_hold, told.partial) == ("local", True, False)
    told = await agent.record.until(callee, "DidChangeHoldState")
    assert (told.originator, told.on_hold, told.partial) == ("remote", True, False)
    assert caller.on_hold
    assert callee.on_hold
    caller.hold()
    caller.unhold()
    told = await agent.record.until(caller, "DidChangeHoldState", 2)
    assert (told.originator, told.on_hold) == ("local", False)
    told = await agent.record.until(callee, "DidChangeHoldState", 2)
    assert (told.originator, told.on_hold) == ("remote", False)
    assert not caller.on_hold
    assert not callee.on_hold
    assert caller.state == "connected"


async def test_6_20_a_hold_before_the_start_is_carried_out_after_it(agent: Agent):
    caller = agent.call()
    caller.hold()
    callee = await agent.incoming()
    callee.accept(callee.proposed_streams)
    told = await agent.record.until(caller, "DidChangeHoldState")
    assert told.on_hold
    assert agent.record.short(caller).index("DidStart") < agent.record.short(caller).index("DidChangeHoldState")


async def test_6_20_hold_and_unhold_before_the_start_cancel_each_other(agent: Agent):
    caller = agent.call()
    caller.hold()
    caller.unhold()
    callee = await agent.incoming()
    callee.accept(callee.proposed_streams)
    await agent.record.until(caller, "DidStart")
    caller.add_stream(agent.stream())
    await agent.record.until(callee, "GotProposal")
    assert "DidChangeHoldState" not in agent.record.short(caller)


async def test_6_20_unhold_during_the_hold_is_sent_right_after_it(agent: Agent):
    caller, callee = await agent.talking()
    caller.hold()
    caller.unhold()
    caller.hold()
    caller.unhold()
    await eventually(lambda: caller.state == "connected", "the calm")
    assert not caller.on_hold
    assert not callee.on_hold


async def test_6_20_a_refused_hold_changes_nothing(agent: Agent):
    stream = agent.stream()
    caller, callee = await agent.talking(stream)
    callee.streams[0].acceptable = False
    caller.hold()
    await eventually(lambda: agent.record.transactions(caller)[-1][2] == 488, "the refusal")
    assert caller.state == "connected"
    assert stream.calls[-1] == "unhold"
    assert "DidChangeHoldState" not in agent.record.short(caller)
    callee.streams[0].acceptable = True
    caller.hold()
    assert (await agent.record.until(caller, "DidChangeHoldState")).on_hold


async def test_6_20_hold_of_some_streams_only_is_partial(agent: Agent):
    held, free = agent.stream(), agent.stream()
    free.hold = lambda: None  # type: ignore[method-assign]
    caller, callee = await agent.talking(held, free)
    caller.hold()
    assert (await agent.record.until(caller, "DidChangeHoldState")).partial
    assert (await agent.record.until(callee, "DidChangeHoldState")).partial


@pytest.mark.spec(90, 91)
async def test_6_22_a_stream_is_removed(agent: Agent):
    stays, leaves = agent.stream(), agent.stream()
    caller, callee = await agent.talking(stays, leaves)
    left = callee.streams[1]
    caller.remove_stream(leaves)
    told = await agent.record.until(caller, "DidRenegotiateStreams")
    assert (told.originator, told.action, told.streams) == ("local", "remove", [leaves])
    assert caller.streams == [stays]
    assert leaves.calls[-2:] == ["deactivate", "end"]
    told = await agent.record.until(callee, "DidRenegotiateStreams")
    assert (told.originator, told.action, told.streams) == ("remote", "remove", [left])
    assert left.calls[-2:] == ["deactivate", "end"]
    assert caller._invitation.sdp.active_local.media[1].port == 0
    assert caller.state == callee.state == "connected"


async def test_6_22_a_stream_is_removed_even_when_the_other_party_refuses(agent: Agent):
    stays, leaves = agent.stream(), agent.stream()
    caller, callee = await agent.talking(stays, leaves)
    callee.streams[0].acceptable = False
    caller.remove_stream(leaves)
    told = await agent.record.until(caller, "DidRenegotiateStreams")
    assert told.streams == [leaves]
    assert agent.record.transactions(caller)[-1] == ("local", "INVITE", 488, None)
    assert caller.streams == [stays]
    assert len(callee.streams) == 2


async def test_6_22_removing_a_stranger_does_nothing(agent: Agent):
    caller, _ = await agent.talking()
    caller.remove_stream(agent.stream())
    assert caller.state == "connected"


async def test_6_22_a_removed_stream_can_be_followed_by_a_new_one(agent: Agent):
    stays, leaves = agent.stream(), agent.stream()
    caller, callee = await agent.talking(stays, leaves)
    caller.remove_stream(leaves)
    await agent.record.until(callee, "DidRenegotiateStreams")
    await agent.record.until(caller, "DidRenegotiateStreams")
    fresh = agent.stream()
    caller.add_stream(fresh)
    callee.accept_proposal((await agent.record.until(callee, "GotProposal")).streams)
    await agent.record.until(caller, "DidRenegotiateStreams", 2)
    assert fresh.index == 2
    assert caller.streams == [stays, fresh]


async def test_6_23_a_proposal_that_changes_nothing_is_answered_by_itself(agent: Agent):
    caller, callee = await agent.talking()
    caller._invitation.send_reinvite()
    await eventually(lambda: len(agent.record.transactions(callee)) == 2, "the transaction")
    assert agent.record.transactions(callee)[-1] == ("remote", "INVITE", 200, "unknown")
    assert callee.streams[0].calls[-1] == "update"
    assert "GotProposal" not in agent.record.short(callee)


async def test_6_15_an_end_in_the_middle_of_a_proposal_fails_it_on_the_other_side(agent: Agent):
    caller, callee = await agent.talking()
    caller.add_stream(agent.stream())
    await agent.record.until(callee, "GotProposal")
    caller.end()
    told = await agent.record.until(callee, "HadProposalFailure")
    assert told.failure_reason == "session ended"
    assert (await agent.record.until(callee, "DidEnd")).originator == "remote"
    await agent.record.until(caller, "DidEnd")
    assert "HadProposalFailure" not in agent.record.short(caller)


async def test_proposals_are_refused_in_the_wrong_state(agent: Agent):
    fresh = Session(agent.account)
    for method, arguments in (
        ("add_stream", [agent.stream()]),
        ("remove_stream", [agent.stream()]),
        ("cancel_proposal", []),
        ("accept_proposal", [[]]),
        ("reject_proposal", []),
    ):
        with pytest.raises(IllegalStateError, match=method):
            getattr(fresh, method)(*arguments)
    fresh.hold()
    fresh.unhold()
