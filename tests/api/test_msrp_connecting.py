"""How streams over MSRP come to their connection: certificates, relays of the DNS, and the end in every state."""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from sipsimple.account import BonjourAccount
from sipsimple.configuration.datatypes import MSRPRelayAddress
from sipsimple.core import SIPURI, SDPAttribute, ToHeader
from sipsimple.lookup import DNSLookup, dnslookup
from sipsimple.notification import UnknownSender
from sipsimple.session import Session
from sipsimple.streams import ChatStream
from sipsimple.streams.msrp import connecting
from tests.dns_server import DNSServer
from tests.support.agent import Record, eventually, running_agent
from tests.support.certificates import Authority
from tests.support.msrp_agent import msrp_settings

DID_DELIVER = "ChatStreamDidDeliverMessage"


async def answered(agent: Any, stream: Any) -> tuple[Any, Any]:
    """A call with this stream that is accepted; the session and the stream of the other side."""
    caller = agent.call(stream)
    callee = await agent.incoming()
    (other,) = callee.proposed_streams
    callee.accept([other])
    return caller, other


async def chat(agent: Any) -> None:
    stream = ChatStream(agent.account)
    caller, other = await answered(agent, stream)
    await agent.record.until(caller, "DidStart")
    stream.send_message("through")
    await agent.record.until(stream, DID_DELIVER)
    caller.end()
    for one in (stream, other):
        await agent.record.until(one, "MediaStreamDidEnd")


# TLS


def without_fingerprints(media: Any) -> Any:
    media.attributes = [attribute for attribute in media.attributes if attribute.name != "fingerprint"]
    return media


def with_a_wrong_fingerprint(media: Any) -> Any:
    without_fingerprints(media).attributes.append(SDPAttribute("fingerprint", "sha-256 " + ":".join(["AB"] * 32)))
    return media


async def failure_when_answered(agent: Any, change: Any) -> Any:
    """How a chat fails whose answer is changed like this."""
    stream = ChatStream(agent.account)
    caller = agent.call(stream)
    callee = await agent.incoming()
    (other,) = callee.proposed_streams
    describe = other.get_local_media
    other.get_local_media = lambda for_offer: change(describe(for_offer))
    callee.accept([other])
    failed = await agent.record.until(stream, "MediaStreamDidFail")
    await agent.record.until(caller, "DidEnd")
    for one in (stream, other):
        await agent.record.until(one, "MediaStreamDidEnd")
    return failed


async def test_another_certificate_than_the_announced_one_is_not_believed(nothing_left):
    async with running_agent(msrp_settings("tls", tls={"verify_server": "false"})) as agent:
        failed = await failure_when_answered(agent, with_a_wrong_fingerprint)
        assert failed.context == "start"
        assert "fingerprint" in failed.reason


async def test_without_a_fingerprint_an_authority_has_to_vouch(nothing_left):
    async with running_agent(msrp_settings("tls")) as agent:
        failed = await failure_when_answered(agent, without_fingerprints)
        assert failed.context == "start"
        assert "certificate" in failed.reason
        assert failed.failure.value.check == "chain"


async def test_an_authority_vouches_for_the_address(nothing_left, tmp_path: Path):
    authority = Authority(tmp_path)
    settings = msrp_settings("tls", tls={"certificate": authority.issue("127.0.0.1")})
    settings["SIPSimpleSettings"]["tls"] = {"ca_list": str(authority.file)}
    async with running_agent(settings) as agent:
        stream = ChatStream(agent.account)
        caller = agent.call(stream)
        callee = await agent.incoming()
        (other,) = callee.proposed_streams
        describe = other.get_local_media
        other.get_local_media = lambda for_offer: without_fingerprints(describe(for_offer))
        callee.accept([other])
        await agent.record.until(caller, "DidStart")
        caller.end()
        await agent.record.until(other, "MediaStreamDidEnd")
        await agent.record.until(stream, "MediaStreamDidEnd")


async def test_a_certificate_that_cannot_be_read_fails_the_stream(nothing_left, tmp_path: Path):
    async with running_agent(msrp_settings("tls", tls={"certificate": str(tmp_path / "gone.pem")})) as agent:
        stream = ChatStream(agent.account)
        session = agent.call(stream)
        failed = await agent.record.until(stream, "MediaStreamDidFail")
        assert failed.context == "initialize"
        assert "gone.pem" in failed.reason
        await agent.record.until(session, "DidFail")
        await agent.record.until(stream, "MediaStreamDidEnd")


# Relays that nobody has configured


@pytest.fixture
def forgetful(monkeypatch):
    """Nothing is remembered of other tests."""
    monkeypatch.setattr(dnslookup._Shared, "memory", None)
    connecting._NoRelay.forget()
    yield
    connecting._NoRelay.forget()


async def listen_in_silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    writer.close()


def relaying() -> dict[str, Any]:
    """The default: a relay for incoming streams, if the domain of the account has one."""
    return msrp_settings(nat_traversal={})


@pytest.mark.spec(186)
@pytest.mark.parametrize("zone", ["no relay", "a relay that is gone", "a relay that says nothing"])
async def test_a_relay_that_is_not_there_is_done_without(nothing_left, forgetful, monkeypatch, zone):
    monkeypatch.setattr(connecting, "GUESSED_RELAY_TIMEOUT", 0.2)
    silent = await asyncio.start_server(listen_in_silence, "127.0.0.1", 0)
    gone = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port = (silent if zone == "a relay that says nothing" else gone).sockets[0].getsockname()[1]
    gone.close()
    await gone.wait_closed()
    records = {
        ("_msrps._tcp.example.org", "SRV"): [f"0 0 {port} relay.example.org."],
        ("relay.example.org", "A"): ["127.0.0.1"],
    }
    async with DNSServer({} if zone == "no relay" else records) as server:
        monkeypatch.setattr(DNSLookup, "resolver_factory", staticmethod(server.resolver))
        async with running_agent(relaying()) as agent:
            await chat(agent)
            asked = server.asked.total()
            assert asked
            logged = [n for n in agent.record.all if n.name == "MSRPLibraryLog"]
            assert any("the stream does without" in n.data.message for n in logged)
            assert {n.data.level for n in logged} <= {logging.INFO, logging.WARNING}
            assert {n.sender for n in logged} == {UnknownSender}
            assert all(isinstance(n.data.timestamp, datetime) for n in logged)
            await chat(agent)
            assert server.asked.total() == asked  # it is remembered
    silent.close()
    await silent.wait_closed()


async def test_a_relay_of_another_transport_fails_the_stream(nothing_left):
    async with running_agent(msrp_settings("tls")) as agent:
        nat = agent.account.nat_traversal
        nat.msrp_relay = MSRPRelayAddress("127.0.0.1", 1, "tcp")
        nat.use_msrp_relay_for_outbound = True
        stream = ChatStream(agent.account)
        session = agent.call(stream)
        failed = await agent.record.until(stream, "MediaStreamDidFail")
        assert failed.reason == "MSRP relay transport conflicts with MSRP transport setting"
        await agent.record.until(session, "DidFail")
        await agent.record.until(stream, "MediaStreamDidEnd")


async def test_the_account_without_a_server_has_a_transport_of_its_own_and_no_relay(nothing_left):
    async with running_agent(msrp_settings("tls")) as agent:
        account = BonjourAccount()
        stream = ChatStream(account)
        session = Session(account)
        session.connect(ToHeader(SIPURI("127.0.0.1", account.contact.username)), [agent.route], [stream])
        callee = await agent.incoming()
        assert callee.account is account
        (other,) = callee.proposed_streams
        callee.accept([other])
        await agent.record.until(session, "DidStart")
        assert (stream.transport, other.transport) == ("tcp", "tcp")
        session.end()
        for one in (stream, other):
            await agent.record.until(one, "MediaStreamDidEnd")


# The end, in every state


async def ended(record: Record, stream: Any) -> list[str]:
    await record.until(stream, "MediaStreamDidEnd")
    stream.end()
    names = record.names(stream)
    assert names[-2:] == ["MediaStreamWillEnd", "MediaStreamDidEnd"]
    assert names.count("MediaStreamDidEnd") == 1
    return names


async def test_the_end_before_the_beginning():
    async with running_agent(msrp_settings()) as agent:
        stream = ChatStream(agent.account)
        stream.end()
        with pytest.raises(RuntimeError):
            stream.initialize(None, "outgoing")
        assert agent.record.names(stream) == []


async def test_the_end_while_initializing(nothing_left, forgetful, monkeypatch):
    connected = asyncio.Event()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connected.set()
        await listen_in_silence(reader, writer)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    async with running_agent(msrp_settings()) as agent:
        nat = agent.account.nat_traversal
        port = server.sockets[0].getsockname()[1]
        nat.msrp_relay = MSRPRelayAddress("127.0.0.1", port, "tcp")
        nat.use_msrp_relay_for_outbound = True
        stream = ChatStream(agent.account)
        session = agent.call(stream)
        await asyncio.wait_for(connected.wait(), 5)
        session.end()
        assert "MediaStreamDidInitialize" not in await ended(agent.record, stream)
        await eventually(lambda: session.state == "terminated", "the end of the session")
    server.close()
    await server.wait_closed()


async def test_the_end_while_starting(nothing_left):
    async with running_agent(msrp_settings()) as agent:
        stream = ChatStream(agent.account)
        stream._negotiated = lambda local, remote: stream.end()
        caller = agent.call(stream)
        callee = await agent.incoming()
        (other,) = callee.proposed_streams
        callee.accept([other])
        await ended(agent.record, stream)
        caller.end()
        await ended(agent.record, other)
        await eventually(lambda: caller.state == callee.state == "terminated", "the end of the sessions")
        for one in (stream, other):
            assert "MediaStreamDidFail" not in agent.record.names(one)


async def test_methods_in_the_wrong_state_are_refused(nothing_left):
    async with running_agent(msrp_settings()) as agent:
        stream = ChatStream(agent.account)
        with pytest.raises(RuntimeError):
            stream.get_local_media(for_offer=True)
        with pytest.raises(RuntimeError):
            stream.start(None, None, 0)
        caller, other = await answered(agent, stream)
        await agent.record.until(caller, "DidStart")
        with pytest.raises(RuntimeError):
            stream.initialize(caller, "outgoing")
        with pytest.raises(RuntimeError):
            stream.start(None, None, 0)
        assert (stream.hold_supported, stream.on_hold, stream.on_hold_by_local, stream.on_hold_by_remote) == (
            False,
        ) * 4
        stream.hold()
        stream.unhold()
        assert str(stream.get_local_media(for_offer=True)) == str(stream.get_local_media(for_offer=False))
        caller.end()
        await agent.record.until(stream, "MediaStreamDidEnd")
        await agent.record.until(other, "MediaStreamDidEnd")
