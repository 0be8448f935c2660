"""Re-INVITE: proposals sent, received, refused, withdrawn and crossing."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sipsimple.core import Invitation, SDPSession, SIPCoreError
from sipsimple.core.stack import stack
from sipsimple.notification import NotificationCenter
from sipsimple.sip.endpoint import Endpoint
from sipsimple.sip.negotiation import next_version
from tests.unit.core.kit import told
from tests.unit.core.test_invitation import LIMIT, reached, talking


async def proposal(invitation: Invitation, sub_state: str, code: int | None = None) -> Any:
    """The data of the next change to this sub-state, with this code if one is given."""
    notification = await NotificationCenter().wait(
        "SIPInvitationChangedState",
        invitation,
        LIMIT,
        lambda n: (
            n.data.state == "connected"
            and n.data.sub_state == sub_state
            and (code is None or getattr(n.data, "code", None) == code)
        ),
    )
    return notification.data


def changed(invitation: Invitation, port: int) -> SDPSession:
    sdp = next_version(invitation.sdp.active_local)
    sdp.media[0].port = port
    return sdp


async def propose(caller: Invitation, callee: Invitation, **more: Any) -> Any:
    received = asyncio.ensure_future(proposal(callee, "received_proposal"))
    await asyncio.sleep(0)
    caller.send_reinvite(sdp=changed(caller, 40002), **more)
    assert caller.sub_state == "sent_proposal"
    return await received


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_an_accepted_proposal_changes_both_sides(engine, transport):
    caller, callee = await talking(engine, transport=transport)
    data = await propose(caller, callee)
    assert (data.method, data.originator) == ("INVITE", "remote")
    assert callee.sdp.proposed_remote.media[0].port == 40002
    settled = asyncio.ensure_future(proposal(caller, "normal", 200))
    await asyncio.sleep(0)
    callee.send_response(200, sdp=changed(callee, 41002))
    assert callee.sub_state == "normal"
    await settled
    assert caller.sdp.active_remote.media[0].port == 41002
    assert callee.sdp.active_remote.media[0].port == 40002


async def test_the_description_is_told_before_the_proposal_is_over(engine, record):
    caller, callee = await talking(engine)
    await propose(caller, callee)
    settled = asyncio.ensure_future(proposal(caller, "normal", 200))
    await asyncio.sleep(0)
    callee.send_response(200, sdp=changed(callee, 41002))
    await settled
    assert [n.name for n in record.of(caller)[-2:]] == ["SIPInvitationGotSDPUpdate", "SIPInvitationChangedState"]


async def test_a_refused_proposal_leaves_the_session_as_it_was(engine):
    caller, callee = await talking(engine)
    await propose(caller, callee)
    settled = asyncio.ensure_future(proposal(caller, "normal"))
    await asyncio.sleep(0)
    callee.send_response(488)
    assert (await settled).code == 488
    assert caller.sdp.active_local.media[0].port == 40000
    assert caller.sdp.proposed_local is callee.sdp.proposed_remote is None
    await propose(caller, callee)


async def test_a_withdrawn_proposal_is_over_on_both_sides(engine):
    caller, callee = await talking(engine)
    await propose(caller, callee)
    ringing = asyncio.ensure_future(proposal(caller, "sent_proposal", 180))
    await asyncio.sleep(0)
    callee.send_response(180)
    await ringing
    over = asyncio.gather(proposal(caller, "normal", 487), proposal(callee, "normal", 487))
    await asyncio.sleep(0)
    caller.cancel_reinvite()
    for data, originator in zip(await over, ("remote", "remote"), strict=True):
        assert data.originator == originator


async def test_crossing_proposals_are_both_refused_with_491(engine):
    caller, callee = await talking(engine)
    over = asyncio.gather(proposal(caller, "normal"), proposal(callee, "normal"))
    await asyncio.sleep(0)
    caller.send_reinvite(sdp=changed(caller, 40002))
    callee.send_reinvite(sdp=changed(callee, 41002))
    assert [data.code for data in await over] == [491, 491]


async def test_the_called_side_may_propose_too(engine):
    caller, callee = await talking(engine)
    await propose(callee, caller)
    settled = asyncio.ensure_future(proposal(callee, "normal", 200))
    await asyncio.sleep(0)
    caller.send_response(200, sdp=changed(caller, 40004))
    await settled
    assert callee.sdp.active_remote.media[0].port == 40004


async def test_a_bye_ends_the_dialog_in_the_middle_of_a_proposal(engine):
    caller, callee = await talking(engine)
    await propose(caller, callee)
    callee.end(timeout=1)
    await asyncio.gather(reached(caller, "disconnected"), reached(callee, "disconnected"))


async def test_proposals_are_refused_out_of_turn(engine):
    caller, callee = await talking(engine)
    with pytest.raises(SIPCoreError):
        caller.cancel_reinvite()
    await propose(caller, callee)
    with pytest.raises(SIPCoreError):
        caller.send_reinvite()
    with pytest.raises(SIPCoreError):
        callee.send_reinvite()


@pytest.mark.parametrize("ignore", [False, True])
async def test_nothing_is_proposed_before_the_ack_of_the_other_sides_proposal(engine, record, ignore, monkeypatch):
    engine.ignore_missing_ack = ignore
    caller, callee = await talking(engine)
    kept = []
    monkeypatch.setattr(Endpoint, "send_stateless", lambda endpoint, *ack: kept.append(ack))
    await propose(caller, callee)
    settled = asyncio.ensure_future(proposal(caller, "normal", 200))
    await asyncio.sleep(0)
    callee.send_response(200, sdp=changed(callee, 41002))
    await settled
    assert not callee.may_propose
    with pytest.raises(SIPCoreError, match="not acknowledged"):
        callee.send_reinvite()
    monkeypatch.undo()
    if ignore:
        # 64*T1 later nobody waits for it any more.
        callee._answering._acceptance.wake(stack().endpoint.now() + 33)
    else:
        stack().endpoint.send_stateless(*kept[0])
    await told(record, callee, "SIPInvitationDidSettle")
    assert callee.may_propose
    await propose(callee, caller)
