"""Accounts with an engine on loopback, and a registrar for them to register with."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from sipsimple.account import Account, AccountManager
from sipsimple.configuration import ConfigurationManager
from sipsimple.configuration.backend.memory import MemoryBackend
from sipsimple.configuration.settings import SIPSimpleSettings
from sipsimple.core import Engine
from sipsimple.loop import unbind_loop
from sipsimple.notification import Notification, NotificationCenter

LIMIT = 10.0


class Record:
    """What accounts and their manager told, in order."""

    def __init__(self) -> None:
        self.all: list[Notification] = []

    def handle_notification(self, notification: Notification) -> None:
        if notification.name.startswith(("SIPAccount", "CFG")):
            self.all.append(notification)

    def of(self, sender: object) -> list[str]:
        return [notification.name for notification in self.all if notification.sender is sender]

    def last(self, name: str) -> Notification:
        return [notification for notification in self.all if notification.name == name][-1]

    def __contains__(self, name: str) -> bool:
        return any(notification.name == name for notification in self.all)


class FakeRegistrar(asyncio.DatagramProtocol):
    """Answers REGISTER by UDP with what `answer(request text)` says: a status line and header lines, or None."""

    def __init__(self) -> None:
        self.requests: list[str] = []
        self.answer: Callable[[str], list[str] | None] = self.accept
        self.expires = 600
        self._answered: dict[str, bytes | None] = {}
        self._waiting: dict[int, asyncio.Event] = {}

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", 0))
        self.port = self._transport.get_extra_info("sockname")[1]

    def close(self) -> None:
        self._transport.close()

    def forget_answers(self) -> None:
        """Take repeated requests for new ones."""
        self._answered.clear()

    async def wait_for(self, count: int) -> None:
        """Wait until so many requests have come."""
        if len(self.requests) < count:
            async with asyncio.timeout(LIMIT):
                await self._waiting.setdefault(count, asyncio.Event()).wait()

    @property
    def proxy(self) -> str:
        return f"127.0.0.1:{self.port};transport=udp"

    def accept(self, request: str) -> list[str]:
        wanted = int(header(request, "Expires"))
        if wanted == 0:
            return ["200 OK"]
        granted = min(wanted, self.expires)
        return ["200 OK", f"Contact: {header(request, 'Contact')};expires={granted}", "Contact: <sip:other@192.0.2.9>"]

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        request = data.decode()
        branch = header(request, "Via")
        if branch not in self._answered:
            self.requests.append(request)
            self._answered[branch] = self._response(request)
            if (event := self._waiting.get(len(self.requests))) is not None:
                event.set()
        response = self._answered[branch]
        if response is not None:
            self._transport.sendto(response, address)

    def _response(self, request: str) -> bytes | None:
        lines = self.answer(request)
        if lines is None:
            return None
        copied = [f"{name}: {header(request, name)}" for name in ("Via", "From", "Call-ID", "CSeq")]
        to = f"To: {header(request, 'To')};tag=fake"
        return "\r\n".join([f"SIP/2.0 {lines[0]}", *copied, to, *lines[1:], "Content-Length: 0", "", ""]).encode()


def header(request: str, name: str) -> str:
    found = re.search(rf"^{name}: *(.*?)\r$", request, re.MULTILINE | re.IGNORECASE)
    assert found is not None, f"no {name} in {request}"
    return found[1]


@pytest.fixture
def record() -> Iterator[Record]:
    made = Record()
    NotificationCenter().add_observer(made)
    yield made
    NotificationCenter().remove_observer(made)


@pytest.fixture
def stored() -> dict[str, Any]:
    """What the configuration holds at first; tests override it by parameter."""
    return {}


@pytest.fixture
def configuration(stored: dict[str, Any]) -> Iterator[MemoryBackend]:
    ConfigurationManager().stop()
    AccountManager().forget()
    backend = MemoryBackend(stored)
    ConfigurationManager().start(backend)
    SIPSimpleSettings().local_ip = "127.0.0.1"
    SIPSimpleSettings().sip.transport_list = ["udp", "tcp"]
    yield backend
    AccountManager().forget()
    ConfigurationManager().stop()


@pytest.fixture
async def engine(configuration: MemoryBackend) -> AsyncIterator[Any]:
    engine = Engine()
    await engine.start(local_ip="127.0.0.1", udp_port=0, tcp_port=0)
    yield engine
    async with asyncio.timeout(LIMIT):
        await AccountManager().stop()
    await engine.stop()
    unbind_loop(asyncio.get_running_loop())


@pytest.fixture
async def manager(engine: Any) -> AccountManager:
    """The account manager, started, with the engine running."""
    await AccountManager().start()
    return AccountManager()


@pytest.fixture
async def registrar() -> AsyncIterator[FakeRegistrar]:
    made = FakeRegistrar()
    await made.open()
    yield made
    made.close()


@pytest.fixture
async def alice(manager: AccountManager, registrar: FakeRegistrar) -> Any:
    """An account that is not enabled yet, and would register with the fake registrar."""
    return new_account("alice@example.com", registrar)


def new_account(id: str, registrar: FakeRegistrar) -> Any:
    account = Account(id)
    host, port = registrar.proxy.split(";")[0].split(":")
    account.sip.outbound_proxy = type(account).sip.outbound_proxy.type(host, port, "udp")
    account.password = "s3cret"
    return account


async def told(name: str, sender: object, **match: Any) -> Notification:
    """Wait for the next notification of this name."""
    return await NotificationCenter().wait(
        name, sender, LIMIT, lambda notification: match.items() <= vars(notification.data).items()
    )
