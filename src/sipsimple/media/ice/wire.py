"""A socket of the engine as aioice wants it: STUN goes out at once, and comes in by whoever reads the socket.

Before the stream runs nobody else reads, and `read` does; from then on the engine hands on what is STUN. The wire works
on a copy of the socket, which is the same port: closing one leaves the other as it is.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from typing import Any, Final, cast

from aioice import Connection
from aioice.ice import StunProtocol
from aioice.stun import Message

from ..net import Address
from ..packet import MAX_PACKET_SIZE

log = logging.getLogger(__name__)

MAX_READS: Final = 64
"""Datagrams that are read at a time, so that a flood does not keep the other agents from their turn."""
LAST_STUN: Final = 3
"""The greatest first octet of a STUN message (RFC 7983 7)."""

# What aioice raises for messages that it cannot make sense of, some of them authentic.
_NONSENSE: Final = (
    AssertionError,
    KeyError,
    IndexError,
    ValueError,
    TypeError,
    struct.error,
    asyncio.InvalidStateError,
)


class SocketWire(StunProtocol):
    """One component over one socket."""

    def __init__(self, receiver: Connection, sock: socket.socket) -> None:
        super().__init__(receiver)
        self.sock: Final = sock
        self.seen_as: Final[dict[tuple[str, int], tuple[str, int]]] = {}
        """As whom those saw us that answered our checks."""
        self._loop = asyncio.get_running_loop()
        self._reads = False
        self.connection_made(cast(asyncio.DatagramTransport, _Outlet(self)))

    def read(self) -> None:
        """Take what arrives."""
        if not self._reads and self.sock.fileno() >= 0:
            self._reads = True
            self._loop.add_reader(self.sock, self._readable)

    def stop_reading(self) -> None:
        """Leave what arrives to others."""
        if self._reads:
            self._reads = False
            self._loop.remove_reader(self.sock)

    def _readable(self) -> None:
        for _ in range(MAX_READS):
            try:
                data, source = self.sock.recvfrom(MAX_PACKET_SIZE)
            except BlockingIOError:
                return
            except OSError:  # an ICMP error of an earlier send; reading it clears it
                continue
            self.take(data, source)

    def take(self, data: bytes, source: Address) -> None:
        """Take a datagram; what is no STUN, or makes no sense, is dropped."""
        if data and data[0] <= LAST_STUN:
            try:
                self.datagram_received(data, source)
            except _NONSENSE as error:
                log.debug("a STUN message of %s makes no sense: %r", source[0], error)

    async def request(
        self,
        request: Message,
        addr: tuple[str, int],
        integrity_key: bytes | None = None,
        retransmissions: int | None = None,
    ) -> tuple[Message, tuple[str, int]]:
        """Execute a transaction, and remember as whom the other side saw us."""
        response, source = await super().request(request, addr, integrity_key, retransmissions)
        seen: Any = response.attributes.get("XOR-MAPPED-ADDRESS")
        if seen is not None:
            self.seen_as[addr] = (str(seen[0]), int(seen[1]))
        return response, source

    def shut(self) -> None:
        """Close the copy of the socket."""
        self.stop_reading()
        self.sock.close()
        self._loop.call_soon(self.connection_lost, None)


class _Outlet:
    """As much of an asyncio transport as aioice uses."""

    def __init__(self, wire: SocketWire) -> None:
        self._wire = wire
        self._closed = False

    def sendto(self, data: bytes, address: tuple[str, int]) -> None:
        try:
            self._wire.sock.sendto(data, address)
        except OSError as error:  # as lost as any other datagram: it is sent again
            log.debug("a STUN message was not sent to %s: %s", address[0], error)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._wire.shut()
