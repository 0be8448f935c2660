"""Calls to and from baresip whose media finds its way by ICE; each side hears the tone that the other one plays."""

from __future__ import annotations

import asyncio
import ipaddress
from pathlib import Path
from typing import Any

import pytest

from sipsimple.core.network import default_address
from sipsimple.session import Session
from tests.interop.baresip import MODULES, Baresip
from tests.interop.test_with_baresip import OURS, THEIRS, assert_heard, converse
from tests.interop.user_agent import UserAgent, user_agent
from tests.support.agent import eventually

SUCCESS, FAILURE = "AudioStreamICENegotiationDidSucceed", "AudioStreamICENegotiationDidFail"
USES_ICE: dict[str, Any] = {"nat_traversal": {"use_ice": "true", "stun_server_list": []}}


@pytest.fixture
def address() -> str:
    """Where this host is reached; baresip has no candidates on loopback."""
    found = default_address()
    if ipaddress.ip_address(found).is_loopback:
        pytest.skip("this host has no address but loopback")
    return found


def baresip(directory: Path, address: str) -> Baresip:
    """A baresip at this address that wants ICE."""
    if not (MODULES / "ice.so").exists():
        pytest.skip("this baresip has no module ice")
    bob = Baresip(directory, frequency=THEIRS, account=f"<sip:bob@{address}>;regint=0;medianat=ice")
    config = directory / "config"
    text = (
        config.read_text()
        .replace("net_interface 127.0.0.1", "")
        .replace("sip_listen 127.0.0.1", f"sip_listen {address}")
    )
    config.write_text(text + "module stun.so\nmodule ice.so\nice_debug yes\n")
    bob.uri = f"sip:bob@{address}:{bob.port}"
    return bob


async def call(caller: str, alice: UserAgent, bob: Baresip, address: str) -> Session:
    """An established call, whoever calls."""
    if caller == "alice":
        return await alice.call(bob.uri)
    answering = asyncio.create_task(alice.answer())
    await bob.dial(alice.uri.replace("127.0.0.1", address))
    return await answering


def at(address: str) -> dict[str, Any]:
    return {"local_ip": address}


@pytest.mark.parametrize("caller", ["alice", "bob"])
async def test_media_takes_the_way_that_was_checked(
    nothing_left: None, tmp_path: Path, address: str, caller: str
) -> None:
    async with (
        baresip(tmp_path / "bob", address) as bob,
        user_agent(domain=address, account=USES_ICE, general=at(address)) as alice,
    ):
        session = await call(caller, alice, bob, address)
        (stream,) = session.streams
        told = alice.record.data(stream, SUCCESS)
        assert stream.ice_active
        assert (stream.local_rtp_candidate_type, stream.remote_rtp_candidate_type) == ("host", "host")
        assert told.chosen_remote_candidates["rtp_cand_ip"].startswith(f"{address}:")
        heard = await converse(alice, session, bob, tmp_path)
        assert stream.statistics["rx"]["packets_lost"] == 0
        await session.end()
        await bob.event("CALL_CLOSED")
        assert_heard(heard, THEIRS)
        assert_heard(bob.heard(), OURS)


async def test_a_held_call_keeps_its_way(nothing_left: None, tmp_path: Path, address: str) -> None:
    async with (
        baresip(tmp_path / "bob", address) as bob,
        user_agent(domain=address, account=USES_ICE, general=at(address)) as alice,
    ):
        session = await call("alice", alice, bob, address)
        (stream,) = session.streams
        place = stream.remote_rtp_address, stream.remote_rtp_port
        session.hold()
        await alice.record.until(session, "SIPSessionDidChangeHoldState")
        session.unhold()
        await alice.record.until(session, "SIPSessionDidChangeHoldState", count=2)
        before = stream.statistics["rx"]["packets"]
        await eventually(lambda: stream.statistics["rx"]["packets"] > before + 25, "packets after the hold")
        assert stream.ice_active
        assert (stream.remote_rtp_address, stream.remote_rtp_port) == place
        assert alice.record.names(stream).count(SUCCESS) == 1
        await session.end()
        await bob.event("CALL_CLOSED")


async def test_one_without_ice_is_spoken_to_without(nothing_left: None, tmp_path: Path) -> None:
    async with Baresip(tmp_path / "bob", frequency=THEIRS) as bob, user_agent(account=USES_ICE) as alice:
        session = await alice.call(bob.uri)
        (stream,) = session.streams
        assert alice.record.data(stream, FAILURE).reason == "the remote does not use ICE"
        heard = await converse(alice, session, bob, tmp_path)
        await session.end()
        await bob.event("CALL_CLOSED")
        assert_heard(heard, THEIRS)
        assert_heard(bob.heard(), OURS)
