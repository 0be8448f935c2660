"""SIPp calls us, and is called by us."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.interop.sipp import SIPp
from tests.interop.user_agent import VoiceServer, user_agent

CALLS = 1000
RATE = 100


@pytest.mark.timeout(150)
async def test_a_thousand_calls_at_a_hundred_per_second_are_answered(tmp_path: Path) -> None:
    async with VoiceServer(tmp_path) as server:
        target = f"127.0.0.1:{server.udp_port}"
        async with SIPp(tmp_path / "sipp", "uac", target, calls=CALLS, rate=RATE, timeout=90) as sipp:
            outcome = await sipp.outcome()
        assert (outcome.status, outcome.successful, outcome.failed) == (0, CALLS, 0), sipp.errors()
        # SIPp slows down for a server that lags behind.
        assert outcome.rate > 0.8 * RATE
        assert await server.report() == (CALLS, 0, 0), server.program.output


async def test_calls_over_one_tcp_connection_are_answered(tmp_path: Path) -> None:
    async with VoiceServer(tmp_path) as server:
        target = f"127.0.0.1:{server.tcp_port}"
        async with SIPp(tmp_path / "sipp", "uac", target, calls=200, rate=RATE, transport="t1") as sipp:
            outcome = await sipp.outcome()
        assert (outcome.status, outcome.successful, outcome.failed) == (0, 200, 0), sipp.errors()
        assert await server.report() == (200, 0, 0)


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_one_application_makes_many_calls_at_once(nothing_left: None, tmp_path: Path, transport: str) -> None:
    calls = 50
    options = {"udp": "u1", "tcp": "t1"}
    async with SIPp(tmp_path / "sipp", "uas", calls=calls, transport=options[transport]) as sipp:
        await sipp.ready(transport)
        async with user_agent() as agent:
            target = f"sip:service@127.0.0.1:{sipp.port};transport={transport}"
            sessions = await asyncio.gather(*(agent.call(target) for _ in range(calls)))
            assert {session.state for session in sessions} == {"connected"}
            assert {session.transport for session in sessions} == {transport}
            await asyncio.gather(*(session.end() for session in sessions))
            outcome = await sipp.outcome()
            assert (outcome.status, outcome.successful, outcome.failed) == (0, calls, 0), sipp.errors()
