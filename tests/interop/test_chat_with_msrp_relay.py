"""Chats in whole sessions, both parties behind Kamailio's relay for MSRP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from sipsimple.configuration.datatypes import MSRPRelayAddress
from sipsimple.lookup import DNSLookup, dnslookup
from sipsimple.streams import ChatStream
from sipsimple.streams.msrp import connecting
from tests.dns_server import DNSServer
from tests.interop.msrp_relay import MSRPRelay
from tests.support.agent import running_agent
from tests.support.certificates import Authority
from tests.support.msrp_agent import msrp_settings
from tests.unit.msrp.conftest import make_certificate

DID_DELIVER = "ChatStreamDidDeliverMessage"

pytestmark = pytest.mark.interop


@asynccontextmanager
async def behind_a_relay(directory: Path, *, password: str | None = None) -> AsyncIterator[Any]:
    """An agent whose account uses the relay in both directions, and the relay."""
    certificate = directory / "relay.pem"
    certificate.write_bytes(make_certificate())
    settings = msrp_settings("tls")
    settings["SIPSimpleSettings"]["tls"] = {"ca_list": str(certificate)}
    async with running_agent(settings) as agent, MSRPRelay(directory / "relay", certificate) as relay:
        agent.account.password = password or relay.password
        nat = agent.account.nat_traversal
        nat.msrp_relay = MSRPRelayAddress("127.0.0.1", relay.port, "tls")
        nat.use_msrp_relay_for_inbound = nat.use_msrp_relay_for_outbound = True
        yield agent, relay


async def test_both_parties_behind_the_relay_chat(nothing_left, tmp_path):
    async with behind_a_relay(tmp_path) as (agent, relay):
        alice = ChatStream(agent.account)
        caller = agent.call(alice)
        callee = await agent.incoming()
        (bob,) = callee.proposed_streams
        callee.accept([bob])
        await agent.record.until(caller, "DidStart")
        await agent.record.until(callee, "DidStart")
        assert alice.msrp.getPeer().port == bob.msrp.getPeer().port == relay.port
        assert [uri.port for uri in alice.remote_description.path] == [relay.port, 2855]
        texts = [f"message {number}" for number in range(100)] + ["long " * 10_000, "short"]
        for stream in (alice, bob):
            for text in texts:
                stream.send_message(text)
        for stream, other in ((alice, bob), (bob, alice)):
            await agent.record.until(stream, DID_DELIVER, len(texts))
            got = [n.data for n in agent.record.all if n.sender is other and n.name == "ChatStreamGotMessage"]
            assert [data.message.body for data in got] == texts
        alice.send_composing_indication("active", 30)
        assert (await agent.record.until(bob, "ChatStreamGotComposingIndication")).refresh == 30
        caller.end()
        for stream in (alice, bob):
            await agent.record.until(stream, "MediaStreamDidEnd")
            assert "MediaStreamDidFail" not in agent.record.names(stream)


async def test_a_relay_is_found_by_the_dns_of_the_domain(nothing_left, tmp_path, monkeypatch):
    monkeypatch.setattr(dnslookup._Shared, "memory", None)
    connecting._NoRelay.forget()
    # Its clients ask for the domain, others for the host of its URI.
    certificate = Path(Authority(tmp_path).issue("example.org", "127.0.0.1", self_signed=True))
    settings = msrp_settings("tls", nat_traversal={})
    settings["SIPSimpleSettings"]["tls"] = {"ca_list": str(certificate)}
    async with running_agent(settings) as agent, MSRPRelay(tmp_path / "relay", certificate) as relay:
        agent.account.password = relay.password
        zone = {
            ("_msrps._tcp.example.org", "SRV"): [f"0 0 {relay.port} relay.example.org."],
            ("relay.example.org", "A"): ["127.0.0.1"],
        }
        async with DNSServer(zone) as server:
            monkeypatch.setattr(DNSLookup, "resolver_factory", staticmethod(server.resolver))
            alice = ChatStream(agent.account)
            caller = agent.call(alice)
            callee = await agent.incoming()
            (bob,) = callee.proposed_streams
            callee.accept([bob])
            await agent.record.until(caller, "DidStart")
            # Only who answers uses a relay by default.
            assert [uri.port for uri in alice.remote_description.path] == [relay.port, 2855]
            assert [uri.port for uri in bob.remote_description.path] == [2855]
            lost = alice.send_message("through your relay")
            # The report goes astray: this relay knows the way to its own clients only, and Alice is none.
            assert (await agent.record.until(bob, "ChatStreamGotMessage")).message.body == "through your relay"
            caller.end()
            for stream in (alice, bob):
                await agent.record.until(stream, "MediaStreamDidEnd")
            assert DID_DELIVER not in agent.record.names(alice)
            # So nobody can tell her that it was read, and nobody does.
            untold = agent.record.data(alice, "ChatStreamDidNotDeliverMessage")
            assert (untold.message_id, untold.code) == (lost, 408)
    monkeypatch.setattr(dnslookup._Shared, "memory", None)


async def test_the_relay_that_stops_ends_the_chat(nothing_left, tmp_path):
    async with behind_a_relay(tmp_path) as (agent, relay):
        alice = ChatStream(agent.account)
        caller = agent.call(alice)
        callee = await agent.incoming()
        (bob,) = callee.proposed_streams
        callee.accept([bob])
        await agent.record.until(caller, "DidStart")
        await agent.record.until(callee, "DidStart")
        await relay.program.stop()
        for stream in (alice, bob):
            await agent.record.until(stream, "MediaStreamDidEnd")
        # Who notices first says so, and ends the other's by BYE.
        failures = [n.data for n in agent.record.all if n.name == "MediaStreamDidFail"]
        assert {data.context for data in failures} == {"reading"}
        for session in (caller, callee):
            await agent.record.until(session, "DidEnd")


async def test_a_relay_that_does_not_believe_us_fails_the_stream(nothing_left, tmp_path):
    async with behind_a_relay(tmp_path, password="wrong") as (agent, _):
        stream = ChatStream(agent.account)
        session = agent.call(stream)
        failed = await agent.record.until(stream, "MediaStreamDidFail")
        assert failed.context == "initialize"
        assert failed.failure.value.code == 401
        await agent.record.until(session, "DidFail")
        await agent.record.until(stream, "MediaStreamDidEnd")
