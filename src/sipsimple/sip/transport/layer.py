"""The transports of one endpoint under one roof: listening, sending by destination, receiving (RFC 3261 18).

Each transport may listen on one IPv4 and on one IPv6 address. What comes in is handed up as the bytes of one message
with where it came from and the channel that brought it, which is the way back for a response.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from functools import lru_cache
from typing import Final, Protocol

from sipsimple.sip.errors import MalformedMessage
from sipsimple.sip.message import Request, Response, parse_message
from sipsimple.sip.transport.address import (
    TRANSPORTS,
    Address,
    Destination,
    TransportName,
    family_of,
    is_wildcard,
    source_address_towards,
)
from sipsimple.sip.transport.errors import ConnectionLost, ListenError, SendError, TransportNotListening
from sipsimple.sip.transport.pool import ConnectionPool, Failed
from sipsimple.sip.transport.security import Security
from sipsimple.sip.transport.statistics import Statistics, TraceHook
from sipsimple.sip.transport.stream import StreamConnection
from sipsimple.sip.transport.udp import UDPSocket

MAX_ROUTES_REMEMBERED: Final = 1024
ROUTE_LIFETIME: Final = 5.0
"""How long the kernel's choice of a source address is believed, in seconds; interfaces come and go."""

_DEFAULT_ROUTE: Final = {socket.AF_INET: "192.0.2.1", socket.AF_INET6: "2001:db8::1"}
"""Documentation addresses, which no interface has: the way to them is the default route."""
_CRLF: Final = b"\r\n"
_LONGEST_KEEP_ALIVE: Final = 4


@lru_cache(maxsize=MAX_ROUTES_REMEMBERED)
def _datagram_source(address: Address) -> Destination:
    return Destination("udp", *address)


class Channel(Protocol):
    """A socket or connection that a message came in by."""

    local: Address

    @property
    def transport(self) -> TransportName: ...
    @property
    def reliable(self) -> bool: ...
    @property
    def is_open(self) -> bool: ...

    def send(self, data: bytes, address: Address) -> None:
        """Send to the address, which a connection ignores; raises SendError."""


class TransportUser(Protocol):
    """Who takes what the transports receive."""

    def on_message(self, message: Request | Response, source: Destination, channel: Channel) -> None: ...

    def on_malformed(self, data: bytes, error: MalformedMessage, source: Destination, channel: Channel) -> None:
        """Take bytes that are no message; empty when a stream could not be followed and is being closed."""

    def on_unreachable(self, datagram: bytes, error: SendError) -> None:
        """Take the start of a datagram of ours that an ICMP error came back for."""

    def on_connection_lost(self, connection: StreamConnection, error: ConnectionLost) -> None: ...


class TransportLayer:
    """All sockets and connections of one endpoint."""

    def __init__(
        self,
        user: TransportUser,
        schedule: Callable[[ConnectionPool], object],
        statistics: Statistics,
        trace: TraceHook,
    ) -> None:
        """`schedule(pool)` is called when `next_wake()` of a pool has changed."""
        self._user = user
        self._schedule = schedule
        self._statistics = statistics
        self._trace = trace
        self._clock = asyncio.get_running_loop().time
        self._sockets: dict[socket.AddressFamily, UDPSocket] = {}
        self._pools: dict[TransportName, ConnectionPool] = {}
        self._routes: dict[str, tuple[float, str | None]] = {}

    async def listen(self, transport: TransportName, address: str, port: int, security: Security | None = None) -> int:
        """Open the transport on an IP literal; port 0 takes any free one. Returns the port, raises ListenError.

        TLS needs `security`; the others have no use for it.
        """
        if self._bound(transport, family_of(address)) is not None:
            problem = OSError("it listens already; call close_transport() first to move it")
            raise ListenError(transport, address, port, problem)
        try:
            if transport == "udp":
                opened = UDPSocket(self, address, port)
                self._sockets[family_of(address)] = opened
                return opened.local[1]
            pool = self._pools.get(transport) or self._new_pool(transport, security)
            return (await pool.listen(address, port))[1]
        except OSError as error:
            raise ListenError(transport, address, port, error) from error

    async def close_transport(self, transport: TransportName) -> None:
        """Close the sockets and connections of the transport; idempotent, bounded in time."""
        if transport == "udp":
            for opened in self._sockets.values():
                opened.close()
            self._sockets.clear()
        elif (pool := self._pools.pop(transport, None)) is not None:
            await pool.close()

    async def close(self) -> None:
        """Close everything; idempotent, bounded in time."""
        await asyncio.gather(*(self.close_transport(transport) for transport in TRANSPORTS))

    def listens(self, transport: TransportName, host: str | None = None) -> bool:
        """True when the transport listens in the address family of `host`, or in any."""
        families = (socket.AF_INET, socket.AF_INET6) if host is None else (family_of(host),)
        return any(self._bound(transport, family) is not None for family in families)

    def local_address(self, transport: TransportName, host: str | None = None) -> Address | None:
        """The address of ours that `host` can send to; None when the transport does not listen.

        For a transport that listens on all addresses this is the one that the kernel sends from towards `host`, or by
        the default route when `host` is None.
        """
        families = (socket.AF_INET, socket.AF_INET6) if host is None else (family_of(host),)
        for family in families:
            bound = self._bound(transport, family)
            if bound is not None:
                if not is_wildcard(bound[0]):
                    return bound
                return self._source_address(host or _DEFAULT_ROUTE[family]) or bound[0], bound[1]
        return None

    def connection(self, destination: Destination) -> StreamConnection | None:
        """The open connection with the destination, if there is one."""
        pool = self._pools.get(destination.transport)
        return pool.connection(destination) if pool is not None else None

    def send(self, destination: Destination, data: bytes, failed: Failed | None = None) -> None:
        """Send one message. Raises TransportError when that fails at once; `failed(error)` tells what fails later."""
        transport = destination.transport
        if transport == "udp":
            opened = self._sockets.get(family_of(destination.host))
            if opened is None:
                raise TransportNotListening(destination)
            self.send_by(opened, destination.address, data)
        elif (pool := self._pools.get(transport)) is not None:
            pool.send(destination, data, failed)
        else:
            raise TransportNotListening(destination)

    def send_by(self, channel: Channel, address: Address, data: bytes) -> None:
        """Send one message on a channel, the way back of what came in by it; raises SendError."""
        channel.send(data, address)
        # A connection traces by itself, for what waits for it to be made goes out later.
        if self._trace.call is not None and channel.transport == "udp":
            self._trace.call(False, "UDP", channel.local, address, data)

    def send_back(self, channel: Channel, destination: Destination, data: bytes, failed: Failed | None = None) -> None:
        """Send a response by the channel that brought its request; when that has closed, to the destination.

        Raises TransportError when that fails at once; `failed(error)` tells what fails later.
        """
        if channel.is_open:
            self.send_by(channel, destination.address, data)
        else:
            self.send(destination, data, failed)

    def keep_alive(self, destination: Destination) -> None:
        """Keep NAT bindings and connections open (RFC 5626 4.4); raises TransportError.

        On a connection the answer is watched. Over UDP an empty line goes out, which nobody answers.
        """
        if destination.transport == "udp":
            self.keep_open(destination)
        else:
            self._connection(destination).ping()

    def keep_open(self, destination: Destination) -> None:
        """As `keep_alive`, and no answer is expected; raises TransportError."""
        if destination.transport == "udp":
            opened = self._sockets.get(family_of(destination.host))
            if opened is None:
                raise TransportNotListening(destination)
            opened.send(_CRLF, destination.address)
        else:
            self._connection(destination).nudge()

    def lag(self) -> float:
        """For how many seconds datagrams have waited without a break, 0.0 when all that came have been read.

        Where the loop has no callbacks for sockets, nothing is known of it. Streams hold back their senders anyway.
        """
        since = [opened.behind_since for opened in self._sockets.values() if opened.behind_since is not None]
        return self._clock() - min(since) if since else 0.0

    def _connection(self, destination: Destination) -> StreamConnection:
        connection = self.connection(destination)
        if connection is None:
            raise ConnectionLost(destination)
        return connection

    # What the sockets and connections tell.

    def on_datagram(self, data: bytes, address: Address, channel: UDPSocket) -> None:
        if self._trace.call is not None:
            self._trace.call(True, "UDP", address, channel.local, data)
        source = _datagram_source(address)
        if len(data) <= _LONGEST_KEEP_ALIVE and not data.strip(b"\r\n\0"):
            self._statistics.keep_alives += 1
            return
        try:
            message = parse_message(data)
        except MalformedMessage as error:
            self._user.on_malformed(data, error, source, channel)
        else:
            self._user.on_message(message, source, channel)

    def on_unreachable(self, datagram: bytes, error: SendError) -> None:
        self._user.on_unreachable(datagram, error)

    def backlog(self) -> int:
        return sum(pool.waiting for pool in self._pools.values())

    def on_stream_message(self, message: Request | Response, connection: StreamConnection) -> None:
        if self._trace.call is not None:
            name = connection.transport.upper()
            self._trace.call(True, name, connection.remote.address, connection.local, message.encode())
        self._user.on_message(message, connection.remote, connection)

    def on_stream_garbage(self, data: bytes, error: MalformedMessage, connection: StreamConnection) -> None:
        if data and self._trace.call is not None:
            name = connection.transport.upper()
            self._trace.call(True, name, connection.remote.address, connection.local, data)
        self._user.on_malformed(data, error, connection.remote, connection)

    def on_connected(self, connection: StreamConnection) -> None:
        pool = self._pools.get(connection.transport)
        if pool is not None:
            self._schedule(pool)

    def on_closed(self, connection: StreamConnection, error: ConnectionLost) -> None:
        self._user.on_connection_lost(connection, error)

    def _new_pool(self, transport: TransportName, security: Security | None) -> ConnectionPool:
        if (transport == "tls") != (security is not None):
            raise OSError("TLS, and nothing else, needs certificates: give `security` with it")
        pool = ConnectionPool(transport, self, self._clock, self._statistics, self._trace, security=security)
        self._pools[transport] = pool
        return pool

    def _bound(self, transport: TransportName, family: socket.AddressFamily) -> Address | None:
        if transport == "udp":
            opened = self._sockets.get(family)
            return opened.local if opened is not None else None
        pool = self._pools.get(transport)
        return pool.local_address(family) if pool is not None else None

    def _source_address(self, host: str) -> str | None:
        now = self._clock()
        known = self._routes.get(host)
        if known is not None and known[0] > now:
            return known[1]
        if len(self._routes) >= MAX_ROUTES_REMEMBERED:
            self._routes.clear()
        address = source_address_towards(host)
        self._routes[host] = now + ROUTE_LIFETIME, address
        return address
