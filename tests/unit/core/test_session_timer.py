"""Session timers of calls: who refreshes, how, and what happens when nobody does (RFC 4028)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sipsimple.core import Invitation
from tests.support.raw_peer import RawPeer
from tests.unit.core.kit import told, until
from tests.unit.core.test_early import call_from
from tests.unit.core.test_forks import SDP, place_call
from tests.unit.core.test_invitation import description, reached, talking

TIMER = "Supported: timer\n"


@pytest.fixture
def peer(engine):
    with RawPeer() as peer:
        yield peer


@pytest.fixture
def short(monkeypatch):
    """Sessions may be so short that a test can wait for them."""
    monkeypatch.setattr("sipsimple.core.invitation.refreshing.MIN_SE", 1)


def seconds(invitation: Invitation) -> tuple[int | None, bool]:
    timer = invitation._refreshing._timer
    return (None, False) if timer is None else (timer.seconds, timer.refreshing)


async def accepted(peer: RawPeer, headers: str) -> tuple[Invitation, Any]:
    caller = place_call(peer)
    invite = await peer.expect("INVITE")
    peer.respond(invite, 200, body=SDP, headers=headers)
    await peer.expect("ACK")
    await reached(caller, "connected")
    peer.remote_tag = invite.from_.tag
    return caller, invite


async def test_both_sides_of_a_call_agree_that_the_caller_refreshes(engine):
    caller, callee = await talking(engine)
    assert (seconds(caller), seconds(callee)) == ((1800, True), (1800, False))
    caller.end(timeout=1)
    await asyncio.gather(reached(caller, "disconnected"), reached(callee, "disconnected"))
    assert seconds(caller) == seconds(callee) == (None, False)


async def test_side_that_knows_no_timers_gets_none(engine, peer):
    caller, invite = await accepted(peer, "")
    assert invite.headers.get("Session-Expires") == "1800"
    assert "timer" in invite.headers.get("Supported")
    assert seconds(caller) == (None, False)


@pytest.mark.parametrize(
    ("headers", "answered", "required", "refreshing"),
    [
        (TIMER + "Session-Expires: 600;refresher=uas\n", "600;refresher=uas", None, True),
        (TIMER + "Session-Expires: 600;refresher=uac\n", "600;refresher=uac", "timer", False),
        (TIMER + "x: 600\n", "600;refresher=uac", "timer", False),
        ("Session-Expires: 600\n", "600;refresher=uas", None, True),
    ],
)
async def test_called_side_gives_out_the_roles(engine, peer, headers, answered, required, refreshing):
    callee = await call_from(peer, headers)
    callee.send_response(200, sdp=description(41000))
    response = await peer.response(200)
    assert (response.headers.get("Session-Expires"), response.headers.get("Require")) == (answered, required)
    assert seconds(callee) == (600, refreshing)


async def test_called_side_imposes_no_timer(engine, peer):
    callee = await call_from(peer, TIMER)
    callee.send_response(200, sdp=description(41000))
    assert "Session-Expires" not in (await peer.response(200)).headers
    assert seconds(callee) == (None, False)


async def test_session_time_that_is_too_brief_is_refused(engine, record, peer):
    peer.request("INVITE", SDP, TIMER + "Session-Expires: 30\n")
    refusal = await peer.response(422)
    assert (refusal.headers.get("Min-SE"), bool(refusal.to.tag)) == ("90", True)
    assert not [n for n in record.all if n.name == "SIPInvitationChangedState"]


async def test_refusal_of_a_brief_session_time_is_answered_with_a_longer_one(engine, record, peer):
    caller = place_call(peer)
    invite = await peer.expect("INVITE")
    peer.respond(invite, 422, headers="Min-SE: 7200\n")
    await peer.expect("ACK")
    longer = await peer.expect("INVITE")
    assert (longer.headers.get("Session-Expires"), longer.headers.get("Min-SE")) == ("7200", "7200")
    assert (longer.call_id, longer.from_.tag) == (invite.call_id, invite.from_.tag)
    assert (longer.cseq[0], longer.body) == (invite.cseq[0] + 1, invite.body)
    peer.respond(longer, 422, headers="Min-SE: 7200\n")
    await reached(caller, "disconnected")
    assert record.of(caller)[-1].data.code == 422


@pytest.mark.parametrize(("allow", "method"), [("Allow: INVITE, UPDATE\n", "UPDATE"), ("Allow: INVITE\n", "INVITE")])
async def test_refresh_of_ours_is_an_update_where_that_is_known(engine, record, peer, allow, method):
    caller, _ = await accepted(peer, f"Session-Expires: 2;refresher=uac\n{allow}")
    refresh = await peer.expect(method)
    assert refresh.headers.get("Session-Expires") == "2;refresher=uac"
    peer.respond(refresh, 200, body=SDP if method == "INVITE" else "", headers="Session-Expires: 60;refresher=uac\n")
    if method == "INVITE":
        await peer.expect("ACK")
    else:
        assert refresh.body == b""
        await told(record, caller, "SIPInvitationUpdateDidSucceed")
    assert seconds(caller) == (60, True)
    assert caller.state == "connected"


async def test_called_side_refreshes_when_that_is_its_turn(engine, short, peer):
    callee = await call_from(peer, TIMER + "Allow: UPDATE\nSession-Expires: 2;refresher=uas\n")
    callee.send_response(200, sdp=description(41000))
    await peer.response(200)
    peer.request("ACK", cseq=peer.cseq)
    refresh = await peer.expect("UPDATE")
    # In the transaction of the refresh we are the client, whatever we were in that of the INVITE.
    assert refresh.headers.get("Session-Expires") == "2;refresher=uac"
    peer.respond(refresh, 200, headers="Session-Expires: 1800;refresher=uac\n")
    await until(lambda: seconds(callee) == (1800, True), "a longer time")
    assert callee.state == "connected"


async def test_call_that_the_other_side_does_not_refresh_is_ended(engine, record, peer):
    caller, _ = await accepted(peer, "Session-Expires: 1;refresher=uas\n")
    bye = await peer.expect("BYE")
    assert bye.headers.get("Reason") == 'SIP;cause=408;text="Session Timer Expired"'
    await reached(caller, "disconnected")
    data = record.of(caller)[-1].data
    assert (data.originator, data.disconnect_reason) == ("local", "session expired")


async def test_call_whose_refresh_fails_is_ended_in_the_end(engine, record, peer):
    caller, _ = await accepted(peer, "Allow: UPDATE\nSession-Expires: 2;refresher=uac\n")
    peer.respond(await peer.expect("UPDATE"), 500)
    await peer.expect("BYE")
    await reached(caller, "disconnected")


@pytest.mark.parametrize("method", ["UPDATE", "INVITE"])
async def test_refresh_of_the_other_side_keeps_the_call(engine, peer, method):
    caller, _ = await accepted(peer, "Session-Expires: 600;refresher=uas\n")
    peer.request(method, "", TIMER + "Session-Expires: 500;refresher=uac\n")
    response = await peer.response(200)
    assert response.headers.get("Session-Expires") == "500;refresher=uac"
    assert response.headers.get("Require") == "timer"
    assert seconds(caller) == (500, False)
    peer.request(method, "", TIMER + "Session-Expires: 5;refresher=uac\n")
    await peer.response(422 if method == "UPDATE" else 500)
    assert seconds(caller) == (500, False)


async def test_refresh_without_a_time_switches_the_timer_off(engine, peer):
    caller, _ = await accepted(peer, "Session-Expires: 600;refresher=uac\n")
    peer.request("UPDATE")
    await peer.response(200)
    assert seconds(caller) == (None, False)


async def test_update_that_was_too_brief_is_longer_the_next_time(engine, record, peer):
    caller, _ = await accepted(peer, "Allow: UPDATE\nSession-Expires: 600;refresher=uac\n")
    caller.send_update()
    peer.respond(await peer.expect("UPDATE"), 422, headers="Min-SE: 900\n")
    assert (await told(record, caller, "SIPInvitationUpdateDidFail")).code == 422
    caller.send_update()
    longer = await peer.expect("UPDATE")
    assert (longer.headers.get("Session-Expires"), longer.headers.get("Min-SE")) == ("900;refresher=uac", "900")


async def test_reinvite_of_the_other_side_that_is_too_brief_is_refused(engine, peer):
    caller, _ = await accepted(peer, "")
    peer.request("INVITE", "", TIMER + "Session-Expires: 5\n")
    assert (await peer.response(422)).headers.get("Min-SE") == "90"
    assert caller.sub_state == "normal"


async def test_refresh_waits_while_a_proposal_is_under_way(engine, peer):
    caller, _ = await accepted(peer, "Allow: UPDATE\nSession-Expires: 3;refresher=uac\n")
    caller.send_reinvite()
    proposal = await peer.expect("INVITE")
    caller._refreshing.on_refresh_due()
    peer.respond(proposal, 488)
    assert (await peer.expect("ACK")).cseq[0] == proposal.cseq[0]
    assert await peer.expect("UPDATE")
