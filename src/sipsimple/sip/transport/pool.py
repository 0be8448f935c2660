"""The connections of one stream transport: listening, connecting, reusing, ending (RFC 3261 18.1.1, 18.2.1).

There is at most one connection with a destination; it is used for requests and responses in both directions, whoever
made it. For TLS the destination says who has to be there and as whom we come, so accounts with certificates of their
own have connections of their own. Messages for a connection that is being made wait in a bounded queue.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from sipsimple.sip.errors import MalformedMessage
from sipsimple.sip.message import Request, Response
from sipsimple.sip.timers import Alarm
from sipsimple.sip.transport.address import Address, Destination, TransportName, family_of, is_wildcard
from sipsimple.sip.transport.errors import (
    ConnectError,
    ConnectionLost,
    SendError,
    TLSVerificationError,
    TransportError,
    TransportNotListening,
)
from sipsimple.sip.transport.security import SHUTDOWN_TIMEOUT, Acceptor, Security, check_peer
from sipsimple.sip.transport.statistics import Statistics, TraceHook
from sipsimple.sip.transport.stream import MAX_WRITE_BUFFER, StreamConnection, StreamUser

MAX_CONNECTIONS: Final = 1000
"""Of one transport, incoming and outgoing, with those that are being made."""
CONNECT_TIMEOUT: Final = 10.0
CLOSE_TIMEOUT: Final = 1.0
"""How long what was written may take to go out when the transport is closed."""
SWEEP_INTERVAL: Final = 1.0
_BACKLOG: Final = 128

Failed: TypeAlias = Callable[[TransportError], object]


class _Dialling:
    """A connection that is being made, and what is to be sent on it."""

    __slots__ = ("queue", "size", "task")

    def __init__(self) -> None:
        self.queue: list[tuple[bytes, Failed | None]] = []
        self.size = 0
        self.task: asyncio.Task[None] | None = None


class ConnectionPool:
    """Every connection of one stream transport, and the sockets it listens on."""

    def __init__(
        self,
        transport: TransportName,
        user: StreamUser,
        clock: Callable[[], float],
        statistics: Statistics,
        trace: TraceHook,
        *,
        security: Security | None = None,
    ) -> None:
        self._transport: TransportName = transport
        self._user = user
        self._clock = clock
        self._statistics = statistics
        self._trace = trace
        self._security = security
        self._servers: dict[socket.AddressFamily, tuple[asyncio.Server | Acceptor, Address]] = {}
        self._connections: dict[Destination, StreamConnection] = {}
        self._open: set[StreamConnection] = set()
        self._dialling: dict[Destination, _Dialling] = {}
        self._none_open = asyncio.Event()
        self._next_sweep: float | None = None
        self.alarm: Alarm | None = None
        self._closed = False

    def __len__(self) -> int:
        """How many connections there are, with those that are being made."""
        return len(self._open) + len(self._dialling)

    @property
    def waiting(self) -> int:
        """The number of bytes that wait to be sent."""
        return sum(connection.backlog for connection in self._open)

    async def listen(self, address: str, port: int) -> Address:
        """Accept connections; raises OSError, also when it listens on an address of this family already."""
        family = family_of(address)
        bound = _listening_socket(address, port)
        server: asyncio.Server | Acceptor
        if self._security is not None:
            server = Acceptor(bound, self._security, self._new_connection, self._statistics)
        else:
            try:
                server = await asyncio.get_running_loop().create_server(
                    self._new_connection, sock=bound, backlog=_BACKLOG
                )
            except BaseException:
                bound.close()
                raise
        local: Address = bound.getsockname()[:2]
        self._servers[family] = server, local
        return local

    def local_address(self, family: socket.AddressFamily) -> Address | None:
        """Where it listens, None when it does not in this family."""
        entry = self._servers.get(family)
        return entry[1] if entry else None

    def connection(self, destination: Destination) -> StreamConnection | None:
        """The open connection with this address, if there is one."""
        connection = self._connections.get(destination)
        return connection if connection is not None and connection.is_open else None

    def send(self, destination: Destination, data: bytes, failed: Failed | None = None) -> None:
        """Send on the connection with `destination`, which is made first where needed.

        Raises TransportError when it cannot even be tried; what goes wrong later is told by `failed(error)`.
        """
        dialling = self._dialling.get(destination)
        if dialling is None:
            if (connection := self.connection(destination)) is not None:
                connection.send(data)
                return
            dialling = self._dial(destination)
        if dialling.size + len(data) > MAX_WRITE_BUFFER:
            self._statistics.connections_overrun += 1
            raise SendError(destination, BlockingIOError("too much waits for the connection already"))
        dialling.queue.append((data, failed))
        dialling.size += len(data)

    def next_wake(self) -> float | None:
        return self._next_sweep

    def wake(self, now: float) -> None:
        """End the connections whose time is over."""
        for connection in [one for one in self._open if one.deadline() <= now]:
            connection.expire()
        self._next_sweep = now + SWEEP_INTERVAL if self._open else None

    async def close(self) -> None:
        """Stop listening and end every connection; idempotent, returns within about `CLOSE_TIMEOUT`."""
        self._closed = True
        servers = [server for server, _ in self._servers.values()]
        self._servers.clear()
        for server in servers:
            server.close()
        tasks = [dialling.task for dialling in self._dialling.values() if dialling.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for connection in list(self._open):
            connection.close()
        await self._wait_until_closed(CLOSE_TIMEOUT)
        for connection in list(self._open):
            connection.abort()
        await self._wait_until_closed(CLOSE_TIMEOUT)
        for server in servers:
            await server.wait_closed()
        self._next_sweep = None
        # What was being accepted meanwhile has been refused; its socket closes in the loop's next turns.
        for _ in range(3):
            await asyncio.sleep(0)

    # What the connections tell, handed on.

    def on_connected(self, connection: StreamConnection) -> None:
        if self._closed:
            connection.abort()
            return
        if connection.incoming and len(self) >= MAX_CONNECTIONS:
            self._statistics.connections_refused += 1
            connection.abort()
            return
        if not connection.incoming and (encryption := connection.encryption) is not None:
            stranger = check_peer(connection.remote, encryption)
            if stranger is not None:
                connection.refuse(stranger)
                return
        self._open.add(connection)
        self._connections[connection.remote] = connection
        if self._next_sweep is None:
            self._next_sweep = self._clock() + SWEEP_INTERVAL
        self._user.on_connected(connection)

    def on_closed(self, connection: StreamConnection, error: ConnectionLost) -> None:
        if connection not in self._open:
            return
        self._open.discard(connection)
        if self._connections.get(connection.remote) is connection:
            del self._connections[connection.remote]
        if not self._open:
            self._none_open.set()
        self._user.on_closed(connection, error)

    def backlog(self) -> int:
        return self._user.backlog()

    def on_stream_message(self, message: Request | Response, connection: StreamConnection) -> None:
        self._user.on_stream_message(message, connection)

    def on_stream_garbage(self, data: bytes, error: MalformedMessage, connection: StreamConnection) -> None:
        self._user.on_stream_garbage(data, error, connection)

    def _new_connection(self, destination: Destination | None = None) -> StreamConnection:
        return StreamConnection(self._transport, self, self._clock, self._statistics, self._trace, destination)

    def _dial(self, destination: Destination) -> _Dialling:
        if self._closed or family_of(destination.host) not in self._servers:
            raise TransportNotListening(destination)
        if len(self) >= MAX_CONNECTIONS:
            self._statistics.connections_refused += 1
            raise SendError(destination, OSError(f"there are {MAX_CONNECTIONS} connections already, no more are made"))
        dialling = self._dialling[destination] = _Dialling()
        dialling.task = asyncio.get_running_loop().create_task(
            self._connect(destination, dialling), name=f"connect to {destination}"
        )
        return dialling

    async def _connect(self, destination: Destination, dialling: _Dialling) -> None:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                connection = await self._make_connection(destination)
        except ConnectError as error:
            self._fail(dialling, error)
        except ssl.SSLCertVerificationError as error:
            self._fail(dialling, TLSVerificationError.from_ssl(destination, error))
        except OSError as error:
            self._fail(dialling, ConnectError(destination, error))
        except ValueError as error:
            # A domain that cannot be a server name.
            self._fail(dialling, ConnectError(destination, OSError(str(error))))
        except asyncio.CancelledError:
            self._fail(dialling, ConnectError(destination, ConnectionAbortedError("the transport was closed")))
            raise
        else:
            self._flush(dialling, connection)
        finally:
            del self._dialling[destination]

    async def _make_connection(self, destination: Destination) -> StreamConnection:
        _, connection = await asyncio.get_running_loop().create_connection(
            lambda: self._new_connection(destination),
            destination.host,
            destination.port,
            local_addr=self._source(destination),
            **await self._encryption(destination),
        )
        if connection.refused is not None:
            raise connection.refused
        return connection

    async def _encryption(self, destination: Destination) -> dict[str, Any]:
        """What `create_connection` needs for TLS."""
        if self._security is None:
            return {}
        peer = destination.peer
        context = await self._security.client_context(peer.identity if peer else None)
        name = (peer and peer.server_name()) or destination.host
        # Raises ValueError for a name that cannot be one. The event loop would do so too, but tell nobody.
        context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname=name)
        return {
            "ssl": context,
            "server_hostname": name,
            "ssl_handshake_timeout": self._security.handshake_timeout,
            "ssl_shutdown_timeout": SHUTDOWN_TIMEOUT,
        }

    def _source(self, destination: Destination) -> Address | None:
        """The address to connect from: the one we listen on, unless that is all of them."""
        entry = self._servers.get(family_of(destination.host))
        return None if entry is None or is_wildcard(entry[1][0]) else (entry[1][0], 0)

    @staticmethod
    def _flush(dialling: _Dialling, connection: StreamConnection) -> None:
        for data, failed in dialling.queue:
            try:
                connection.send(data)
            except ConnectionLost as error:
                if failed is not None:
                    failed(error)

    @staticmethod
    def _fail(dialling: _Dialling, error: TransportError) -> None:
        for _, failed in dialling.queue:
            if failed is not None:
                failed(error)

    async def _wait_until_closed(self, timeout: float) -> None:
        self._none_open.clear()
        if self._open:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await self._none_open.wait()


def _listening_socket(address: str, port: int) -> socket.socket:
    family = family_of(address)
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setblocking(False)
        if os.name == "posix":
            # Connections of an earlier process may linger; Windows allows that anyway, and means theft by this option.
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind((address, port))
        bound.listen(_BACKLOG)
    except BaseException:
        bound.close()
        raise
    return bound
