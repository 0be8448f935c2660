"""The SIP messages of the engine in this process, as `SIPEngineSIPTrace` tells them, and observing for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sipsimple.notification import Notification, NotificationCenter


@dataclass(frozen=True)
class Traced:
    """One SIP message as `SIPEngineSIPTrace` told it."""

    received: bool
    peer: tuple[str, int]
    transport: str
    text: str

    @property
    def start_line(self) -> str:
        return self.text.partition("\r\n")[0]

    @property
    def method(self) -> str | None:
        """The method of a request, None for a response."""
        word = self.start_line.split()[0]
        return None if word.startswith("SIP/") else word

    def headers(self, name: str) -> list[str]:
        """The values of all headers of this name."""
        lines = self.text.partition("\r\n\r\n")[0].split("\r\n")[1:]
        return [line.partition(":")[2].strip() for line in lines if line.lower().startswith(f"{name.lower()}:")]


class SIPTrace:
    """The SIP messages that came and went."""

    def __init__(self) -> None:
        self.messages: list[Traced] = []

    def handle_notification(self, notification: Notification) -> None:
        data = notification.data
        peer = (data.source_ip, data.source_port) if data.received else (data.destination_ip, data.destination_port)
        self.messages.append(Traced(data.received, peer, data.transport.lower(), data.data))

    def sent(self, method: str) -> list[Traced]:
        """The requests of this method that left."""
        return [message for message in self.messages if not message.received and message.method == method]


@contextmanager
def observed(observer: Any, name: Any = None) -> Iterator[None]:
    center = NotificationCenter()
    keys = {} if name is None else {"name": name}
    center.add_observer(observer, **keys)
    try:
        yield
    finally:
        center.remove_observer(observer, **keys)
