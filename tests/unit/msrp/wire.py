"""Two session machines on a wire in memory, with a clock that jumps and transaction ids that count."""

import random
from collections.abc import Callable
from typing import Any

from sipsimple.msrp.chunker import Chunker
from sipsimple.msrp.events import Event
from sipsimple.msrp.message import MSRPData
from sipsimple.msrp.sender import Sender
from sipsimple.msrp.session import SessionMachine
from sipsimple.msrp.uri import MSRPURI

ALICE = MSRPURI("alice.example", 7394, "2s93i93idj")
BOB = MSRPURI("bob.example", 8493, "si438dsaodes")


def counter(prefix: str) -> Callable[[], str]:
    """Ids that tell who has made them, and when."""
    count = 0

    def new_id() -> str:
        nonlocal count
        count += 1
        return f"{prefix}{count:06d}"

    return new_id


class Party:
    """One end: its machine, what waits to be written, and what it has understood."""

    def __init__(self, name: str, local: MSRPURI, remote: MSRPURI, **options: Any) -> None:
        self.sender = Sender(counter(f"tr{name}"))
        self.chunker = Chunker()
        self.machine = SessionMachine([local], [remote], new_id=counter(f"id{name}"), **options)
        self.inbox = b""
        self.chunks: list[MSRPData] = []
        self.events: list[Event] = []

    def read(self, size: int, now: float) -> None:
        data, self.inbox = self.inbox[:size], self.inbox[size:]
        for chunk in self.chunker.feed(data):
            self.chunks.append(chunk)
            self.machine.receive(chunk, now)
            self.collect()

    def collect(self) -> None:
        while self.machine.events:
            self.events.append(self.machine.events.popleft())

    def of(self, kind: type) -> list[Any]:
        """The events of one kind."""
        self.collect()
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def seen(self) -> list[str]:
        """What has come over the wire: methods and codes."""
        return [chunk.method or str(chunk.code) for chunk in self.chunks if chunk.ends_chunk]


class Wire:
    """Alice, who has connected, and Bob, who was waiting."""

    def __init__(self, *, bound: bool = True, alice: dict[str, Any] | None = None, bob: dict[str, Any] | None = None):
        self.now = 1000.0
        self.alice = Party("a", ALICE, BOB, **(alice or {}))
        self.bob = Party("b", BOB, ALICE, **(bob or {}))
        self.alice.machine.bind(self.alice.sender)
        self.bob.machine.expect()
        self.bob.machine.attach(self.bob.sender)
        if bound:
            self.settle()
            for party in (self.alice, self.bob):
                party.events.clear()
                party.chunks.clear()

    def step(self, source: Party, target: Party) -> bool:
        """Write one piece; whether there was one."""
        output = source.sender.next(self.now)
        target.inbox += b"".join(output)
        source.collect()
        return bool(output)

    def settle(self) -> None:
        """Let everything flow until nobody has more to say."""
        for party in (self.alice, self.bob):
            party.collect()
        while True:
            moved = [self.step(self.alice, self.bob), self.step(self.bob, self.alice)]
            for party in (self.alice, self.bob):
                moved.append(bool(party.inbox))
                party.read(len(party.inbox), self.now)
            if not any(moved):
                return

    def shuffle(self, dice: random.Random) -> None:
        """The same, with writes and reads of any size in any order."""
        pairs = [(self.alice, self.bob), (self.bob, self.alice)]
        idle = 0
        while idle < 20:
            source, target = dice.choice(pairs)
            idle = idle + 1
            if dice.random() < 0.5 and self.step(source, target):
                idle = 0
            if target.inbox:
                idle = 0
                target.read(dice.randint(1, 100_000), self.now)
        self.settle()

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        for party in (self.alice, self.bob):
            party.machine.wake(self.now)
            party.collect()
