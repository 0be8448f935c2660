"""What the tests of the core's objects share: addresses on loopback, and waiting for what they tell."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from sipsimple.core import SIPURI, ContactHeader, Credentials, Engine, FromHeader, RouteHeader, ToHeader
from sipsimple.notification import NotificationCenter
from tests.unit.core.conftest import Record

LIMIT = 5.0
ALICE = Credentials("alice", "open sesame")


def route(port: int, transport: str = "udp") -> RouteHeader:
    parameters = {} if transport == "udp" else {"transport": transport}
    return RouteHeader(SIPURI("127.0.0.1", port=port, parameters=parameters))


def parties(port: int) -> tuple[FromHeader, ToHeader, ContactHeader]:
    """Alice, who asks, Bob behind `port`, and where Alice is reached."""
    contact = ContactHeader(SIPURI("127.0.0.1", "alice", port=Engine().udp_port))
    return FromHeader(SIPURI("example.org", "alice")), ToHeader(SIPURI("127.0.0.1", "bob", port=port)), contact


async def told(record: Record, sender: object, name: str, count: int = 1) -> Any:
    """The data of the count-th notification of this name that `sender` has posted, or posts soon."""

    def found() -> list[Any]:
        return [n.data for n in record.all if n.sender is sender and n.name == name]

    await until(lambda: len(found()) >= count, f"{name} #{count}; there was {names(record, sender)}")
    return found()[count - 1]


async def sender_of(record: Record, name: str, count: int = 1) -> Any:
    """Who has posted the count-th notification of this name."""

    def found() -> list[Any]:
        return [n.sender for n in record.all if n.name == name]

    await until(lambda: len(found()) >= count, f"{name} #{count}")
    return found()[count - 1]


async def until(condition: Callable[[], object], what: str) -> None:
    """Wait until the condition holds, which is asked after every notification, and now and then."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + LIMIT
    async with NotificationCenter().subscribe() as events:
        while not condition():
            if loop.time() > deadline:
                raise AssertionError(f"did not happen in {LIMIT} s: {what}")
            try:
                await events.next(timeout=0.02)
            except TimeoutError:
                continue


def names(record: Record, sender: object) -> list[str]:
    return [n.name for n in record.of(sender)]


def changes(record: Record, sender: object) -> list[tuple[Any, Any]]:
    """The states that the sender went through, in pairs."""
    return [(n.data.prev_state, n.data.state) for n in record.of(sender) if n.name.endswith("ChangedState")]
