"""An engine on loopback, and a record of what it tells."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from sipsimple.core import Engine
from sipsimple.loop import unbind_loop
from sipsimple.notification import Notification, NotificationCenter
from tests.conftest import tasks_left


class Record:
    """Every notification with one of the given names' beginnings, in order."""

    def __init__(self, *prefixes: str) -> None:
        self.prefixes = prefixes
        self.all: list[Notification] = []

    def handle_notification(self, notification: Notification) -> None:
        if notification.name.startswith(self.prefixes):
            self.all.append(notification)

    def of(self, sender: object) -> list[Notification]:
        return [notification for notification in self.all if notification.sender is sender]

    def states(self, sender: object) -> list[str]:
        return [n.data.state for n in self.of(sender) if n.name == "SIPInvitationChangedState"]


@pytest.fixture
async def engine(nothing_left: None) -> AsyncIterator[Any]:
    import asyncio

    engine = Engine()
    await engine.start(local_ip="127.0.0.1", udp_port=0, tcp_port=0, trace_sip=True)
    yield engine
    await engine.stop()
    assert tasks_left() == []
    unbind_loop(asyncio.get_running_loop())


@pytest.fixture
def record() -> Any:
    record = Record("SIP")
    NotificationCenter().add_observer(record)
    yield record
    NotificationCenter().remove_observer(record)
