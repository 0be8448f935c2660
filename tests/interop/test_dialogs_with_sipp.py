"""Dialogs of the core with SIPp: reliable responses, session timers, UPDATE, forks and strict routes."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from sipsimple.core import SIPURI, Invitation, ToHeader
from sipsimple.notification import Notification, NotificationCenter
from tests.interop.sipp import SIPp
from tests.unit.core.conftest import Record, engine, record  # noqa: F401  # the fixtures of the core's own tests
from tests.unit.core.kit import parties, route, until
from tests.unit.core.test_invitation import description, reached

CALLS = 20


class Answering:
    """Answers every call, with early media first."""

    def handle_notification(self, notification: Notification) -> None:
        data: Any = notification.data
        if notification.name == "SIPInvitationChangedState" and data.state == "incoming":
            invitation: Any = notification.sender
            invitation.send_response(183, sdp=description())
            invitation.send_response(200, sdp=description())


async def test_caller_that_demands_reliable_responses_and_session_timers(
    engine: Any,  # noqa: F811
    record: Record,  # noqa: F811
    tmp_path: Path,
) -> None:
    answering = Answering()
    NotificationCenter().add_observer(answering)
    try:
        target = f"127.0.0.1:{engine.udp_port}"
        async with SIPp(tmp_path / "sipp", "caller_demanding", target, calls=CALLS) as sipp:
            outcome = await sipp.outcome()
    finally:
        NotificationCenter().remove_observer(answering)
    assert (outcome.status, outcome.successful, outcome.failed) == (0, CALLS, 0), sipp.errors()
    assert len([n for n in record.all if getattr(n.data, "state", "") == "disconnected"]) == CALLS


def byes_answered(record: Record) -> int:  # noqa: F811
    data = [n.data for n in record.all if n.name == "SIPEngineSIPTrace" and n.data.received]
    return sum(d.data.startswith("SIP/2.0 200") and " BYE\r\n" in d.data for d in data)


async def test_two_forks_behind_a_strict_router(
    engine: Any,  # noqa: F811
    record: Record,  # noqa: F811
    tmp_path: Path,
) -> None:
    async with SIPp(tmp_path / "sipp", "callee_forking", calls=CALLS) as sipp:
        await sipp.ready()
        sender, _, contact = parties(sipp.port)
        calls = [Invitation() for _ in range(CALLS)]
        for call in calls:
            called = ToHeader(SIPURI("127.0.0.1", "service", port=sipp.port))
            call.send_invite(sender, called, route(sipp.port), contact, description())
        await asyncio.gather(*(reached(call, "connected") for call in calls))
        assert {call.remote_identity.tag[:4] for call in calls} == {"desk"}
        # The second phone answers when the first was acknowledged, and is released.
        await until(lambda: byes_answered(record) == CALLS, "the release of the second phones")
        for call in calls:
            call.end(timeout=5)
        outcome = await sipp.outcome()
    assert (outcome.status, outcome.successful, outcome.failed) == (0, CALLS, 0), sipp.errors()
