"""UDP sockets of the engine, drained and fed in batches.

One RTP socket belongs to one stream, so that the calls that move many datagrams at once (`recvmmsg`, `sendmmsg`) have
one datagram each to move. Measured with 1000 sockets on loopback: `recvfrom_into` into a row of one array takes 3.3
us, `recvmsg` through ctypes 3.8, `recvmmsg` 3.2 to 4.6; `sendto` 6.3 us, `sendmsg` through ctypes 7.3, of which the
kernel has 4.5. The plain calls win, and work everywhere; what is batched is the wait (one `epoll` call a round) and
all that comes after the bytes have arrived.
"""

from __future__ import annotations

import ctypes
import errno
import logging
import math
import random as random_module
import select
import selectors
import socket
import struct
import sys
import weakref
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from .errors import PortsExhausted, StreamError
from .packet import MAX_PACKET_SIZE

log = logging.getLogger(__name__)

MAX_BATCH: Final = 2048
"""Datagrams that one round reads; the rest stays in the kernel for the next round."""

RECEIVE_BUFFER_SIZE: Final = 256 * 1024
"""Octets asked for each socket: a second of packets while the process is held up; the system may grant less."""

REST: Final = 0.5
"""Seconds that a pair of ports rests between two calls: what the old one still gets in them, the new one never sees."""

MAX_REST: Final = 30.0
"""Seconds after which a pair that nobody needed is closed, at the next occasion."""

MAX_RESTING: Final = 256
"""Pairs of one address and range that rest at a time; from then on the one that rested longest is closed."""

ByteArray = npt.NDArray[np.uint8]
Address = tuple[Any, ...]
"""A socket address as the socket module has it: (host, port) or (host, port, flow, scope)."""


@dataclass(frozen=True, slots=True)
class Received:
    """One round of datagrams: at most one from each socket."""

    keys: list[int]
    sources: list[Address]
    sizes: list[int]
    datagrams: ByteArray
    """(n, MAX_PACKET_SIZE); valid until the next round."""
    views: list[memoryview]
    """The rows of `datagrams`, and more."""

    def pick(self, indices: list[int]) -> Received:
        """Make a round of some of these datagrams."""
        return Received(
            [self.keys[index] for index in indices],
            [self.sources[index] for index in indices],
            [self.sizes[index] for index in indices],
            self.datagrams[indices],
            [self.views[index] for index in indices],
        )


class DatagramReader:
    """Reads at most one datagram from each readable socket per round, all into one array."""

    def __init__(self, *, portable: bool = False) -> None:
        """`portable` waits by the `selectors` module even where `epoll` exists."""
        self._poll: Final[_Epoll | _Selector] = _Selector() if portable or not hasattr(select, "epoll") else _Epoll()
        self._buffer: Final = np.zeros((MAX_BATCH, MAX_PACKET_SIZE), np.uint8)
        self._rows: Final = [row.data for row in self._buffer]
        # Key, way to read, and the source where the socket is connected: reading then tells the size alone.
        self._watched: Final[dict[int, tuple[int, Callable[..., Any], Address | None]]] = {}
        self.errors = 0

    def watch(self, sock: socket.socket, key: int) -> None:
        """Read this socket from now on; its datagrams carry `key`."""
        self._watch(sock, key, sock.recvfrom_into, None)

    def watch_connected(self, sock: socket.socket, key: int, source: Address) -> None:
        """Read this socket, which hears nobody but `source`, from now on."""
        self._watch(sock, key, sock.recv_into, source)

    def _watch(self, sock: socket.socket, key: int, read: Callable[..., Any], source: Address | None) -> None:
        if sock.fileno() not in self._watched:
            self._poll.add(sock)
        self._watched[sock.fileno()] = (key, read, source)

    def forget(self, sock: socket.socket) -> None:
        """Stop reading this socket; before it is closed."""
        if self._watched.pop(sock.fileno(), None) is not None:
            self._poll.remove(sock)

    def round(self) -> Received:
        """Read one datagram from every socket that has any, without waiting."""
        keys: list[int] = []
        sources: list[Address] = []
        sizes: list[int] = []
        rows, watched = self._rows, self._watched
        count = 0
        for fd in self._poll.readable():
            entry = watched.get(fd)
            if entry is None:
                self._poll.ignore(fd)
                continue
            key, read, source = entry
            try:
                if source is None:
                    size, source = read(rows[count])
                else:
                    size = read(rows[count])
            except BlockingIOError:  # the kernel dropped it: bad checksum
                continue
            except OSError:  # an ICMP error of an earlier send; reading it clears it
                self.errors += 1
                continue
            keys.append(key)
            sizes.append(size)
            sources.append(source)
            count += 1
        return Received(keys, sources, sizes, self._buffer[:count], rows)

    def close(self) -> None:
        """Release the means of waiting; the sockets are left to their owner."""
        self._watched.clear()
        self._poll.close()


class _Epoll:
    """Waits by epoll: 0.7 ms for a thousand readable sockets, nothing for the idle ones.

    To be told no more of a socket costs a tenth of a millisecond, and most are soon wanted again: so that is put off
    until there is something to be told.
    """

    def __init__(self) -> None:
        self._epoll: Final = select.epoll()
        # The kernel forgets a socket that is closed, and gives its number to others.
        self._known: Final[dict[int, weakref.ref[socket.socket]]] = {}
        self.close: Final[Callable[[], None]] = self._epoll.close

    def add(self, sock: socket.socket) -> None:
        known = self._known.get(sock.fileno())
        if known is None or known() is not sock:
            self._epoll.register(sock.fileno(), select.EPOLLIN)
            self._known[sock.fileno()] = weakref.ref(sock)

    def remove(self, sock: socket.socket) -> None:
        """Do nothing yet: `ignore` does it when a datagram comes."""

    def ignore(self, fd: int) -> None:
        """Wait no longer for a socket that was removed."""
        del self._known[fd]
        self._epoll.unregister(fd)

    def readable(self) -> Iterable[int]:
        return [fd for fd, _ in self._epoll.poll(0, MAX_BATCH)]


class _Selector:
    """Waits by whatever the platform has."""

    def __init__(self) -> None:
        self._selector: Final = selectors.DefaultSelector()
        self.close: Final[Callable[[], None]] = self._selector.close

    def add(self, sock: socket.socket) -> None:
        self._selector.register(sock, selectors.EVENT_READ)

    def remove(self, sock: socket.socket) -> None:
        self._selector.unregister(sock)

    def ignore(self, fd: int) -> None:
        """Nothing is told of a socket that was removed."""

    def readable(self) -> Iterable[int]:
        # Windows cannot select on nothing.
        return [key.fd for key, _ in self._selector.select(0)[:MAX_BATCH]] if self._selector.get_map() else ()


class PortAllocator:
    """Finds pairs of free ports: RTP on an even one, RTCP on the next (RFC 3550 11).

    The search begins at a random place of the range, goes on after the last pair found, and wraps. A pair that is
    given back is used again, as that costs a tenth of opening another: it rests for `REST` seconds, and what has
    arrived until then is dropped.
    """

    def __init__(self, random: random_module.Random) -> None:
        self._random = random
        self._next: dict[tuple[int, int], int] = {}
        self._resting: dict[tuple[str, tuple[int, int]], deque[_Resting]] = {}

    def open_pair(
        self, address: str, port_range: tuple[int, int], now: float = -math.inf
    ) -> tuple[socket.socket, socket.socket]:
        """Give two non-blocking sockets bound to a literal address; the ports are in `port_range`, both ends included.

        A pair that has not rested long enough is taken when there is no other. Raises `PortsExhausted`, or
        `StreamError` when the address is not one of this host.
        """
        resting = self._resting.get((address, port_range))
        if not resting:
            return self._bind_next(address, port_range)
        if now - resting[0].since < REST:
            try:
                return self._bind_next(address, port_range)
            except StreamError:
                log.info("a pair of ports is used again after %.3f s", now - resting[0].since)
        pair = resting.popleft()
        discard_pending(pair.rtp)
        discard_pending(pair.rtcp)
        return pair.rtp, pair.rtcp

    def give_back(
        self, address: str, port_range: tuple[int, int], rtp: socket.socket, rtcp: socket.socket, now: float
    ) -> None:
        """Take a pair that is not needed any more; `address` and `port_range` are those that it was opened with."""
        resting = self._resting.setdefault((address, port_range), deque())
        resting.append(_Resting(rtp, rtcp, now))
        while len(resting) > MAX_RESTING or now - resting[0].since > MAX_REST:
            resting.popleft().close()

    def close(self) -> None:
        """Close the pairs that rest."""
        for resting in self._resting.values():
            for pair in resting:
                pair.close()
        self._resting.clear()

    def _bind_next(self, address: str, port_range: tuple[int, int]) -> tuple[socket.socket, socket.socket]:
        first = port_range[0] + port_range[0] % 2
        pairs = (port_range[1] + 1 - first) // 2
        if pairs > 0 and port_range not in self._next:
            self._next[port_range] = self._random.randrange(pairs)
        for _ in range(pairs):
            pair = self._next[port_range]
            self._next[port_range] = (pair + 1) % pairs
            sockets = _bind_pair(address, first + 2 * pair)
            if sockets is not None:
                return sockets
        raise PortsExhausted(address, *port_range)


@dataclass(frozen=True, slots=True)
class _Resting:
    """A pair of ports between two calls."""

    rtp: socket.socket
    rtcp: socket.socket
    since: float

    def close(self) -> None:
        self.rtp.close()
        self.rtcp.close()


def _bind_pair(address: str, port: int) -> tuple[socket.socket, socket.socket] | None:
    """Bind RTP and RTCP sockets, or return None when one of the ports is in use."""
    rtp = _bind(address, port)
    if rtp is None:
        return None
    try:
        rtcp = _bind(address, port + 1)
    except StreamError:
        rtp.close()
        raise
    if rtcp is None:
        rtp.close()
        return None
    return rtp, rtcp


def _bind(address: str, port: int) -> socket.socket | None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        sock = socket.socket(family, socket.SOCK_DGRAM)
    except OSError as error:
        hint = "; raise the limit of open files" if error.errno in {errno.EMFILE, errno.ENFILE} else ""
        raise StreamError(f"no socket for {address}: {error.strerror}{hint}") from error
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_SIZE)
        sock.bind((address, port))
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            return None
        raise StreamError(f"cannot bind to {address} port {port}: {error.strerror or error}") from error
    return sock


def discard_pending(sock: socket.socket) -> int:
    """Throw away what has arrived so far and return how many datagrams that were."""
    scratch = bytearray(MAX_PACKET_SIZE)
    for count in range(MAX_BATCH):
        try:
            sock.recv_into(scratch)
        except BlockingIOError:
            return count
        except OSError:  # an ICMP error counts as one datagram less to read
            continue
    return MAX_BATCH


def can_disconnect() -> bool:
    """Whether `disconnect` works here."""
    return sys.platform == "linux"


def connect(sock: socket.socket, address: Address) -> bool:
    """Let the socket hear and send to nobody but `address`; returns whether the system agreed."""
    try:
        sock.connect(address)
    except OSError:
        return False
    return True


def disconnect(sock: socket.socket) -> None:
    """Undo `connect`, which the socket module cannot; the port stays."""
    unspecified = struct.pack("=H14x", socket.AF_UNSPEC)
    _libc().connect(sock.fileno(), unspecified, len(unspecified))


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)


def socket_address(address: str, port: int) -> Address:
    """Make the form in which `recvfrom` reports this address, so that the two can be compared."""
    return (address, port, 0, 0) if ":" in address else (address, port)
