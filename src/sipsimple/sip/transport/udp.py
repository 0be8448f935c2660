"""One bound UDP socket (RFC 3261 18.2.1, 18.4).

The socket is drained by `recvfrom` in a reader callback of the event loop, a bounded number of datagrams per turn so
that timers keep running under a flood. A datagram that the kernel does not take at once waits in a bounded queue.
Where the platform has an error queue (Linux), the ICMP errors of RFC 3261 18.4 are read from it and handed up
together with the start of the datagram that caused them. Where the event loop has no reader callbacks (Windows), a task
reads one datagram at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import struct
import sys
from collections import deque
from typing import Final, Protocol

from sipsimple.sip.transport.address import Address, Destination, family_of
from sipsimple.sip.transport.errors import ConnectionLost, SendError

MAX_DATAGRAM_SIZE: Final = 65535
MAX_DATAGRAMS_PER_TURN: Final = 64
MAX_QUEUED_DATAGRAMS: Final = 1024
RECEIVE_BUFFER_SIZE: Final = 4 * 1024 * 1024
RETRY_INTERVAL: Final = 0.02
"""Seconds until a socket is tried again whose loop cannot say when it is ready."""

# linux/errqueue.h, linux/in.h, linux/in6.h; Python's socket module does not name them.
_IP_RECVERR: Final = 11
_IPV6_RECVERR: Final = 25
_EXTENDED_ERROR: Final = struct.Struct("=IBBBBII")
_ORIGIN_ICMP: Final = 2
_ORIGIN_ICMP6: Final = 3
_MAX_ERRORS_PER_TURN: Final = 16
_UNREACHABLE_TYPES: Final = {_ORIGIN_ICMP: (3, 12), _ORIGIN_ICMP6: (1, 4)}
_MESSAGE_SIZE: Final = errno.EMSGSIZE


class DatagramUser(Protocol):
    """Who takes what a UDP socket receives."""

    def on_datagram(self, data: bytes, address: Address, channel: UDPSocket) -> None: ...

    def on_unreachable(self, datagram: bytes, error: SendError) -> None:
        """Take the start of a datagram of ours that an ICMP error came back for."""


class UDPSocket:
    """A UDP socket bound to one address, read by the running event loop until `close()`."""

    transport: Final = "udp"
    reliable: Final = False

    def __init__(self, user: DatagramUser, address: str, port: int) -> None:
        """Bind and start to read; raises OSError."""
        self._user = user
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[tuple[bytes, Address]] = deque()
        self._closed = False
        self._socket = _bound_socket(address, port)
        self.local: Address = self._socket.getsockname()[:2]
        self.dropped = 0
        self.behind_since: float | None = None
        """The time of the loop since which more has always been waiting than one turn reads; None when it is not so."""
        self._reading: asyncio.Task[None] | None = None
        try:
            self._loop.add_reader(self._socket.fileno(), self._readable)
        except NotImplementedError:
            self._reading = self._loop.create_task(self._read_one_by_one())

    @property
    def is_open(self) -> bool:
        return not self._closed

    def send(self, data: bytes, address: Address) -> None:
        """Send one datagram, or queue it while the kernel's buffer is full; raises SendError.

        Over `MAX_QUEUED_DATAGRAMS` the datagram is dropped and counted, as the network would do.
        """
        if self._closed:
            raise ConnectionLost(Destination("udp", *address))
        if self._waiting:
            self._queue(data, address)
            return
        try:
            self._socket.sendto(data, address)
        except BlockingIOError:
            self._queue(data, address)
            self._wake_when_writable()
        except (OverflowError, UnicodeError) as error:
            raise SendError(Destination("udp", *address), OSError(errno.EINVAL, str(error))) from error
        except OSError:
            self._send_again(data, address)

    def close(self) -> None:
        """Stop reading and close the socket; what is still queued is dropped. Idempotent."""
        if self._closed:
            return
        self._closed = True
        if self._reading is None:
            self._loop.remove_reader(self._socket.fileno())
            self._loop.remove_writer(self._socket.fileno())
        else:
            self._reading.cancel()
        self._waiting.clear()
        self._socket.close()

    def _queue(self, data: bytes, address: Address) -> None:
        if len(self._waiting) < MAX_QUEUED_DATAGRAMS:
            self._waiting.append((data, address))
        else:
            self.dropped += 1

    def _send_again(self, data: bytes, address: Address) -> None:
        # The kernel may have reported the ICMP error of an earlier datagram on this one; then it did not go out, and
        # goes now. The earlier one's error waits in the error queue for `_readable`.
        try:
            self._socket.sendto(data, address)
        except OSError as error:
            raise SendError(Destination("udp", *address), error) from error

    def _wake_when_writable(self) -> None:
        if self._reading is None:
            self._loop.add_writer(self._socket.fileno(), self._writable)
        else:
            self._loop.call_later(RETRY_INTERVAL, self._writable)

    def _writable(self) -> None:
        while self._waiting:
            data, address = self._waiting[0]
            try:
                self._socket.sendto(data, address)
            except BlockingIOError:
                if self._reading is not None:
                    self._wake_when_writable()
                return
            except OSError:
                try:
                    self._send_again(data, address)
                except SendError:
                    # Too late to tell the sender; the transaction's timer notices what got lost.
                    self.dropped += 1
            self._waiting.popleft()
        if self._reading is None:
            self._loop.remove_writer(self._socket.fileno())

    async def _read_one_by_one(self) -> None:
        while True:
            try:
                data, address = await self._loop.sock_recvfrom(self._socket, MAX_DATAGRAM_SIZE)
            except OSError:
                # Windows reports here that an earlier datagram came back; the transaction's timer notices, too.
                await asyncio.sleep(RETRY_INTERVAL)
            else:
                # As a callback, so that an error in it does not end the reading.
                self._loop.call_soon(self._deliver, data, address[:2])

    def _deliver(self, data: bytes, address: Address) -> None:
        if not self._closed:
            self._user.on_datagram(data, address, self)

    def _readable(self) -> None:
        receive, deliver = self._socket.recvfrom, self._user.on_datagram
        for turn in range(MAX_DATAGRAMS_PER_TURN):
            try:
                data, address = receive(MAX_DATAGRAM_SIZE)
            except BlockingIOError:
                if turn == 0:  # woken, yet nothing to read: it is the error queue
                    self._read_errors()
                self.behind_since = None
                return
            except OSError:
                self._read_errors()
                return
            deliver(data, address[:2], self)
            if self._closed:
                return
        self._look_for_more()

    def _look_for_more(self) -> None:
        """Note whether anything is left to read after a whole turn."""
        try:
            self._socket.recv(1, socket.MSG_PEEK)
        except OSError:
            self.behind_since = None
        else:
            if self.behind_since is None:
                self.behind_since = self._loop.time()

    def _read_errors(self) -> None:
        """Hand up what the socket's error queue holds; elsewhere than on Linux the timers have to notice."""
        if not sys.platform.startswith("linux"):
            return
        for _ in range(_MAX_ERRORS_PER_TURN):
            try:
                datagram, ancillary, _flags, address = self._socket.recvmsg(2048, 512, socket.MSG_ERRQUEUE)
            except OSError:
                return
            if (code := _unreachable_errno(ancillary)) is not None and address:
                self._user.on_unreachable(datagram, SendError(Destination("udp", *address[:2]), OSError(code, "")))
            if self._closed:
                return


def _bound_socket(address: str, port: int) -> socket.socket:
    family = family_of(address)
    bound = socket.socket(family, socket.SOCK_DGRAM)
    try:
        bound.setblocking(False)
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            # Linux gives what it allows, the BSDs refuse what is more; then their default has to do.
            with contextlib.suppress(OSError):
                bound.setsockopt(socket.SOL_SOCKET, option, RECEIVE_BUFFER_SIZE)
        if family == socket.AF_INET6:
            # IPv4 has a socket of its own, so that addresses never come in as ::ffff:a.b.c.d.
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if sys.platform.startswith("linux"):
            level, option = (
                (socket.IPPROTO_IPV6, _IPV6_RECVERR) if family == socket.AF_INET6 else (socket.IPPROTO_IP, _IP_RECVERR)
            )
            bound.setsockopt(level, option, 1)
        bound.bind((address, port))
    except BaseException:
        bound.close()
        raise
    return bound


def _unreachable_errno(ancillary: list[tuple[int, int, bytes]]) -> int | None:
    """The errno of an ICMP error that RFC 3261 18.4 wants reported; None for the others (TTL exceeded, path MTU)."""
    for _level, _type, data in ancillary:
        if len(data) < _EXTENDED_ERROR.size:
            continue
        code, origin, icmp_type, *_ = _EXTENDED_ERROR.unpack_from(data)
        if code != _MESSAGE_SIZE and icmp_type in _UNREACHABLE_TYPES.get(origin, ()):
            return int(code)
    return None
