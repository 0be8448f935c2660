"""Call transfer: blind, attended, refused, failed; three parties that are all this agent."""

from __future__ import annotations

import asyncio

import pytest

from sipsimple.core import Engine
from sipsimple.session import IllegalStateError, Session, TransferDidFail
from sipsimple.session.transfer import target_uri
from tests.support.agent import Agent, eventually
from tests.support.contract_stream import ContractStream
from tests.support.raw_peer import RawPeer, description


def myself() -> str:
    return f"sip:alice@127.0.0.1:{Engine().udp_port}"


def transfers(agent: Agent, session: Session) -> list[str]:
    return [name.removeprefix("SIPSessionTransfer") for name in agent.record.names(session) if "Transfer" in name]


async def test_a_blind_transfer_makes_the_new_call_and_ends_the_old_one(agent: Agent):
    transferor, transferee = await agent.talking()
    result = transferor.transfer(myself())
    asked = await agent.record.until(transferee, "SIPSessionTransferNewIncoming")
    assert asked.transfer_destination.user == "alice"
    assert "alice@example.org" in asked.transfer_source
    transferee.accept_transfer()
    target = await agent.incoming()
    target.send_ring_indication()
    await agent.record.until(transferor, "SIPSessionTransferGotProgress")
    target.accept(target.proposed_streams)
    await asyncio.wait_for(asyncio.ensure_future(_settled(result)), 10)
    await agent.record.until(transferor, "DidEnd")
    await agent.record.until(transferee, "DidEnd")
    assert target.state == "connected"
    assert transfers(agent, transferor)[:2] == ["NewOutgoing", "DidStart"]
    assert transfers(agent, transferor)[-1] == "DidEnd"
    assert transfers(agent, transferee)[0] == "NewIncoming"
    assert transfers(agent, transferee)[-1] == "DidEnd"
    assert [stream.type for stream in target.streams] == ["contract"]


async def _settled(result):
    return await result


async def test_an_attended_transfer_puts_the_two_others_together(agent: Agent):
    first, transferee = await agent.talking()
    second, target = await agent.talking()
    result = first.transfer(myself(), replaced_session=second)
    await agent.record.until(transferee, "SIPSessionTransferNewIncoming")
    transferee.accept_transfer()
    replacement = await agent.incoming()
    assert replacement.replaced_session is target
    replacement.accept(replacement.proposed_streams)
    await result
    for session in (first, second, transferee, target):
        await agent.record.until(session, "DidEnd")
    assert replacement.state == "connected"


async def test_a_call_is_replaced_while_its_streams_still_start(agent: Agent):
    first, transferee = await agent.talking()
    second = agent.call()
    target = await agent.incoming()
    (stream,) = target.proposed_streams
    stream.slow = frozenset({"start"})
    target.accept([stream])
    await agent.record.until(second, "DidStart")
    result = first.transfer(myself(), replaced_session=second)
    await agent.record.until(transferee, "SIPSessionTransferNewIncoming")
    transferee.accept_transfer()
    replacement = await agent.incoming()
    assert (replacement.replaced_session, target.state) == (target, "accepting")
    replacement.accept(replacement.proposed_streams)
    await result
    await agent.record.until(second, "DidEnd")
    assert replacement.state == "connected"


async def test_a_transfer_that_is_refused_leaves_the_session_as_it_is(agent: Agent):
    transferor, transferee = await agent.talking()
    result = transferor.transfer(myself())
    await agent.record.until(transferee, "SIPSessionTransferNewIncoming")
    transferee.reject_transfer()
    with pytest.raises(TransferDidFail) as failure:
        await result
    assert failure.value.code == 603
    assert transferor.state == transferee.state == "connected"
    assert transfers(agent, transferor) == ["NewOutgoing", "DidFail"]
    assert transfers(agent, transferee) == ["NewIncoming", "DidFail"]


async def test_a_transfer_that_nobody_decides_is_refused(agent: Agent, monkeypatch):
    monkeypatch.setattr("sipsimple.session.transfer.DECISION_TIMEOUT", 0.1)
    transferor, _ = await agent.talking()
    with pytest.raises(TransferDidFail) as failure:
        await transferor.transfer(myself())
    assert failure.value.code == 603


async def test_a_busy_target_is_told_to_who_asked(agent: Agent):
    transferor, transferee = await agent.talking()
    result = transferor.transfer(myself())
    await agent.record.until(transferee, "SIPSessionTransferNewIncoming")
    transferee.accept_transfer()
    (await agent.incoming()).reject(486)
    with pytest.raises(TransferDidFail) as failure:
        await result
    assert failure.value.code == 486
    assert transferor.state == transferee.state == "connected"
    transferor.transfer(myself())
    await eventually(lambda: transfers(agent, transferee).count("NewIncoming") == 2, "another request")


async def test_a_transfer_is_refused_in_the_wrong_state(agent: Agent):
    fresh = Session(agent.account)
    with pytest.raises(IllegalStateError):
        fresh.transfer(myself())
    with pytest.raises(IllegalStateError):
        fresh.accept_transfer()
    transferor, _ = await agent.talking()
    with pytest.raises(ValueError, match="no SIP address"):
        transferor.transfer("sip:@@")
    transferor.transfer(myself())
    with pytest.raises(IllegalStateError, match="under way"):
        transferor.transfer(myself())


async def test_a_transfer_that_is_asked_for_while_the_streams_still_start_waits_for_them(agent: Agent):
    transferor = agent.call()
    transferee = await agent.incoming()
    (stream,) = transferee.proposed_streams
    stream.slow = frozenset({"start"})
    transferee.accept([stream])
    await agent.record.until(transferor, "DidStart")
    transferor.transfer(myself())
    await eventually(lambda: "SIPIncomingReferralGotReferRequest" in told(agent), "the REFER")
    assert transferee.state == "accepting"
    assert transfers(agent, transferee) == []
    stream.tell("MediaStreamDidStart")
    await agent.record.until(transferee, "SIPSessionTransferNewIncoming")
    assert agent.record.short(transferee)[-2:] == ["DidStart", "TransferNewIncoming"]
    transferee.accept_transfer()
    await agent.incoming()


def told(agent: Agent) -> list[str]:
    return [notification.name for notification in agent.record.all]


async def test_a_transfer_may_be_asked_for_while_a_proposal_is_under_way(agent: Agent):
    with RawPeer() as peer:
        peer.request("INVITE", description())
        callee = await agent.incoming()
        callee.accept(callee.proposed_streams)
        await peer.response(200)
        peer.request("ACK", cseq=peer.cseq)
        await agent.record.until(callee, "DidStart")
        callee.hold()
        await peer.expect("INVITE")
        peer.request("REFER", headers="Refer-To: <sip:carol@example.org>\n")
        asked = await agent.record.until(callee, "SIPSessionTransferNewIncoming")
        assert (callee.state, asked.transfer_destination.user) == ("sending_proposal", "carol")
        callee.reject_transfer(603)
        await peer.response(603)


async def test_a_referral_outside_a_call_is_for_the_application(agent: Agent):
    Engine().add_event("refer", ["message/sipfrag"])
    Engine().add_incoming_event("refer")
    with RawPeer() as peer:
        peer.request("REFER", headers="Refer-To: <sip:carol@example.org>\n")
        name = "SIPIncomingReferralGotReferRequest"
        referral = await eventually(
            lambda: next((n.sender for n in agent.record.all if n.name == name), None), "a referral"
        )
        referral.accept()
        await peer.response(202)
        peer.respond(await peer.expect("NOTIFY"), 200)
        referral.notify(200)
        peer.respond(await peer.expect("NOTIFY"), 200)


async def test_an_invite_that_replaces_an_unknown_call_is_refused(agent: Agent):
    with RawPeer() as peer:
        peer.request("INVITE", description(), headers="Replaces: nobody@nowhere;to-tag=1;from-tag=2\n")
        await peer.response(481)


@pytest.mark.parametrize(
    ("target", "uri"),
    [
        ("sip:bob@example.com:5080;transport=tcp", "sip:bob@example.com:5080;transport=tcp"),
        ("bob@example.com", "sip:bob@example.com"),
        ("bob", "sip:bob@example.org"),
        ("tel:+31-20-1234;phone-context=x", "sip:+31-20-1234@example.org;user=phone"),
    ],
)
def test_what_a_transfer_target_means(target: str, uri: str):
    assert str(target_uri(target, "example.org")) == uri


@pytest.mark.parametrize("target", ["", "tel:", "tel:<script>", "sip:", "sip:a b@c"])
def test_what_is_no_transfer_target(target: str):
    with pytest.raises(ValueError):
        target_uri(target, "example.org")


async def test_a_new_call_that_cannot_be_made_fails_the_transfer(agent: Agent, monkeypatch):
    transferor, transferee = await agent.talking()
    transferor.transfer(myself())
    await agent.record.until(transferee, "SIPSessionTransferNewIncoming")

    def needs_more(self, account):
        raise TypeError("this stream needs to know more than the account")

    monkeypatch.setattr(ContractStream, "__init__", needs_more)
    transferee.accept_transfer()
    told = await agent.record.until(transferee, "SIPSessionTransferDidFail")
    assert (told.code, told.reason) == (500, "this stream needs to know more than the account")
    assert (await agent.record.until(transferor, "SIPSessionTransferDidFail")).code == 500
    assert transferor.state == transferee.state == "connected"
