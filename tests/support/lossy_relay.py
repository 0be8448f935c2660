"""A UDP relay between a caller and a target that loses, repeats and delays datagrams, by dice with a known seed."""

from __future__ import annotations

import asyncio
import random
import socket
from dataclasses import dataclass
from typing import Final, Self

MAX_DATAGRAM: Final = 65535
BUFFER: Final = 4 * 1024 * 1024


@dataclass(frozen=True)
class Trouble:
    """What becomes of the datagrams of one direction: probabilities from 0 to 1, and seconds."""

    loss: float = 0.0
    duplication: float = 0.0
    reordering: float = 0.0
    """How many are overtaken by those that follow within `delay`."""
    delay: float = 0.02


@dataclass
class Count:
    """What became of them."""

    passed: int = 0
    lost: int = 0
    repeated: int = 0
    overtaken: int = 0


class LossyRelay:
    """Listens on `port` for one caller, and hands on what it sends from `far_port`, where the answers come.

    The target answers to where its requests came from, so a caller has to ask for that with `rport` (RFC 3581).
    """

    def __init__(
        self, target_port: int, *, seed: int, to_target: Trouble | None = None, to_caller: Trouble | None = None
    ) -> None:
        self.target_port = target_port
        self._caller: tuple[str, int] | None = None
        self._to_target = to_target or Trouble()
        self._to_caller = to_caller or Trouble()
        # Each direction has dice of its own, so that the traffic of one does not change the luck of the other.
        self._dice_to_target, self._dice_to_caller = random.Random(seed), random.Random(-seed)
        self.towards_target, self.towards_caller = Count(), Count()
        self._late: set[asyncio.TimerHandle] = set()

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._near, self._far = _socket(), _socket()
        self.port, self.far_port = (one.getsockname()[1] for one in (self._near, self._far))
        self._loop.add_reader(self._near, self._from_caller)
        self._loop.add_reader(self._far, self._from_target)
        return self

    async def __aexit__(self, *_: object) -> None:
        for late in self._late:
            late.cancel()
        for one in (self._near, self._far):
            self._loop.remove_reader(one)
            one.close()

    def _from_caller(self) -> None:
        target = ("127.0.0.1", self.target_port)
        for data, caller in _waiting(self._near):
            self._caller = caller
            self._relay(data, self._far, target, self._to_target, self._dice_to_target, self.towards_target)

    def _from_target(self) -> None:
        for data, _ in _waiting(self._far):
            if self._caller is not None:
                self._relay(data, self._near, self._caller, self._to_caller, self._dice_to_caller, self.towards_caller)

    def _relay(
        self,
        data: bytes,
        way: socket.socket,
        address: tuple[str, int],
        trouble: Trouble,
        dice: random.Random,
        count: Count,
    ) -> None:
        # Three throws for each datagram, whatever they decide.
        lost, repeated, overtaken = (
            dice.random() < chance for chance in (trouble.loss, trouble.duplication, trouble.reordering)
        )
        if lost:
            count.lost += 1
            return
        count.passed += 1
        count.repeated += repeated
        count.overtaken += overtaken
        for _ in range(1 + repeated):
            if overtaken:
                self._send_later(trouble.delay, data, way, address)
            else:
                _send(data, way, address)

    def _send_later(self, delay: float, data: bytes, way: socket.socket, address: tuple[str, int]) -> None:
        def send() -> None:
            self._late.discard(handle)
            _send(data, way, address)

        handle = self._loop.call_later(delay, send)
        self._late.add(handle)


def _socket() -> socket.socket:
    bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    bound.setblocking(False)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
    bound.bind(("127.0.0.1", 0))
    return bound


def _waiting(bound: socket.socket) -> list[tuple[bytes, tuple[str, int]]]:
    """All that has come in."""
    received = []
    while True:
        try:
            received.append(bound.recvfrom(MAX_DATAGRAM))
        except BlockingIOError:
            return received
        except ConnectionRefusedError:
            # The ICMP error of a datagram that nobody wanted.
            continue


def _send(data: bytes, way: socket.socket, address: tuple[str, int]) -> None:
    try:
        way.sendto(data, address)
    except (BlockingIOError, ConnectionRefusedError):
        # A relay on its worst day: one more is lost.
        return
