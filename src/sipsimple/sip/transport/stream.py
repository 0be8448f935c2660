"""One stream connection, TCP or TLS: bytes in, whole messages out (RFC 3261 18.3, RFC 5626 4.4.1).

The connection says by `deadline()` until when it may stay as it is; its owner ends it then. A remote that is slow to
complete a message, that does not answer a keep-alive or that does not read what it is sent costs bounded memory for a
bounded time.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Final, Protocol

from sipsimple.sip.errors import MalformedMessage
from sipsimple.sip.framing import KeepAlive, StreamParser
from sipsimple.sip.message import Request, Response
from sipsimple.sip.transport.address import Address, Destination, TransportName
from sipsimple.sip.transport.errors import ConnectError, ConnectionLost
from sipsimple.sip.transport.statistics import Statistics, TraceHook

MAX_WRITE_BUFFER: Final = 1024 * 1024
"""How many bytes may wait for one remote that does not read."""
MAX_BACKLOG: Final = 16 * 1024 * 1024
"""How many bytes may wait for all remotes together; beyond, whoever lets more than `FREE_BACKLOG` wait is cut off."""
FREE_BACKLOG: Final = 64 * 1024
"""How many bytes may wait for a remote whatever the others do: a message of the largest size."""

MESSAGE_TIMEOUT: Final = 10.0
"""How long a message may take from its first byte to its last, and a new incoming connection to its first message."""
PONG_TIMEOUT: Final = 10.0
IDLE_TIMEOUT: Final = 300.0
"""When an unused connection is closed; longer than an INVITE may ring, for its response wants to go back on it."""

_PING: Final = b"\r\n\r\n"
_PONG: Final = b"\r\n"


class StreamUser(Protocol):
    """Who takes what a connection receives."""

    def on_stream_message(self, message: Request | Response, connection: StreamConnection) -> None: ...
    def on_stream_garbage(self, data: bytes, error: MalformedMessage, connection: StreamConnection) -> None:
        """Take bytes whose framing could not be read; the connection closes itself once the answer has gone out."""

    def backlog(self) -> int:
        """The number of bytes that wait to be sent on all connections."""

    def on_connected(self, connection: StreamConnection) -> None: ...
    def on_closed(self, connection: StreamConnection, error: ConnectionLost) -> None: ...


class StreamConnection(asyncio.Protocol):
    """A connection with one remote address, incoming or outgoing."""

    reliable: Final = True

    def __init__(
        self,
        transport: TransportName,
        user: StreamUser,
        clock: Callable[[], float],
        statistics: Statistics,
        trace: TraceHook,
        destination: Destination | None = None,
    ) -> None:
        """`destination` is whom we connect to; None when the remote connects to us."""
        self.transport: TransportName = transport
        self.incoming = destination is None
        self.local: Address = ("", 0)
        self.remote = destination or Destination(transport, "", 0)
        self.refused: ConnectError | None = None
        self._user = user
        self._clock = clock
        self._statistics = statistics
        self._trace = trace
        self._parser = StreamParser()
        self._writer: asyncio.Transport | None = None
        self._last_used = clock()
        self._incomplete_since: float | None = self._last_used if self.incoming else None
        self._pinged_at: float | None = None
        self._end: OSError | None = None

    @property
    def is_open(self) -> bool:
        return self._writer is not None and not self._writer.is_closing()

    @property
    def backlog(self) -> int:
        """The number of bytes that wait to be sent."""
        return self._writer.get_write_buffer_size() if self._writer is not None else 0

    def deadline(self) -> float:
        """When this connection is to be ended unless something happens on it."""
        deadline = self._last_used + IDLE_TIMEOUT
        if self._incomplete_since is not None:
            deadline = min(deadline, self._incomplete_since + MESSAGE_TIMEOUT)
        if self._pinged_at is not None:
            deadline = min(deadline, self._pinged_at + PONG_TIMEOUT)
        return deadline

    def send(self, data: bytes, address: Address | None = None) -> None:
        """Write a message; raises ConnectionLost when closed, or when the remote does not take what we send.

        `address` is ignored; it makes this method serve where a UDP socket's does.
        """
        self._write(data)
        if self._trace.call is not None:
            self._trace.call(False, self.transport.upper(), self.local, self.remote.address, data)

    def ping(self) -> None:
        """Send a keep-alive; a remote that answers nothing within `PONG_TIMEOUT` is taken for lost (RFC 5626 4.4.1)."""
        self._write(_PING)
        if self._pinged_at is None:
            self._pinged_at = self._clock()

    def nudge(self) -> None:
        """Send a keep-alive that nobody need answer."""
        self._write(_PING)

    def expire(self) -> None:
        """End the connection because its deadline has passed."""
        if self._pinged_at is None and self._incomplete_since is None:
            self._statistics.connections_idle_closed += 1
            self.close()
        else:
            self._statistics.connections_timed_out += 1
            self._abort(TimeoutError("it was silent for too long"))

    @property
    def encryption(self) -> ssl.SSLObject | None:
        """The state of TLS; None without it, and before and after the connection."""
        return self._writer.get_extra_info("ssl_object") if self._writer is not None else None

    def refuse(self, error: ConnectError) -> None:
        """Close at once, because the remote is not whom we want."""
        self.refused = error
        self.abort()

    def close(self) -> None:
        """Close once what was written has gone out."""
        if self._writer is not None:
            self._writer.close()

    def abort(self) -> None:
        """Close at once."""
        if self._writer is not None:
            self._writer.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._writer = transport
        transport.set_write_buffer_limits(high=MAX_WRITE_BUFFER)
        local, remote = transport.get_extra_info("sockname"), transport.get_extra_info("peername")
        if not local or not remote:
            # It was gone again before the event loop came to it.
            transport.abort()
            return
        self.local = local[:2]
        if self.incoming:
            self.remote = Destination(self.transport, *remote[:2])
        self._user.on_connected(self)

    def data_received(self, data: bytes) -> None:
        self._last_used = now = self._clock()
        self._pinged_at = None
        try:
            # The parser raises only when asked again after the last good message.
            while items := self._parser.feed(data):
                self._incomplete_since = None
                for item in items:
                    self._take(item)
                    if not self.is_open:
                        return
                data = b""
        except MalformedMessage as error:
            self._user.on_stream_garbage(self._parser.rejected, error, self)
            self.close()
            return
        if not self._parser.incomplete:
            self._incomplete_since = None
        elif self._incomplete_since is None:
            self._incomplete_since = now

    def _take(self, item: Request | Response | KeepAlive) -> None:
        if not isinstance(item, KeepAlive):
            self._user.on_stream_message(item, self)
        elif item is KeepAlive.PING:
            self._statistics.keep_alives += 1
            self._answer_ping()

    def connection_lost(self, exc: Exception | None) -> None:
        self._writer = None
        error = exc if isinstance(exc, OSError) else self._end
        self._user.on_closed(self, ConnectionLost(self.remote, error))

    def _write(self, data: bytes) -> None:
        writer = self._writer
        if writer is None or writer.is_closing():
            raise ConnectionLost(self.remote)
        waiting = writer.get_write_buffer_size()
        if waiting + len(data) > MAX_WRITE_BUFFER or (waiting > FREE_BACKLOG and self._user.backlog() > MAX_BACKLOG):
            self._statistics.connections_overrun += 1
            error = BlockingIOError("it does not take what is sent to it")
            self._abort(error)
            raise ConnectionLost(self.remote, error)
        writer.write(data)
        self._last_used = self._clock()

    def _answer_ping(self) -> None:
        try:
            self._write(_PONG)
        except ConnectionLost:
            return  # its end is told by `connection_lost`

    def _abort(self, error: OSError) -> None:
        self._end = error
        self.abort()
