"""Call flows that SIPp plays message by message: late ACK, hold, offer by the called party, CANCEL, races and glare."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from sipsimple.notification import Notification
from sipsimple.session import Session
from tests.interop.sipp import SIPp
from tests.interop.user_agent import UserAgent, user_agent
from tests.support.programs import until
from tests.support.trace import SIPTrace, observed

CALLS = 5


class Answering:
    """Lets every call ring, takes it at once when it is told to, and remembers how it ended."""

    def __init__(self, accept: bool = True) -> None:
        self.accept = accept
        self.began: list[Session] = []
        self.ended: list[tuple[str, Any]] = []

    def handle_notification(self, notification: Notification) -> None:
        session: Any = notification.sender
        match notification.name:
            case "SIPSessionNewIncoming":
                self.began.append(session)
                session.send_ring_indication()
                if self.accept:
                    session.accept([stream for stream in session.proposed_streams or [] if stream.type == "audio"])
            case "SIPSessionDidEnd":
                self.ended.append(("DidEnd", notification.data.originator))
            case "SIPSessionDidFail":
                self.ended.append(("DidFail", notification.data.code))


async def called_by(scenario: str, directory: Path, answering: Answering) -> SIPTrace:
    """Have SIPp call us by this scenario until all is over; the messages."""
    async with user_agent() as agent:
        with observed(answering):
            port = agent.uri.rpartition(":")[2]
            options = ("-s", agent.account.id.username)
            async with SIPp(directory / "sipp", scenario, f"127.0.0.1:{port}", calls=CALLS, options=options) as sipp:
                outcome = await sipp.outcome()
            assert (outcome.status, outcome.successful, outcome.failed) == (0, CALLS, 0), sipp.errors()
            await until(lambda: len(answering.ended) == CALLS, "the end of every session")
            return agent.trace


@asynccontextmanager
async def calling(scenario: str, directory: Path) -> AsyncIterator[tuple[UserAgent, str]]:
    """Run one call to SIPp by this scenario in the block, which it has to bring to its end."""
    async with SIPp(directory / "sipp", scenario, calls=1) as sipp:
        await sipp.ready()
        async with user_agent() as agent:
            yield agent, f"sip:service@127.0.0.1:{sipp.port}"
            outcome = await sipp.outcome()
            assert (outcome.status, outcome.successful, outcome.failed) == (0, 1, 0), sipp.errors()


@pytest.mark.usefixtures("nothing_left")
class TestCallsToUs:
    async def test_a_200_is_repeated_until_its_ack_comes(self, tmp_path: Path) -> None:
        answering = Answering()
        trace = await called_by("caller_late_ack", tmp_path, answering)
        assert answering.ended == [("DidEnd", "remote")] * CALLS
        accepted: dict[str, int] = {}
        for message in trace.messages:
            if (
                not message.received
                and message.start_line == "SIP/2.0 200 OK"
                and "INVITE" in message.headers("CSeq")[0]
            ):
                (call_id,) = message.headers("Call-ID")
                accepted[call_id] = accepted.get(call_id, 0) + 1
        # After 0, 0.5 and 1.5 seconds.
        assert set(accepted.values()) == {3}

    async def test_a_caller_holds_and_resumes(self, tmp_path: Path) -> None:
        class Watching(Answering):
            changes: list[tuple[str, bool]] = []

            def handle_notification(self, notification: Notification) -> None:
                super().handle_notification(notification)
                if notification.name == "SIPSessionDidChangeHoldState":
                    self.changes.append((notification.data.originator, notification.data.on_hold))

        answering = Watching()
        await called_by("caller_holding", tmp_path, answering)
        assert sorted(answering.changes) == [("remote", False)] * CALLS + [("remote", True)] * CALLS
        assert answering.ended == [("DidEnd", "remote")] * CALLS

    async def test_an_invite_without_an_offer_gets_ours(self, tmp_path: Path) -> None:
        answering = Answering()
        await called_by("caller_without_offer", tmp_path, answering)
        assert answering.ended == [("DidEnd", "remote")] * CALLS

    async def test_a_caller_gives_up_while_it_rings(self, tmp_path: Path) -> None:
        answering = Answering(accept=False)
        await called_by("caller_cancelling", tmp_path, answering)
        assert answering.ended == [("DidFail", 487)] * CALLS

    async def test_a_cancel_that_comes_after_the_200_changes_nothing(self, tmp_path: Path) -> None:
        answering = Answering()
        await called_by("caller_cancelling_late", tmp_path, answering)
        assert answering.ended == [("DidEnd", "remote")] * CALLS


@pytest.mark.usefixtures("nothing_left")
class TestCallsOfOurs:
    async def test_we_hold_and_resume(self, tmp_path: Path) -> None:
        async with calling("callee_held", tmp_path) as (agent, target):
            session = await agent.call(target)
            for number, change in enumerate((session.hold, session.unhold), 1):
                change()
                data = await agent.record.until(session, "DidChangeHoldState", number)
                assert (data.originator, data.on_hold) == ("local", change == session.hold)
            await session.end()

    async def test_we_give_up_while_it_rings(self, tmp_path: Path) -> None:
        async with calling("callee_cancelled", tmp_path) as (agent, target):
            session = await self.ringing(agent, target)
            await session.end()
            assert agent.record.data(session, "DidFail").code == 487

    async def test_a_200_that_crosses_our_cancel_is_acknowledged_and_released(self, tmp_path: Path) -> None:
        async with calling("callee_crossing", tmp_path) as (agent, target):
            session = await self.ringing(agent, target)
            await session.end()
            assert "DidStart" not in agent.record.short(session)
            assert agent.record.short(session)[-1] in ("DidFail", "DidEnd")

    async def test_proposals_that_cross_are_refused_and_made_again(self, tmp_path: Path) -> None:
        async with calling("callee_glaring", tmp_path) as (agent, target):
            session = await agent.call(target)
            session.hold()
            await until(lambda: self.answered(agent, "491") == 2, "two refusals")
            await until(lambda: session.state == "connected", "the end of the glare")
            await until(lambda: self.answered(agent, "200", "INVITE", received=False) == 1, "the second proposal")
            await until(lambda: session.state == "connected", "the end of the second proposal")
            await session.end()

    @staticmethod
    async def ringing(agent: UserAgent, target: str) -> Session:
        """A call of ours that rings; nobody waits for it to start."""
        attempt = asyncio.create_task(agent.call(target))
        session: list[Session] = []

        def rings() -> bool:
            session[:] = [n.sender for n in agent.record.all if n.name == "SIPSessionGotRingIndication"]  # type: ignore[misc]
            return bool(session)

        await until(rings, "ringing")
        attempt.cancel()
        await asyncio.wait([attempt])
        return session[0]

    @staticmethod
    def answered(agent: UserAgent, code: str, method: str = "INVITE", received: bool | None = None) -> int:
        """How many different responses of this code passed, in one direction or in both."""
        found = {
            (message.received, message.headers("CSeq")[0])
            for message in agent.trace.messages
            if message.start_line.startswith(f"SIP/2.0 {code}") and method in message.headers("CSeq")[0]
        }
        return sum(received is None or direction == received for direction, _ in found)
