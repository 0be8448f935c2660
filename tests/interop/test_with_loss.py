"""Calls through a network that loses one datagram of five in each direction: the timers of RFC 3261 carry all of them.

The timers are the real ones, so the calls go on side by side, and the last of them are through half a minute after
the first.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from sipsimple.notification import Notification
from sipsimple.session import Session
from tests.interop.sipp import SIPp
from tests.interop.user_agent import user_agent
from tests.support.lossy_relay import LossyRelay, Trouble
from tests.support.programs import until
from tests.support.trace import observed

SEED = 20260101
CALLS = 200
RATE = 40
BAD = Trouble(loss=0.2)
WORSE = Trouble(loss=0.05, duplication=0.2, reordering=0.2)
PATIENT = ("-max_invite_retrans", "8", "-max_non_invite_retrans", "12", "-timeout", "80")
"""SIPp gives a call up sooner than RFC 3261 has it."""


class Answering:
    """Lets every call ring for a moment, then takes it."""

    def __init__(self) -> None:
        self.ended: list[str] = []
        self._loop = asyncio.get_running_loop()

    def handle_notification(self, notification: Notification) -> None:
        session: Any = notification.sender
        match notification.name:
            case "SIPSessionNewIncoming":
                session.send_ring_indication()
                self._loop.call_later(0.2, self._accept, session)
            case "SIPSessionDidEnd" | "SIPSessionDidFail":
                self.ended.append(notification.name)

    @staticmethod
    def _accept(session: Session) -> None:
        if session.state == "incoming":
            session.accept(session.proposed_streams or [])


@pytest.mark.timeout(120)
@pytest.mark.parametrize("trouble", [BAD, WORSE], ids=["loss", "loss, repetition and disorder"])
async def test_no_call_to_us_is_lost(nothing_left: None, tmp_path: Path, trouble: Trouble) -> None:
    print("seed", SEED)
    async with user_agent() as agent:
        answering = Answering()
        port = int(agent.uri.rpartition(":")[2])
        async with LossyRelay(port, seed=SEED, to_target=trouble, to_caller=trouble) as relay:
            caller = SIPp(
                tmp_path / "sipp",
                "caller_by_relay",
                f"127.0.0.1:{relay.port}",
                calls=CALLS,
                rate=RATE,
                timeout=80,
                options=("-s", agent.account.id.username, *PATIENT),
            )
            with observed(answering):
                async with caller:
                    outcome = await caller.outcome()
                assert (outcome.successful, outcome.failed) == (CALLS, 0), caller.errors()
                await until(lambda: len(answering.ended) == CALLS, "the end of every session")
                assert set(answering.ended) == {"SIPSessionDidEnd"}
            assert min(relay.towards_target.lost, relay.towards_caller.lost) > CALLS * 2 * trouble.loss


@pytest.mark.timeout(120)
@pytest.mark.parametrize("trouble", [BAD, WORSE], ids=["loss", "loss, repetition and disorder"])
async def test_no_call_of_ours_is_lost(nothing_left: None, tmp_path: Path, trouble: Trouble) -> None:
    print("seed", SEED)

    async def call(number: int) -> str:
        await asyncio.sleep(number / RATE)
        session = await agent.call(f"sip:service@127.0.0.1:{relay.port}", timeout=60)
        await asyncio.sleep(0.5)
        await session.end()
        return session.state or ""

    callee: SIPp
    async with LossyRelay(0, seed=SEED, to_target=trouble, to_caller=trouble) as relay:
        callee = SIPp(
            tmp_path / "sipp",
            "callee_by_relay",
            calls=CALLS,
            timeout=80,
            options=("-key", "relay", str(relay.port), "-default_behaviors", "all,-abortunexp", *PATIENT),
        )
        relay.target_port = callee.port
        async with callee:
            await callee.ready()
            async with user_agent() as agent:
                states = await asyncio.gather(*(call(number) for number in range(CALLS)))
                assert states == ["terminated"] * CALLS
                ends = [n for n in agent.record.all if n.name == "SIPSessionDidEnd"]
                assert [n.data.end_reason for n in ends] == ["user_request"] * CALLS
                # A session waits a second for the answer to its BYE; the BYE itself is repeated for longer.
                outcome = await callee.outcome()
            assert (outcome.successful, outcome.failed) == (CALLS, 0), callee.errors()
        assert min(relay.towards_target.lost, relay.towards_caller.lost) > CALLS * 2 * trouble.loss
