"""A whole user agent on loopback that calls itself, and a record of what its parts tell."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from sipsimple.account import Account
from sipsimple.application import SIPApplication
from sipsimple.configuration import ConfigurationManager
from sipsimple.configuration.backend.memory import MemoryBackend
from sipsimple.core import SIPURI, Engine, ToHeader
from sipsimple.notification import Notification, NotificationCenter
from sipsimple.session import Session
from sipsimple.util import Route
from tests.conftest import tasks_left
from tests.support.contract_stream import ContractStream

LIMIT = 30.0
ALICE = "alice@example.org"
SETTINGS: dict[str, Any] = {
    "SIPSimpleSettings": {
        "local_ip": "127.0.0.1",
        "audio": {"input_device": None, "output_device": None, "alert_device": None},
        "sip": {"transport_list": ["udp", "tcp"]},
    },
    "Accounts": {ALICE: {"enabled": "true", "registration": {"enabled": "false"}}},
}


class Record:
    """What was posted, in order."""

    def __init__(self) -> None:
        self.all: list[Notification] = []

    def handle_notification(self, notification: Notification) -> None:
        if notification.name != "SIPEngineSIPTrace":
            self.all.append(notification)

    def names(self, sender: object) -> list[str]:
        return [notification.name for notification in self.all if notification.sender is sender]

    def short(self, sender: object) -> list[str]:
        """The names without what they all begin with."""
        return [name.removeprefix("SIPSession") for name in self.names(sender)]

    def data(self, sender: object, name: str) -> Any:
        """The data of the only notification of this name."""
        (found,) = [n.data for n in self.all if n.sender is sender and n.name in (name, f"SIPSession{name}")]
        return found

    def transactions(self, sender: object) -> list[tuple[Any, ...]]:
        """What `SIPSessionDidProcessTransaction` told."""
        return [
            (n.data.originator, n.data.method, n.data.code, getattr(n.data, "ack_received", None))
            for n in self.all
            if n.sender is sender and n.name == "SIPSessionDidProcessTransaction"
        ]

    async def until(self, sender: object, name: str, count: int = 1) -> Any:
        """The data of the count-th notification of this name, waiting for it if need be."""
        full = (
            name
            if name.startswith(("SIP", "Media", "Audio", "Chat", "FileTransfer", "DesktopSharing"))
            else f"SIPSession{name}"
        )

        def found() -> Any:
            matching = [n.data for n in self.all if n.sender is sender and n.name == full]
            return matching[count - 1] if len(matching) >= count else None

        return await eventually(found, f"{full} #{count}; there was {self.short(sender)}")


async def eventually(condition: Callable[[], Any], what: str, limit: float = LIMIT) -> Any:
    """The first true value of `condition`, which is asked after every notification, and now and then."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + limit
    async with NotificationCenter().subscribe() as events:
        while not (value := condition()):
            if loop.time() > deadline:
                raise AssertionError(f"did not happen in {limit} s: {what}")
            with suppress(TimeoutError):
                await events.next(timeout=0.05)
        return value


class Agent:
    """The running application, and what tests want to do with it."""

    def __init__(self, application: SIPApplication, record: Record) -> None:
        self.application = application
        self.record = record
        self.account = Account(ALICE)

    @property
    def route(self) -> Route:
        return Route("127.0.0.1", Engine().udp_port)

    def stream(self, **script: Any) -> ContractStream:
        return ContractStream(self.account, **script)

    def call(self, *streams: Any, routes: list[Route] | None = None, transport: str = "udp") -> Session:
        """Call ourselves; the session, as it is right after `connect`."""
        session = Session(self.account)
        port = getattr(Engine(), f"{transport}_port")
        routes = [Route("127.0.0.1", port, transport)] if routes is None else routes
        session.connect(ToHeader(SIPURI("127.0.0.1", "alice"), "Alice"), routes, streams or [self.stream()])
        return session

    async def incoming(self) -> Session:
        """The session that the last call arrives as."""

        def new() -> Any:
            fresh = [n.sender for n in self.record.all if n.name == "SIPSessionNewIncoming"]
            return fresh[-1] if fresh and fresh[-1].state == "incoming" else None

        return await eventually(new, "an incoming session")

    async def talking(self, *streams: Any, transport: str = "udp") -> tuple[Session, Session]:
        """A call that is established on both sides."""
        caller = self.call(*streams, transport=transport)
        callee = await self.incoming()
        callee.accept(callee.proposed_streams or [])
        await self.record.until(caller, "DidStart")
        await self.record.until(callee, "DidStart")
        return caller, callee


@asynccontextmanager
async def running_agent(settings: dict[str, Any] | None = None) -> AsyncIterator[Agent]:
    """Run the application in this loop, and look that nothing is left of it."""
    record = Record()
    NotificationCenter().add_observer(record)
    ContractStream.offered.clear()
    try:
        async with SIPApplication.running(MemoryBackend(settings or SETTINGS)) as application:
            yield Agent(application, record)
        assert tasks_left() == []
        assert ConfigurationManager().backend is None
    finally:
        NotificationCenter().remove_observer(record)
