"""What happens before a call is accepted: early media, reliable provisional responses and PRACK."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sipsimple.core import Invitation
from sipsimple.sip.timers import Timing
from tests.support.raw_peer import RawPeer
from tests.unit.core.kit import told
from tests.unit.core.test_forks import SDP, answer_from, place_call, until_silent
from tests.unit.core.test_invitation import called, description, reached, ringing

UPDATED = "SIPInvitationGotSDPUpdate"
RELIABLE = "Require: 100rel\nRSeq: {}\n"


@pytest.fixture
def peer(engine):
    with RawPeer() as peer:
        yield peer


def updates(record: Any, invitation: Invitation) -> list[tuple[bool, int]]:
    """Each agreement that was told: whether it was early, and the port of the other side."""
    data = [n.data for n in record.of(invitation) if n.name == UPDATED]
    return [(d.early, d.remote_sdp.media[0].port) for d in data]


async def call_from(peer: RawPeer, headers: str = "", body: str = SDP) -> Invitation:
    calling = asyncio.ensure_future(called())
    await asyncio.sleep(0)
    peer.request("INVITE", body, headers)
    return await calling


async def test_early_media_is_told_before_the_call_is_accepted(engine, record, peer):
    caller = place_call(peer)
    invite = await peer.expect("INVITE")
    assert "100rel" in invite.headers.get("Supported")
    answer_from(peer, "bob", invite, 183, body=SDP)
    await told(record, caller, UPDATED)
    assert caller.state == "early"
    answer_from(peer, "bob", invite, 183, body=SDP)
    answer_from(peer, "bob", invite, 200)
    await peer.expect("ACK")
    await reached(caller, "connected")
    assert updates(record, caller) == [(True, 41000), (False, 41000)]
    assert caller.sdp.active_remote.media[0].port == 41000


async def test_each_fork_may_have_early_media_of_its_own(engine, record, peer):
    caller = place_call(peer)
    invite = await peer.expect("INVITE")
    answer_from(peer, "desk", invite, 183, body=SDP)
    answer_from(peer, "mobile", invite, 183, body=SDP.replace("41000", "42000"))
    await told(record, caller, UPDATED, 2)
    answer_from(peer, "mobile", invite, 200, body=SDP.replace("41000", "42000"))
    await reached(caller, "connected")
    assert updates(record, caller) == [(True, 41000), (True, 42000), (False, 42000)]


async def test_early_description_that_is_no_answer_is_passed_over(engine, record, peer):
    caller = place_call(peer)
    invite = await peer.expect("INVITE")
    answer_from(peer, "bob", invite, 183, body=SDP.replace("m=audio", "m=video"))
    answer_from(peer, "bob", invite, 183, body="nonsense\n")
    answer_from(peer, "bob", invite, 200)
    await reached(caller, "connected")
    assert updates(record, caller) == [(False, 41000)]


async def test_reliable_response_is_acknowledged_once_and_in_order(engine, record, peer):
    caller = place_call(peer)
    invite = await peer.expect("INVITE")
    answer_from(peer, "bob", invite, 180, RELIABLE.format(700))
    prack = await peer.expect("PRACK")
    assert prack.headers.get("RAck") == f"700 {invite.cseq[0]} INVITE"
    assert (prack.to.tag, prack.cseq[0]) == ("bob", invite.cseq[0] + 1)
    peer.respond(prack, 200)
    answer_from(peer, "bob", invite, 180, RELIABLE.format(700))
    answer_from(peer, "bob", invite, 180, RELIABLE.format(702))
    assert await until_silent(peer) == []
    answer_from(peer, "bob", invite, 183, RELIABLE.format(701))
    prack = await peer.expect("PRACK")
    assert prack.headers.get("RAck") == f"701 {invite.cseq[0]} INVITE"
    codes = [n.data.code for n in record.of(caller) if getattr(n.data, "state", "") == "early"]
    assert codes == [180, 183]


async def test_2xx_after_a_reliable_answer_needs_none(engine, record, peer):
    caller = place_call(peer)
    invite = await peer.expect("INVITE")
    answer_from(peer, "bob", invite, 183, RELIABLE.format(1), SDP)
    peer.respond(await peer.expect("PRACK"), 200)
    answer_from(peer, "bob", invite, 200, body="")
    await reached(caller, "connected")
    assert updates(record, caller) == [(True, 41000), (False, 41000)]


async def test_each_fork_counts_its_reliable_responses(engine, peer):
    place_call(peer)
    invite = await peer.expect("INVITE")
    for tag, number in (("desk", 5), ("mobile", 90)):
        answer_from(peer, tag, invite, 180, RELIABLE.format(number))
        prack = await peer.expect("PRACK")
        assert (prack.to.tag, prack.headers.get("RAck").split()[0]) == (tag, str(number))
        peer.respond(prack, 200)


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_early_media_of_ours_goes_reliably_to_whom_can_take_it(engine, record, transport):
    caller, callee = await ringing(engine, transport=transport)
    callee.send_response(183, sdp=description(41000))
    callee.send_response(200, sdp=description(41000))
    await asyncio.gather(reached(caller, "connected"), reached(callee, "connected"))
    assert updates(record, caller) == [(True, 41000), (False, 41000)]
    assert updates(record, callee) == [(True, 40000), (False, 40000)]
    traces = [n.data.data for n in record.of(engine) if n.name == "SIPEngineSIPTrace" and not n.data.received]
    firsts = [text.split("\r\n", 1)[0].split(" sip:")[0] for text in traces]
    assert firsts.index("PRACK") < firsts.index("SIP/2.0 200 OK") < firsts.index("ACK")
    caller.end(timeout=1)
    await reached(callee, "disconnected")


async def test_early_media_of_ours_is_repeated_in_the_2xx_for_others(engine, record, peer):
    callee = await call_from(peer)
    callee.send_response(183, sdp=description(41000))
    progress = await peer.response(183)
    assert (progress.headers.get("RSeq"), b"41000" in progress.body) == (None, True)
    callee.send_response(200, sdp=description(45000))
    assert (await peer.response(200)).body == progress.body
    assert updates(record, callee) == [(True, 41000), (False, 41000)]


async def test_caller_that_demands_reliable_responses_gets_them_one_by_one(engine, peer):
    callee = await call_from(peer, "Require: 100rel\n")
    callee.send_response(180)
    callee.send_response(183, sdp=description(41000))
    callee.send_response(200, sdp=description(41000))
    ringing = await peer.response(180)
    number = int(ringing.headers.get("RSeq"))
    assert "100rel" in ringing.headers.get("Require")
    peer.request("PRACK", headers=f"RAck: {number + 1} 1 INVITE\n")
    await peer.response(481)
    peer.request("PRACK", headers="RAck: x\n")
    await peer.response(481)
    peer.request("PRACK", headers=f"RAck: {number} 1 INVITE\n")
    await peer.response(200)
    progress = await peer.response(183)
    assert int(progress.headers.get("RSeq")) == number + 1
    assert callee.state == "early"
    peer.request("PRACK", headers=f"RAck: {number + 1} 1 INVITE\n")
    assert (await peer.response(200)).cseq[1] == "PRACK"
    accepted = await peer.response(200)
    assert (accepted.cseq[1], accepted.body) == ("INVITE", b"")
    assert callee.state == "connecting"


async def test_2xx_does_not_wait_for_what_described_nothing(engine, peer):
    callee = await call_from(peer, "Require: 100rel\n")
    callee.send_response(180)
    await peer.response(180)
    callee.send_response(200, sdp=description(41000))
    assert b"41000" in (await peer.response(200)).body
    peer.request("PRACK", headers="RAck: 1 1 INVITE\n")
    await peer.response(481)


async def test_reliable_response_that_nobody_acknowledges_is_repeated_then_fails_the_call(
    engine, record, peer, monkeypatch
):
    fast = Timing(t1=0.02)
    monkeypatch.setattr("sipsimple.sip.provisional.ReliableProvisional.__init__.__kwdefaults__", {"timing": fast})
    callee = await call_from(peer, "Require: 100rel\n")
    callee.send_response(183)
    first, second = await peer.response(183), await peer.response(183)
    assert first.headers.get("RSeq") == second.headers.get("RSeq")
    await peer.response(504)
    assert callee.state == "disconnecting"


async def test_withdrawn_call_is_over_although_a_response_waits_for_its_prack(engine, peer):
    callee = await call_from(peer, "Require: 100rel\n")
    callee.send_response(183)
    peer.remote_tag = (await peer.response(183)).to.tag
    peer.request("BYE")
    await peer.response(200)
    assert callee.state == "disconnected"
    assert all(getattr(message, "code", 487) == 487 for message in await until_silent(peer))


async def test_option_that_nobody_knows_is_refused(engine, peer):
    peer.request("INVITE", SDP, "Require: 100rel, teleport\n")
    assert (await peer.response(420)).headers.get("Unsupported") == "teleport"


async def test_request_of_an_early_dialog_of_nobody_is_refused(engine, peer):
    caller = place_call(peer)
    invite = await peer.expect("INVITE")
    answer_from(peer, "bob", invite, 180)
    await reached(caller, "early")
    peer.tag, peer.call_id, peer.remote_tag = "stranger", invite.call_id, invite.from_.tag
    peer.request("BYE")
    await peer.response(481)
    assert caller.state == "early"
