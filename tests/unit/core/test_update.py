"""UPDATE in both directions, before a call is accepted and afterwards (RFC 3311)."""

from __future__ import annotations

from typing import Any

import pytest

from sipsimple.core import SIPURI, ContactHeader, FrozenSDPSession, Invitation, SDPMediaStream, SIPCoreError
from sipsimple.sip.endpoint import Endpoint
from sipsimple.sip.negotiation import next_version
from sipsimple.sip.transport import TransportNotListening
from tests.support.raw_peer import RawPeer
from tests.unit.core.kit import names, told
from tests.unit.core.test_early import RELIABLE, call_from, updates
from tests.unit.core.test_forks import SDP, answer_from, place_call
from tests.unit.core.test_invitation import description, reached, talking

UPDATED = "SIPInvitationGotSDPUpdate"


@pytest.fixture
def peer(engine):
    with RawPeer() as peer:
        yield peer


def changed(invitation: Invitation, port: int) -> Any:
    sdp = next_version(invitation.sdp.active_local)
    sdp.media[0].port = port
    return sdp


async def connected(peer: RawPeer, headers: str = "") -> Invitation:
    """A call of ours that the peer has accepted; requests of the peer belong to its dialog."""
    caller = place_call(peer)
    invite = await peer.expect("INVITE")
    assert "UPDATE" in invite.headers.get("Allow")
    peer.respond(invite, 200, body=SDP, headers=headers)
    await peer.expect("ACK")
    await reached(caller, "connected")
    peer.remote_tag = invite.from_.tag
    return caller


async def test_update_changes_both_sides_without_asking_anybody(engine, record):
    caller, callee = await talking(engine)
    caller.send_update(sdp=changed(caller, 40002))
    assert caller.sub_state == "normal"
    await told(record, caller, "SIPInvitationUpdateDidSucceed")
    assert updates(record, caller) == [(False, 41000), (False, 41000)]
    assert updates(record, callee) == [(False, 40000), (False, 40002)]
    assert callee.sdp.active_remote.media[0].port == 40002
    assert names(record, caller)[-2:] == [UPDATED, "SIPInvitationUpdateDidSucceed"]
    callee.send_update(sdp=changed(callee, 41002))
    await told(record, callee, "SIPInvitationUpdateDidSucceed")
    assert caller.sdp.active_remote.media[0].port == 41002


async def test_update_without_a_description_moves_the_contact(engine, record):
    caller, callee = await talking(engine)
    contact = ContactHeader(SIPURI("127.0.0.1", "moved", port=engine.udp_port))
    caller.send_update(contact_header=contact)
    await told(record, caller, "SIPInvitationUpdateDidSucceed")
    assert len(updates(record, callee)) == 1
    callee.end(timeout=1)
    data = (await told(record, caller, "SIPInvitationChangedState", 4)) and record.of(caller)[-1].data
    assert (data.method, data.request_uri.user) == ("BYE", "moved")


async def test_hold_by_update_is_answered_and_released(engine, record, peer):
    caller = await connected(peer)
    for direction, answered in (("sendonly", "recvonly"), ("sendrecv", "sendrecv")):
        peer.request("UPDATE", SDP + f"a={direction}\n")
        answer = FrozenSDPSession.parse((await peer.response(200)).body)
        assert answer.media[0].direction == answered
    assert caller.sdp.active_remote.media[0].direction == "sendrecv"
    assert len(updates(record, caller)) == 3


async def test_media_that_are_new_in_an_update_are_refused(engine, peer):
    caller = await connected(peer)
    peer.request("UPDATE", SDP + "m=audio 41010 RTP/AVP 0\n")
    answer = FrozenSDPSession.parse((await peer.response(200)).body)
    assert [media.port for media in answer.media] == [40000, 0]
    assert [media.port for media in caller.sdp.active_remote.media] == [41000, 0]


async def test_update_that_cannot_be_agreed_on_leaves_the_session_as_it_was(engine, record, peer):
    caller = await connected(peer)
    peer.request("UPDATE", SDP.replace("RTP/AVP 0", "RTP/AVP 9"))
    await peer.response(488)
    peer.request("UPDATE", "nonsense\n")
    await peer.response(488)
    assert caller.sdp.active_remote.media[0].port == 41000
    peer.request("UPDATE")
    assert (await peer.response(200)).body == b""
    assert len(updates(record, caller)) == 1


@pytest.mark.parametrize("method", ["INVITE", "UPDATE"])
async def test_proposal_that_is_no_session_description_is_refused_with_what_would_be_taken(engine, peer, method):
    caller = await connected(peer)
    for body in ("application/isup", "application/sdp\nContent-Encoding: gzip"):
        peer.request(method, SDP, content_type=body)
        response = await peer.response(415)
        assert response.headers.get("Accept") == "application/sdp"
        assert response.headers.get("Accept-Encoding") == "identity"
        if method == "INVITE":
            peer.request("ACK", cseq=peer.cseq)
    assert (caller.sub_state, caller.may_propose) == ("normal", True)


async def test_offers_that_cross_are_refused(engine, record, peer):
    caller = await connected(peer)
    caller.send_update(sdp=changed(caller, 40002))
    ours = await peer.expect("UPDATE")
    peer.request("UPDATE", SDP)
    await peer.response(491)
    peer.request("INVITE", SDP)
    await peer.response(491)
    peer.request("ACK", cseq=peer.cseq)
    peer.respond(ours, 491)
    assert (await told(record, caller, "SIPInvitationUpdateDidFail")).code == 491
    assert caller.sdp.proposed_local is None
    peer.request("INVITE", SDP)
    await told(record, caller, "SIPInvitationChangedState", 4)
    peer.request("UPDATE", SDP)
    assert (await peer.response(500)).headers.get("Retry-After").isdigit()


async def test_update_that_the_other_side_does_not_know_fails_and_one_of_a_lost_dialog_ends_it(engine, record, peer):
    caller = await connected(peer)
    caller.send_update()
    with pytest.raises(SIPCoreError):
        caller.send_update()
    peer.respond(await peer.expect("UPDATE"), 405)
    assert (await told(record, caller, "SIPInvitationUpdateDidFail")).code == 405
    caller.send_update(sdp=changed(caller, 40002))
    peer.respond(await peer.expect("UPDATE"), 200, body="nonsense\n")
    data = await told(record, caller, UPDATED, 2)
    assert not data.succeeded
    caller.send_update()
    peer.respond(await peer.expect("UPDATE"), 481)
    await peer.expect("BYE")
    await reached(caller, "disconnected")


async def test_update_needs_a_dialog(engine, peer):
    with pytest.raises(SIPCoreError):
        Invitation().send_update()
    caller = place_call(peer)
    invite = await peer.expect("INVITE")
    peer.respond(invite, 100)
    with pytest.raises(SIPCoreError):
        caller.send_update()


async def test_early_session_that_is_settled_can_be_updated_by_either_side(engine, record, peer):
    caller = place_call(peer)
    invite = await peer.expect("INVITE")
    answer_from(peer, "bob", invite, 183, RELIABLE.format(1), SDP)
    peer.respond(await peer.expect("PRACK"), 200)
    peer.remote_tag, peer.call_id = invite.from_.tag, invite.call_id
    peer.request("UPDATE", SDP.replace("41000", "41002"))
    await peer.response(200)
    caller.send_update(sdp=description(40002))
    update = await peer.expect("UPDATE")
    assert (update.to.tag, b"40002" in update.body) == ("bob", True)
    peer.respond(update, 200, body=SDP.replace("41000", "41004"))
    await told(record, caller, "SIPInvitationUpdateDidSucceed")
    answer_from(peer, "bob", invite, 200, body="")
    await reached(caller, "connected")
    assert updates(record, caller) == [(True, 41000), (True, 41002), (True, 41004), (False, 41004)]


async def test_early_session_that_is_not_settled_cannot_be_updated(engine, peer):
    caller = place_call(peer)
    invite = await peer.expect("INVITE")
    answer_from(peer, "bob", invite, 183, body=SDP)
    await reached(caller, "early")
    with pytest.raises(SIPCoreError):
        caller.send_update(sdp=description(40002))
    peer.remote_tag, peer.call_id = invite.from_.tag, invite.call_id
    peer.request("UPDATE", SDP)
    await peer.response(491)


async def test_caller_may_update_once_its_offer_is_answered(engine, record, peer):
    callee = await call_from(peer, "Supported: 100rel\n")
    callee.send_response(180)
    await peer.response(180)
    peer.request("UPDATE", SDP)
    assert "Retry-After" in (await peer.response(500)).headers
    callee.send_response(183, sdp=description(40000))
    number = (await peer.response(183)).headers.get("RSeq")
    peer.request("PRACK", headers=f"RAck: {number} 1 INVITE\n")
    await peer.response(200)
    peer.request("UPDATE", SDP.replace("41000", "41002"))
    assert b"40000" in (await peer.response(200)).body
    assert updates(record, callee) == [(True, 41000), (True, 41002)]
    callee.send_update()
    peer.respond(await peer.expect("UPDATE"), 200)
    await told(record, callee, "SIPInvitationUpdateDidSucceed")


async def test_removed_media_stay_removed(engine, record):
    caller, callee = await talking(engine)
    sdp = next_version(caller.sdp.active_local)
    sdp.media = [*sdp.media, SDPMediaStream("audio", 40010, "RTP/AVP", formats=["0"])]
    caller.send_update(sdp=sdp)
    await told(record, caller, "SIPInvitationUpdateDidSucceed")
    again = next_version(caller.sdp.active_local)
    again.media[1].port = 40010
    caller.send_update(sdp=again)
    await told(record, caller, "SIPInvitationUpdateDidSucceed", 2)
    assert [media.port for media in callee.sdp.active_local.media] == [41000, 0]


async def test_prack_may_bring_the_next_offer(engine, record, peer):
    callee = await call_from(peer, "Supported: 100rel\n")
    callee.send_response(183, sdp=description(40000))
    number = (await peer.response(183)).headers.get("RSeq")
    peer.request("PRACK", SDP.replace("41000", "41006"), f"RAck: {number} 1 INVITE\n")
    assert b"40000" in (await peer.response(200)).body
    assert updates(record, callee) == [(True, 41000), (True, 41006)]
    callee.send_response(200, sdp=description(40000))
    assert (await peer.response(200)).cseq[1] == "INVITE"


async def test_update_that_cannot_be_sent_fails(engine, record, peer):
    caller = await connected(peer)
    await engine.set_udp_port(None)
    caller.send_update(sdp=changed(caller, 40002))
    assert (await told(record, caller, "SIPInvitationUpdateDidFail")).code == 503
    assert (caller.state, caller.sdp.proposed_local) == ("connected", None)


async def test_end_of_the_call_ends_its_update(engine, record, peer):
    caller = await connected(peer)
    caller.send_update()
    update = await peer.expect("UPDATE")
    peer.request("BYE")
    await peer.response(200)
    peer.respond(update, 200)
    await reached(caller, "disconnected")
    assert names(record, caller)[-1] == "SIPInvitationChangedState"


async def test_an_update_that_cannot_be_sent_leaves_room_for_the_next(engine, record, monkeypatch):
    def not_now(endpoint: Endpoint, request: Any, destination: Any, user: Any) -> None:
        monkeypatch.undo()
        raise TransportNotListening(destination)

    caller, _ = await talking(engine)
    monkeypatch.setattr(Endpoint, "send_request", not_now)
    caller.send_update(sdp=changed(caller, 40002))
    assert (await told(record, caller, "SIPInvitationUpdateDidFail")).code == 503
    caller.send_update(sdp=changed(caller, 40002))
    await told(record, caller, "SIPInvitationUpdateDidSucceed")
