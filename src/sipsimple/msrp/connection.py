"""One TCP or TLS connection and the sessions that share it (RFC 4975 5.4), on asyncio.

Back-pressure goes both ways. Pieces are taken from the sender only while the socket takes them; nothing is read while a
session does not want more, or while our own answers pile up because the remote does not read them.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import ssl
from collections.abc import Callable
from typing import Final, NamedTuple

from sipsimple.msrp import status
from sipsimple.msrp.channel import MSRPSession
from sipsimple.msrp.chunker import Chunker
from sipsimple.msrp.errors import MalformedChunk, MSRPTimeoutError, SessionClosed
from sipsimple.msrp.message import MSRPData
from sipsimple.msrp.sender import Sender
from sipsimple.msrp.session import encode_response
from sipsimple.msrp.trace import ConnectionTracer, Hooks, Statistics
from sipsimple.msrp.uri import MSRPURI

__all__ = ["Address", "MSRPConnection", "new_transaction_id"]

WRITE_BUFFER: Final = 256 * 1024
BATCH_SIZE: Final = 64 * 1024
TURN_SIZE: Final = 1024 * 1024
"""Bytes written before others in the event loop have their turn."""
MAX_WAITING_ANSWERS: Final = 256
MAX_ROUTES: Final = 64
LINGER_TIMEOUT: Final = 2.0
"""Seconds for the remote to close its side after we have closed ours."""


class Address(NamedTuple):
    """One end of a connection."""

    host: str
    port: int


Finder = Callable[[MSRPURI, MSRPData], MSRPSession | int]
"""Finds the session that a connection from outside is for, by its URI and first chunk; else the status to answer."""


def new_transaction_id() -> str:
    """64 random bits in hex; nobody can guess them, so no body can hold them but by accident."""
    return secrets.token_hex(8)


class MSRPConnection(asyncio.Protocol):
    """A connection; made by `open_connection` or a `Listener`.

    It lives as long as a session uses it, or somebody else holds it by `hold`.
    """

    def __init__(
        self, *, hooks: Hooks | None = None, statistics: Statistics | None = None, find: Finder | None = None
    ) -> None:
        self.statistics = statistics or Statistics()
        self.sender = Sender(new_transaction_id)
        self.sessions: dict[MSRPURI, MSRPSession] = {}
        self.first_session: asyncio.Future[MSRPSession] = asyncio.get_running_loop().create_future()
        """Done when the connection belongs to a session."""
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the connection is gone, whoever has closed it."""
        self.local_address = self.peer_address = Address("", 0)
        self._loop = asyncio.get_running_loop()
        self._hooks = hooks or Hooks()
        self._find = find
        self._transport: asyncio.Transport | None = None
        self._chunker = Chunker()
        self._routes: dict[str, MSRPSession] = {}
        self._waiting: dict[str, asyncio.Future[MSRPData]] = {}
        self._holders = 0
        self._is_writable = True
        self._is_reading = True
        self._is_closing = False
        self._error: Exception | None = None
        self._pump_handle: asyncio.Handle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._tracer = ConnectionTracer(self, self._hooks) if self._hooks.trace is not None else None

    # The users: sessions, the relay client, listeners

    @property
    def is_open(self) -> bool:
        """Whether sessions can still join."""
        return self._transport is not None and not self._is_closing and not self.closed.done()

    @property
    def peer_certificate(self) -> bytes | None:
        """The certificate of the remote as DER; None without TLS, or when it has shown none."""
        tls = None if self._transport is None else self._transport.get_extra_info("ssl_object")
        certificate = None if tls is None else tls.getpeercert(binary_form=True)
        return certificate if isinstance(certificate, bytes) else None

    def add(self, session: MSRPSession) -> None:
        """Let a session use this connection; raises SessionClosed when that is gone."""
        if not self.is_open:
            raise SessionClosed("the connection is closed")
        self.sessions[session.local_uri] = session
        session.attached(self)
        if not self.first_session.done():
            self.first_session.set_result(session)
        self.schedule_pump()

    async def remove(self, session: MSRPSession) -> None:
        """Forget a session; the last one takes the connection with it."""
        self.sessions.pop(session.local_uri, None)
        self._routes.clear()
        self._update_reading()
        if not self.sessions and not self._holders:
            await self.close()

    def hold(self) -> None:
        """Keep the connection without a session, until `release`."""
        self._holders += 1

    async def release(self) -> None:
        """Take back one `hold`."""
        self._holders -= 1
        if not self.sessions and not self._holders:
            await self.close()

    async def request(self, chunk: MSRPData, timeout: float) -> MSRPData:
        """Send a request that belongs to no session (AUTH) and wait for its response.

        Raises MSRPTimeoutError after `timeout` seconds, SessionClosed when the connection is lost.
        """
        if not self.is_open:
            raise SessionClosed("the connection is closed")
        waiter: asyncio.Future[MSRPData] = self._loop.create_future()
        self._waiting[chunk.transaction_id] = waiter
        self.sender.put_chunk(chunk.encode())
        self.schedule_pump()
        try:
            async with asyncio.timeout(timeout):
                return await waiter
        except TimeoutError as error:
            raise MSRPTimeoutError(*self.peer_address, f"the answer to {chunk.method}", timeout) from error
        finally:
            self._waiting.pop(chunk.transaction_id, None)

    async def close(self) -> None:
        """Close both ways: what was written arrives, and what the remote still says is dropped. Takes 2 s at most."""
        if not self._is_closing:
            self._is_closing = True
            if self._transport is not None and not self.closed.done():
                self._update_reading()
                # With unread data in the socket a plain close would take what is on its way to the remote with it.
                if self._transport.can_write_eof():
                    self._transport.write_eof()
                else:
                    self._transport.close()
        if self._transport is not None:
            await asyncio.wait([self.closed], timeout=LINGER_TIMEOUT)
            self._transport.abort()
            await asyncio.wait([self.closed], timeout=LINGER_TIMEOUT)

    def abort(self, error: Exception) -> None:
        """End the connection at once; this is why."""
        self._error = self._error or error
        self._is_closing = True
        if self._transport is not None:
            self._transport.abort()

    # asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.set_write_buffer_limits(WRITE_BUFFER)
        self.local_address = _address(transport.get_extra_info("sockname"))
        self.peer_address = _address(transport.get_extra_info("peername"))

    def data_received(self, data: bytes) -> None:
        self.statistics.bytes_received += len(data)
        if self._is_closing:
            return
        now = self._loop.time()
        try:
            for chunk in self._chunker.feed(data):
                self._receive(chunk, now)
        except MalformedChunk as error:
            self.statistics.malformed += 1
            self._log(f"connection with {self.peer_address.host} given up: {error}", logging.WARNING)
            self.abort(error)
            return
        self._pump()

    def eof_received(self) -> bool:
        if self._chunker.in_chunk and not self._is_closing:
            self._error = ConnectionResetError("the connection was closed in the middle of a chunk")
        return False

    def pause_writing(self) -> None:
        self._is_writable = False

    def resume_writing(self) -> None:
        self._is_writable = True
        self._pump()

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_closing = True
        for handle in (self._timer, self._pump_handle):
            if handle is not None:
                handle.cancel()
        error = self._error or _reason(exc)
        for waiter in self._waiting.values():
            if not waiter.done():
                waiter.set_exception(SessionClosed(f"the connection was lost: {error or 'closed by the remote'}"))
        sessions, self.sessions = list(self.sessions.values()), {}
        for session in sessions:
            session.disconnected(error)
        self.first_session.cancel()
        if not self.closed.done():
            self.closed.set_result(None)

    # Inwards

    def _receive(self, chunk: MSRPData, now: float) -> None:
        if chunk.ends_chunk:
            self.statistics.chunks_received += 1
        if self._tracer is not None:
            self._tracer.received(chunk)
        if chunk.code is not None and (waiter := self._waiting.get(chunk.transaction_id)) is not None:
            if not waiter.done():
                waiter.set_result(chunk)
            return
        session = self._routes.get(chunk.headers.get("To-Path", "")) or self._route(chunk)
        if session is not None:
            session.receive(chunk, now)

    def _route(self, chunk: MSRPData) -> MSRPSession | None:
        try:
            uri = chunk.to_path[0]
        except MalformedChunk:
            # The only session there is can say that this is a bad request; among several nobody can.
            if len(self.sessions) == 1:
                return next(iter(self.sessions.values()))
            self.statistics.unroutable += 1
            return None
        session = self.sessions.get(uri)
        if session is None:
            found = self._find(uri, chunk) if self._find is not None and chunk.code is None else status.NO_SESSION
            if isinstance(found, int):
                self._refuse(chunk, found)
                return None
            session = found
            self.add(session)
        if len(self._routes) >= MAX_ROUTES:
            self._routes.clear()
        self._routes[chunk.headers["To-Path"]] = session
        return session

    def _refuse(self, chunk: MSRPData, code: int) -> None:
        """Answer a chunk that is for none of our sessions."""
        self.statistics.unroutable += 1
        wants_answer = chunk.method not in {None, "REPORT"} and (chunk.method != "SEND" or chunk.failure_report != "no")
        if wants_answer and chunk.starts_chunk and "From-Path" in chunk.headers:
            own = chunk.headers["To-Path"].partition(" ")[0]
            self.sender.put_chunk(encode_response(chunk, code, own, ""))

    def _update_reading(self) -> None:
        wants = self._is_closing or (
            self.sender.waiting_chunks < MAX_WAITING_ANSWERS
            and not any(session.is_reading_paused for session in self.sessions.values())
        )
        if self._transport is not None and wants != self._is_reading and not self._transport.is_closing():
            self._is_reading = wants
            if wants:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()

    # Outwards

    def schedule_pump(self) -> None:
        """Write what waits, soon; what comes until then goes out together."""
        if self._pump_handle is None and self._transport is not None:
            self._pump_handle = self._loop.call_soon(self._pump)

    def reading_changed(self) -> None:
        """A session wants more, or no more for now."""
        self._update_reading()

    def _pump(self) -> None:
        if self._pump_handle is not None:
            self._pump_handle.cancel()
            self._pump_handle = None
        if self._transport is None or self._is_closing:
            return
        now = self._loop.time()
        written = 0
        while self._is_writable and written < TURN_SIZE:
            begins_chunk = self.sender.is_between_chunks
            if not (batch := self._batch(now)):
                break
            written += len(batch)
            if self._tracer is not None:
                self._tracer.sent(batch, begins_chunk=begins_chunk)
            self._transport.write(batch)
        self.statistics.bytes_sent += written
        for session in list(self.sessions.values()):
            session.after_writing()
        if written >= TURN_SIZE and self._is_writable:
            self.schedule_pump()
        self._update_reading()
        self._arm()

    def _batch(self, now: float) -> bytes:
        output: list[bytes] = []
        size = 0
        while size < BATCH_SIZE and (piece := self.sender.next(now)):
            output += piece
            size += sum(map(len, piece))
        return b"".join(output)

    # The clock

    def _arm(self) -> None:
        wakes = [wake for session in self.sessions.values() if (wake := session.machine.next_wake()) is not None]
        if wakes and (self._timer is None or self._timer.when() > min(wakes)):
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_at(min(wakes), self._wake)

    def _wake(self) -> None:
        self._timer = None
        now = self._loop.time()
        for session in list(self.sessions.values()):
            session.machine.wake(now)
        self._pump()

    def _log(self, message: str, level: int) -> None:
        if self._hooks.log is not None:
            self._hooks.log(message, level)


def _address(name: object) -> Address:
    if isinstance(name, tuple) and len(name) >= 2:
        return Address(str(name[0]), int(name[1]))
    return Address("", 0)


def _reason(error: Exception | None) -> Exception | None:
    if isinstance(error, ssl.SSLError):
        return ConnectionResetError(f"TLS failed: {error.reason or error}")
    return error
