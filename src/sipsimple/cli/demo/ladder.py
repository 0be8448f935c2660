"""A call as a ladder diagram: who sent what to whom, and when.

The ladder is filled from the trace of the server in the middle, which every message passes. A party is known by the
address that its first REGISTER came from, and by the contact in it. Messages of anybody else are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from sipsimple.cli.output import clean
from sipsimple.sip.errors import MalformedMessage
from sipsimple.sip.message import Message, Request, Response, parse_message

SERVER: Final = "server"
MAX_ARROWS: Final = 500

REQUEST: Final = "request"
PROVISIONAL: Final = "provisional"
SUCCESS: Final = "success"
CHALLENGE: Final = "challenge"
FAILURE: Final = "failure"
MEDIA: Final = "media"


@dataclass(frozen=True)
class Arrow:
    """One message, or the audio of a call; `at` is in seconds since the epoch."""

    at: float
    source: str
    target: str
    label: str
    kind: str
    text: str = ""


class Ladder:
    """The arrows between the parties, in the order in which they were seen."""

    def __init__(self, parties: Sequence[str], clock: Callable[[], float]) -> None:
        """`parties` are the columns from left to right, `SERVER` among them; `clock` gives seconds since the epoch."""
        self.parties = tuple(parties)
        self.arrows: list[Arrow] = []
        self.on_arrow: Callable[[Arrow], object] | None = None
        self._clock = clock
        self._names: dict[tuple[str, int], str] = {}

    def trace(
        self, received: bool, transport: str, source: tuple[str, int], destination: tuple[str, int], data: bytes
    ) -> None:
        """Take a message from the trace of the server's endpoint."""
        try:
            message = parse_message(data)
        except MalformedMessage:
            return
        peer = source if received else destination
        name = self._names.get(peer) or self._learn(peer, message)
        if name is None:
            return
        ends = (name, SERVER) if received else (SERVER, name)
        self.add(Arrow(self._clock(), *ends, label_of(message), kind_of(message), data.decode("utf-8", "replace")))

    def add(self, arrow: Arrow) -> None:
        """Append an arrow; when there are too many, the rest is left out."""
        if len(self.arrows) < MAX_ARROWS:
            self.arrows.append(arrow)
            if self.on_arrow is not None:
                self.on_arrow(arrow)

    def _learn(self, address: tuple[str, int], message: Message) -> str | None:
        try:
            user = message.from_.uri.user if isinstance(message, Request) and message.method == "REGISTER" else None
        except MalformedMessage:
            return None
        if user not in self.parties or user == SERVER:
            return None
        self._names[address] = user
        if isinstance(message, Request) and message.contacts and message.contacts[0].uri is not None:
            # Over TCP the server calls the party at another port than the one that the party calls from.
            contact = message.contacts[0].uri
            self._names[contact.host, contact.port or 5060] = user
        return user


def label_of(message: Message) -> str:
    """The few words that stand at an arrow."""
    if isinstance(message, Response):
        return f"{message.code} {message.reason}"
    assert isinstance(message, Request)
    if message.method == "REGISTER" and (message.headers.get("Expires") or "").strip() == "0":
        return "REGISTER (expires 0)"
    with_credentials = "Authorization" in message.headers or "Proxy-Authorization" in message.headers
    return (
        f"{message.method} (digest)"
        if with_credentials and message.method in ("REGISTER", "INVITE")
        else message.method
    )


def kind_of(message: Message) -> str:
    """What colour an arrow has."""
    if not isinstance(message, Response):
        return REQUEST
    if message.code in (401, 407):
        return CHALLENGE
    return PROVISIONAL if message.code < 200 else SUCCESS if message.code < 300 else FAILURE


class TextLadder:
    """Lines of text for a terminal of fixed width: a head, and one line per arrow."""

    MARGIN: Final = 10
    SPACING: Final = 31

    def __init__(self, parties: Sequence[str]) -> None:
        self.parties = tuple(parties)
        self._columns = {name: self.MARGIN + 4 + index * self.SPACING for index, name in enumerate(self.parties)}
        self._width = self.MARGIN + 4 + (len(self.parties) - 1) * self.SPACING + 5

    def head(self) -> str:
        """The names of the parties over their columns."""
        line = [" "] * self._width
        for name, column in self._columns.items():
            start = max(0, min(column - len(name) // 2, self._width - len(name)))
            line[start : start + len(name)] = name
        return "".join(line).rstrip()

    def line(self, arrow: Arrow, seconds: float) -> str:
        """An arrow, `seconds` after the beginning."""
        line = [" "] * self._width
        for column in self._columns.values():
            line[column] = "│"
        stamp = f"{seconds:8.3f}"
        line[: len(stamp)] = stamp
        left, right = sorted((self._columns[arrow.source], self._columns[arrow.target]))
        shaft = "═" if arrow.kind == MEDIA else "─"
        space = right - left - 1
        label = clean(arrow.label)
        label = label if len(label) <= space - 4 else f"{label[: space - 5]}…"
        body = list(f" {label} ".center(space, shaft))
        rightwards = self._columns[arrow.source] < self._columns[arrow.target]
        body[-1 if rightwards else 0] = "►" if rightwards else "◄"
        line[left + 1 : right] = body
        return "".join(line).rstrip()
