"""linphone calls us over TLS, is called by us, and either holds the call; what it plays is heard."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from sipsimple.core import Engine
from tests.interop.linphone import Linphone
from tests.interop.user_agent import UserAgent, user_agent
from tests.support.certificates import Authority
from tests.support.programs import until
from tests.support.tones import hear, write_tone

OURS, THEIRS = 1000.0, 900.0
PACKETS = 100


@asynccontextmanager
async def parties(directory: Path) -> AsyncIterator[tuple[UserAgent, Linphone]]:
    """Alice, with a certificate, and linphone, which trusts it."""
    authority = Authority(directory)
    certificate = str(authority.issue("localhost"))
    general = {"sip": {"transport_list": ["tls", "udp"]}, "tls": {"ca_list": str(authority.file), "timeout": "5000"}}
    async with (
        user_agent("alice", "localhost", {"tls": {"certificate": certificate}}, general) as alice,
        Linphone(directory / "linda", authority) as linda,
    ):
        yield alice, linda


async def called_over_tls(alice: UserAgent, linda: Linphone) -> Any:
    answering = asyncio.create_task(alice.answer())
    await linda.call(f"sip:alice@localhost:{Engine().tls_port};transport=tls")
    session = await answering
    await linda.state("StreamsRunning")
    return session


async def assert_heard(alice: UserAgent, linda: Linphone, session: Any, directory: Path) -> None:
    """What linphone plays comes to us."""
    await linda.command("incall-player-start", str(write_tone(directory / "theirs.wav", THEIRS)))
    recording = directory / "heard.wav"
    enough = session.streams[0].statistics["rx"]["packets"] + PACKETS
    async with alice.conversing(session, write_tone(directory / "ours.wav", OURS), recording):
        await until(lambda: session.streams[0].statistics["rx"]["packets"] >= enough, "the sound of linphone")
    assert hear(recording).frequency == pytest.approx(THEIRS, abs=2)


async def test_linphone_calls_over_tls(nothing_left: None, tmp_path: Path) -> None:
    async with parties(tmp_path) as (alice, linda):
        session = await called_over_tls(alice, linda)
        assert session.transport == "tls"
        await assert_heard(alice, linda, session, tmp_path)
        await linda.command("terminate")
        ended = await alice.record.until(session, "SIPSessionDidEnd")
        assert ended.originator == "remote"
        assert {message.transport for message in alice.trace.messages} == {"tls"}


async def test_a_call_over_tls_is_held_by_either_side(nothing_left: None, tmp_path: Path) -> None:
    async with parties(tmp_path) as (alice, linda):
        session = await called_over_tls(alice, linda)

        async def told(count: int) -> tuple[str, bool]:
            data = await alice.record.until(session, "SIPSessionDidChangeHoldState", count=count)
            return data.originator, data.on_hold

        await linda.command("call-pause")
        assert await told(1) == ("remote", True)
        await linda.state("Paused")
        await linda.command("call-resume", "1")
        assert await told(2) == ("remote", False)
        await linda.state("StreamsRunning")
        session.hold()
        assert await told(3) == ("local", True)
        await linda.state("PausedByRemote")
        session.unhold()
        assert await told(4) == ("local", False)
        await linda.state("StreamsRunning")
        await assert_heard(alice, linda, session, tmp_path)
        await session.end()


async def test_linphone_is_called(nothing_left: None, tmp_path: Path) -> None:
    async with parties(tmp_path) as (alice, linda):
        session = await alice.call(linda.uri)
        await linda.state("StreamsRunning")
        await assert_heard(alice, linda, session, tmp_path)
        await session.end()
