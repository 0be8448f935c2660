"""Certificates, and the two ends of sessions on loopback."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from sipsimple.msrp import ActiveConnector, Event, MSRPSession, PassiveConnector, Security
from tests.support.certificates import Authority

TIME_LIMIT = 30.0


def make_certificate(host: str = "127.0.0.1", *, ends: int = 1) -> bytes:
    """A certificate that signs itself, with its key, as PEM; `ends` is the day on which it ends, from today."""
    with tempfile.TemporaryDirectory() as directory:
        return Path(Authority(Path(directory)).issue(host, starts=-3, ends=ends, self_signed=True)).read_bytes()


@pytest.fixture(scope="session")
def certificate() -> bytes:
    return make_certificate()


class Log:
    """The events of one session."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self._changed = asyncio.Event()

    def __call__(self, event: Event) -> None:
        self.events.append(event)
        self._changed.set()

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    async def wait(self, kind: type, count: int = 1) -> list[Any]:
        """Wait for so many events of a kind."""
        await self.until(lambda: len(self.of(kind)) >= count)
        return self.of(kind)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for events that make this true."""
        async with asyncio.timeout(TIME_LIMIT):
            while not condition():
                self._changed.clear()
                await self._changed.wait()


class Pair:
    """Two sessions that are bound: Alice has connected to Bob."""

    def __init__(self) -> None:
        self.alice_log = Log()
        self.bob_log = Log()
        self.alice: MSRPSession
        self.bob: MSRPSession

    @classmethod
    async def open(
        cls,
        host: str = "127.0.0.1",
        *,
        security: Security | None = None,
        alice_security: Security | None = None,
        fingerprints: Any = (),
        alice: dict[str, Any] | None = None,
        bob: dict[str, Any] | None = None,
        **connector: Any,
    ) -> "Pair":
        pair = cls()
        active = ActiveConnector(host, security=alice_security or security, **connector)
        passive = PassiveConnector(host, security=security)
        alice_path, bob_path = await active.prepare(), await passive.prepare()
        bob_task = asyncio.ensure_future(passive.complete(alice_path, pair.bob_log, **(bob or {})))
        try:
            pair.alice = await active.complete(bob_path, pair.alice_log, fingerprints=fingerprints, **(alice or {}))
            pair.bob = await bob_task
        finally:
            bob_task.cancel()
            await asyncio.wait([bob_task])
        return pair

    async def close(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self.alice.close())
            group.create_task(self.bob.close())


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    both = await Pair.open()
    yield both
    await both.close()
