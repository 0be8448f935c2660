"""REFER: within a call and outside, followed or not (RFC 3515, RFC 4488)."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

from sipsimple.core import (
    SIPURI,
    IncomingReferral,
    Invitation,
    Referral,
    SIPCoreError,
    SIPCoreInvalidStateError,
)
from sipsimple.core.invitation.incoming import MAX_OVERTAKING
from tests.support.raw_peer import RawPeer
from tests.unit.core.kit import changes, names, parties, route, sender_of, told
from tests.unit.core.test_early import call_from
from tests.unit.core.test_invitation import description, reached, talking

CAROL = SIPURI("127.0.0.1", "carol", port=5070)
PREFIX = "SIPIncomingReferral"


@pytest.fixture
def peer(engine):
    with RawPeer() as peer:
        yield peer


async def transfer(engine: Any, record: Any, to: Any = CAROL, **more: Any) -> tuple[Any, ...]:
    """Both sides of a call, and both of a referral within it that is not answered yet."""
    caller, callee = await talking(engine)
    ours = Referral.within(caller, to)
    ours.send_refer(**more)
    return caller, callee, ours, await sender_of(record, f"{PREFIX}GotReferRequest")


def results(record: Any, subject: Referral) -> list[tuple[int, str]]:
    return [(n.data.code, n.data.reason) for n in record.of(subject) if n.name == "SIPReferralGotNotify"]


async def test_referral_within_a_call_is_followed_to_its_end(engine, record):
    _, callee, ours, theirs = await transfer(engine, record)
    got = await told(record, theirs, f"{PREFIX}GotReferRequest")
    assert (got.method, str(got.refer_to)) == ("REFER", str(CAROL))
    assert (str(theirs.refer_to), theirs.invitation) == (str(CAROL), callee)
    assert theirs.referred_by == "<sip:alice@example.org>"
    theirs.accept()
    await told(record, ours, "SIPReferralGotNotify")
    theirs.notify(180)
    theirs.notify(200, "All Right")
    await told(record, ours, "SIPReferralDidEnd")
    await told(record, theirs, f"{PREFIX}DidEnd")
    assert results(record, ours) == [(100, "Trying"), (180, "Ringing"), (200, "All Right")]
    assert (ours.code, ours.reason) == (200, "All Right")
    data = await told(record, ours, "SIPReferralGotNotify")
    assert (data.method, data.headers["Content-Type"][0]) == ("NOTIFY", "message/sipfrag")
    assert changes(record, ours)[0] == ("NULL", "SENT")
    assert changes(record, ours)[-1] == ("ACTIVE", "TERMINATED")
    assert changes(record, theirs) == [("incoming", "active"), ("active", "terminated")]
    assert names(record, ours)[0] == "SIPReferralWillStart"
    theirs.notify(200)


async def test_referral_outlives_the_call_in_which_it_was_sent(engine, record):
    caller, callee, ours, theirs = await transfer(engine, record)
    theirs.accept()
    await told(record, ours, "SIPReferralGotNotify")
    caller.end(timeout=1)
    await asyncio.gather(reached(caller, "disconnected"), reached(callee, "disconnected"))
    theirs.notify(486)
    assert (await told(record, ours, "SIPReferralDidEnd")).code == 486


async def test_two_referrals_of_one_call_are_told_apart(engine, record):
    caller, _, first, their_first = await transfer(engine, record)
    their_first.accept()
    second = Referral.within(caller, "tel:+31203456789")
    second.send_refer()
    their_second = await sender_of(record, f"{PREFIX}GotReferRequest", 2)
    assert str(their_second.refer_to) == "tel:+31203456789"
    their_second.accept()
    their_second.notify(603)
    assert (await told(record, second, "SIPReferralDidEnd")).code == 603
    their_first.notify(200)
    assert (await told(record, first, "SIPReferralDidEnd")).code == 200
    assert results(record, second) == [(100, "Trying"), (603, "Decline")]


async def test_attended_referral_names_the_call_to_replace(engine, record):
    caller, _ = await talking(engine)
    consultation, _ = await talking(engine)
    ours = Referral.within(caller, CAROL, replaced=consultation)
    ours.send_refer()
    theirs = await sender_of(record, f"{PREFIX}GotReferRequest")
    replaces = theirs.refer_to.headers["Replaces"]
    local, remote = consultation.local_identity.tag, consultation.remote_identity.tag
    assert replaces == f"{consultation.call_id};to-tag={remote};from-tag={local}"
    with pytest.raises(SIPCoreError, match="no SIP URI"):
        Referral.within(caller, "tel:+1", replaced=consultation)


async def test_refused_referral_fails(engine, record):
    _, _, ours, theirs = await transfer(engine, record)
    with pytest.raises(ValueError, match="300"):
        theirs.reject(202)
    with pytest.raises(ValueError, match="202"):
        theirs.accept(204)
    with pytest.raises(SIPCoreInvalidStateError):
        theirs.notify(180)
    theirs.reject()
    data = await told(record, ours, "SIPReferralDidFail")
    assert (data.code, data.reason) == (603, "Decline")
    with pytest.raises(SIPCoreInvalidStateError):
        theirs.accept()
    with pytest.raises(ValueError, match="100"):
        theirs.notify(99)


async def test_referral_without_subscription_tells_only_that_it_was_accepted(engine, record):
    _, _, ours, theirs = await transfer(engine, record, with_subscription=False)
    theirs.accept()
    assert (await told(record, ours, "SIPReferralDidEnd")).code == 202
    await told(record, theirs, f"{PREFIX}DidEnd")
    theirs.notify(200)
    assert f"{PREFIX}SentNotify" not in names(record, theirs)
    assert results(record, ours) == []


async def test_referrer_that_wants_to_know_no_more_unsubscribes(engine, record):
    _, _, ours, theirs = await transfer(engine, record)
    theirs.accept()
    await told(record, ours, "SIPReferralGotNotify")
    ours.end()
    await told(record, theirs, f"{PREFIX}GotUnsubscribe")
    await told(record, ours, "SIPReferralDidEnd")
    await told(record, theirs, f"{PREFIX}DidEnd")
    ours.end()


async def test_only_a_connected_call_can_be_transferred(engine):
    with pytest.raises(SIPCoreInvalidStateError):
        Referral.within(Invitation(), CAROL)


async def test_referral_that_nobody_takes_is_declined(engine):
    caller, _ = await talking(engine)
    ours = Referral.within(caller, CAROL)
    ours.send_refer()
    while ours.state != "TERMINATED":
        gc.collect()
        await asyncio.sleep(0.01)


def outside(peer: RawPeer) -> Referral:
    sender, receiver, contact = parties(peer.port)
    return Referral(sender, receiver, CAROL, contact, route(peer.port))


def tell(peer: RawPeer, refer: Any, body: str, state: str = "active;expires=60", event: str = "refer") -> None:
    peer.call_id, peer.remote_tag = refer.call_id, refer.from_.tag
    peer.request("NOTIFY", body, f"Event: {event}\nSubscription-State: {state}\n")


async def test_referral_outside_a_call_has_a_dialog_of_its_own(engine, record, peer):
    ours = outside(peer)
    with pytest.raises(SIPCoreError):
        ours.end()
    with pytest.raises(ValueError, match="timeout"):
        ours.send_refer(timeout=0)
    ours.send_refer()
    with pytest.raises(SIPCoreInvalidStateError):
        ours.send_refer()
    refer = await peer.expect("REFER")
    assert refer.headers.get("Refer-To") == f"<{CAROL}>"
    assert refer.to.tag is None
    tell(peer, refer, "SIP/2.0 100 Trying\n")
    await peer.response(200)
    peer.respond(refer, 202)
    tell(peer, refer, "SIP/2.0 503\n", "terminated;reason=noresource", f"refer;id={refer.cseq[0]}")
    await peer.response(200)
    assert (await told(record, ours, "SIPReferralDidEnd")).code == 503
    assert results(record, ours) == [(100, "Trying"), (503, "")]


async def test_notifier_that_never_tells_anything_fails_the_referral(engine, record, peer, monkeypatch):
    monkeypatch.setattr("sipsimple.core.referral.FIRST_NOTIFY_TIMEOUT", 0.05)
    ours = outside(peer)
    ours.send_refer()
    peer.respond(await peer.expect("REFER"), 202)
    assert (await told(record, ours, "SIPReferralDidFail")).code == 408


async def test_body_that_is_no_status_tells_code_0(engine, record, peer):
    ours = outside(peer)
    ours.send_refer()
    refer = await peer.expect("REFER")
    peer.respond(refer, 202)
    tell(peer, refer, "Hello\n")
    assert (await told(record, ours, "SIPReferralGotNotify")).code == 0
    tell(peer, refer, "", event="refer;id=1")
    await peer.response(489)
    ours.end(timeout=0.05)
    last = await peer.expect("SUBSCRIBE")
    assert (last.headers.get("Event"), last.expires) == (f"refer;id={refer.cseq[0]}", 0)
    await told(record, ours, "SIPReferralDidEnd")


async def test_refer_outside_a_call_is_handed_on_to_whom_asked_for_it(engine, record, peer):
    peer.request("REFER", headers="Refer-To: <sip:carol@example.org>\n")
    await peer.response(405)
    engine.add_event("refer", ["message/sipfrag"])
    engine.add_incoming_event("refer")
    peer.call_id = "another"
    peer.remote_tag = None
    peer.request("REFER")
    await peer.response(400)
    peer.remote_tag = None
    peer.request("REFER", headers="Refer-To: <sip:carol@example.org>\nReferred-By: <sip:raw@example.org>\n")
    theirs: IncomingReferral = await sender_of(record, f"{PREFIX}GotReferRequest")
    assert (theirs.invitation, theirs.event) == (None, "refer")
    theirs.accept(200)
    await peer.response(200)
    notify = await peer.expect("NOTIFY")
    assert (notify.body, notify.content_type[0]) == (b"SIP/2.0 100 Trying\r\n", "message/sipfrag")
    assert notify.headers.get("Event") == f"refer;id={peer.cseq}"
    peer.respond(notify, 200)
    theirs.notify(200)
    assert (await peer.expect("NOTIFY")).headers.get("Subscription-State") == "terminated;reason=noresource"


REFER_TO = "Refer-To: <sip:carol@example.org>\n"


async def accepted_call(peer: RawPeer) -> Invitation:
    """A call of the peer that we have accepted, and whose ACK is on its way."""
    callee = await call_from(peer)
    callee.send_response(200, sdp=description(40000))
    await peer.response(200)
    return callee


async def test_referral_that_overtakes_the_ack_waits_for_it(engine, record, peer):
    callee = await accepted_call(peer)
    invite = peer.cseq
    peer.request("REFER", headers=REFER_TO)
    assert (await peer.receive()).cseq == (invite, "INVITE"), "the 2xx is repeated, the REFER is not answered"
    assert callee.state == "connecting"
    peer.request("ACK", cseq=invite)
    theirs = await sender_of(record, f"{PREFIX}GotReferRequest")
    assert theirs.invitation is callee
    assert callee.state == "connected"
    theirs.reject()
    assert (await peer.response(603)).cseq[1] == "REFER"


async def test_referrals_without_end_before_the_ack_are_told_to_come_later(engine, peer):
    await accepted_call(peer)
    for _ in range(MAX_OVERTAKING + 1):
        peer.request("REFER", headers=REFER_TO)
    refusal = await peer.response(500)
    assert (refusal.cseq[0], refusal.headers.get("Retry-After").isdigit()) == (peer.cseq, True)


async def test_referral_whose_ack_never_comes_is_of_a_dialog_that_is_over(engine, peer):
    callee = await accepted_call(peer)
    peer.request("REFER", headers=REFER_TO)
    peer.request("BYE")
    codes = {(await peer.receive()).code for _ in range(2)}
    assert codes == {200, 481}
    assert callee.state == "disconnected"
