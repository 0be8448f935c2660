"""The face of one session for asyncio programs: send, be told, wait, close (RFC 4975).

Everything that happens is an event for `on_event`, called in the event loop in the order in which it happened. Who
cannot take more says `pause_reading`; bodies of files are read in threads, no faster than the remote takes them.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from sipsimple.msrp import status
from sipsimple.msrp.assembly import Assembler
from sipsimple.msrp.errors import BindRefused, SessionClosed
from sipsimple.msrp.events import BindFailed, Bound, Disconnected, Event, ResponseReceived
from sipsimple.msrp.message import ByteRange, MSRPData
from sipsimple.msrp.outgoing import OutgoingMessage, SuppliedBody
from sipsimple.msrp.session import SessionMachine, State

if TYPE_CHECKING:
    from sipsimple.msrp.connection import MSRPConnection
    from sipsimple.msrp.uri import MSRPURI

__all__ = ["CLOSE_TIMEOUT", "MSRPSession", "Readable", "SessionOptions"]

CLOSE_TIMEOUT: Final = 5.0
"""Seconds that `close` gives to messages that wait to be written."""


class Readable(Protocol):
    """A binary file, or what reads like one. `read` is called in a thread; it may block."""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes; empty at the end."""
        ...


@dataclass(frozen=True, slots=True)
class SessionOptions:
    """What a session accepts; the arguments of `SessionMachine` say more.

    With `assemble` DataReceived brings whole messages, of at most `max_message_size` bytes (None: 10 MiB), else the
    parts as they come. What is sent goes in chunks of at most `max_chunk_size` bytes; None: as long as nobody waits.
    """

    accept_types: Collection[str] = ("*",)
    max_message_size: int | None = None
    max_chunk_size: int | None = None
    assemble: bool = False
    screen: Callable[[MSRPData], int] | None = None
    report_success: bool = True
    methods: Collection[str] = ()


class MSRPSession:
    """A session between `local_path` and `remote_path`, the paths of the two SDPs."""

    def __init__(
        self,
        local_path: Sequence[MSRPURI],
        remote_path: Sequence[MSRPURI],
        on_event: Callable[[Event], None],
        *,
        new_id: Callable[[], str],
        options: SessionOptions | None = None,
    ) -> None:
        options = options or SessionOptions()
        assembler = None
        if options.assemble:
            assembler = Assembler() if options.max_message_size is None else Assembler(options.max_message_size)
        self.machine = SessionMachine(
            local_path,
            remote_path,
            new_id=new_id,
            accept_types=options.accept_types,
            max_message_size=options.max_message_size,
            max_chunk_size=options.max_chunk_size,
            assembler=assembler,
            screen=options.screen,
            report_success=options.report_success,
            methods=options.methods,
        )
        self.connection: MSRPConnection | None = None
        self.is_reading_paused = False
        self._on_event = on_event
        self._loop = asyncio.get_running_loop()
        self._bound: asyncio.Future[None] = self._loop.create_future()
        self._bound.add_done_callback(_retrieve)  # nobody has to wait for it
        self._flushing: list[asyncio.Future[None]] = []
        self._requests: dict[str, asyncio.Future[MSRPData | None]] = {}
        self._readers: list[_Reader] = []
        self._is_over = False

    # The user

    @property
    def local_path(self) -> tuple[MSRPURI, ...]:
        return self.machine.local_path

    @property
    def remote_path(self) -> tuple[MSRPURI, ...]:
        return self.machine.remote_path

    @property
    def local_uri(self) -> MSRPURI:
        """Our own URI, the last of the path."""
        return self.machine.local_uri

    async def bound(self) -> None:
        """Wait until messages can flow. Raises BindRefused, or SessionClosed when it came to an end before."""
        await asyncio.shield(self._bound)

    def send(
        self,
        body: bytes | Readable,
        content_type: str,
        *,
        size: int | None = None,
        message_id: str | None = None,
        success_report: bool = False,
        failure_report: str = "yes",
        headers: dict[str, str] | None = None,
    ) -> OutgoingMessage:
        """Queue a message. A file is read from where it stands, `size` bytes or to its end, and stays the caller's.

        Returns at once; what becomes of the message comes as events. Raises SessionClosed, and ValueError for
        impossible headers or a message id that is in use.
        """
        message = self.machine.send(
            body if isinstance(body, bytes) else SuppliedBody(size),
            content_type,
            message_id=message_id,
            success_report=success_report,
            failure_report=failure_report,
            headers=headers,
        )
        if not isinstance(body, bytes):
            self._readers.append(_Reader(body, message, self._wrote_something))
        self._wrote_something()
        return message

    def abort(self, message: OutgoingMessage) -> None:
        """Give up a message of ours; the remote is told when a part of it has gone."""
        self.machine.abort(message)
        self._wrote_something()

    def refuse(self, message_id: str, code: int = status.STOP_SENDING) -> None:
        """Answer the rest of a message that is coming in with this status, and drop it."""
        self.machine.refuse(message_id, code)

    def respond(self, chunk: MSRPData, code: int, comment: str | None = None) -> None:
        """Answer a RequestReceived."""
        self.machine.respond(chunk, code, comment)
        self._wrote_something()

    def report(self, chunk: MSRPData, code: int, byte_range: ByteRange, comment: str | None = None) -> None:
        """Send a REPORT about the message that this chunk is of; nothing when the session has ended."""
        if self.connection is not None:
            self.machine.report(chunk, code, byte_range, comment)
            self._wrote_something()

    def keep_alive(self) -> OutgoingMessage:
        """Send a message without a body; without an answer within 30 s it becomes MessageFailed."""
        message = self.machine.keep_alive()
        self._wrote_something()
        return message

    async def request(self, method: str, headers: dict[str, str]) -> MSRPData | None:
        """Send a request such as NICKNAME and wait for its response; None when none came within 30 s."""
        transaction_id = self.machine.request(method, headers, self._loop.time())
        waiter: asyncio.Future[MSRPData | None] = self._loop.create_future()
        self._requests[transaction_id] = waiter
        self._wrote_something()
        try:
            return await waiter
        finally:
            self._requests.pop(transaction_id, None)

    def pause_reading(self) -> None:
        """Take no more, until `resume_reading`; what was read already still comes: at most 256 KiB.

        All sessions of the connection wait meanwhile.
        """
        self._set_reading_paused(paused=True)

    def resume_reading(self) -> None:
        """Take more."""
        self._set_reading_paused(paused=False)

    async def flush(self) -> None:
        """Wait until everything that was queued so far or meanwhile has been written, or cannot be any more."""
        if self.connection is None or self.machine.state is not State.READY:
            return
        flushed: asyncio.Future[None] = self._loop.create_future()
        self._flushing.append(flushed)
        self._wrote_something()
        await flushed

    async def close(self, timeout: float = CLOSE_TIMEOUT) -> None:
        """Write what waits, then end; the last event is Disconnected.

        Takes at most `timeout` seconds, and 4 s to close a connection that nobody else uses.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self.flush()
        connection, self.connection = self.connection, None
        self._end("the session was closed", None)
        if connection is not None:
            await connection.remove(self)

    def hand_out(self, events: list[Event]) -> None:
        """Call `on_event` for each; what a handler raises is the loop's to show, and the other events still come."""
        for event in events:
            try:
                self._on_event(event)
            except Exception as error:  # noqa: BLE001
                context = {"message": f"the handler of {type(event).__name__} failed", "exception": error}
                self._loop.call_exception_handler(context)

    # The connection

    def attached(self, connection: MSRPConnection) -> None:
        """The connection of this session is there."""
        self.connection = connection
        if self.machine.state is State.WAITING:
            self.machine.attach(connection.sender)
        elif self.machine.state is State.NEW:
            self.machine.bind(connection.sender)

    def receive(self, chunk: MSRPData, now: float) -> None:
        """A chunk for this session has come."""
        self.machine.receive(chunk, now)
        self._tell()

    def after_writing(self) -> None:
        """The connection has written what it could, or time has passed."""
        self._tell()
        self._readers = [reader for reader in self._readers if reader.proceed()]
        if self._flushing and self._is_flushed():
            self._wake_flushing()

    def disconnected(self, error: Exception | None) -> None:
        """The connection is gone."""
        self.connection = None
        self._end(f"the connection was lost: {error}" if error is not None else "the connection was closed", error)

    def _is_flushed(self) -> bool:
        sender = self.connection.sender if self.connection is not None else None
        if sender is None:
            return True
        return not sender.waiting_chunks and all(
            entry.owner is not self.machine.ledger for entry in sender.waiting_messages
        )

    def _wake_flushing(self) -> None:
        flushing, self._flushing = self._flushing, []
        for waiter in flushing:
            if not waiter.done():
                waiter.set_result(None)

    def _end(self, reason: str, error: Exception | None) -> None:
        if self._is_over:
            return
        self._is_over = True
        self.machine.close(reason)
        self._tell()
        self._readers.clear()
        if not self._bound.done():
            self._bound.set_exception(SessionClosed(reason))
        self._wake_flushing()
        last: list[Event] = [Disconnected(error)]
        self._loop.call_soon(self.hand_out, last)

    def _tell(self) -> None:
        if not self.machine.events:
            return
        events = list(self.machine.events)
        self.machine.events.clear()
        for event in events:
            if isinstance(event, ResponseReceived):
                waiter = self._requests.get(event.transaction_id)
                if waiter is not None and not waiter.done():
                    waiter.set_result(event.chunk)
            elif isinstance(event, Bound) and not self._bound.done():
                self._bound.set_result(None)
            elif isinstance(event, BindFailed) and not self._bound.done():
                self._bound.set_exception(BindRefused("SEND", event.code, event.comment))
        self._loop.call_soon(self.hand_out, events)

    def _wrote_something(self) -> None:
        if self.connection is not None:
            self.connection.schedule_pump()
        else:
            self._tell()

    def _set_reading_paused(self, *, paused: bool) -> None:
        self.is_reading_paused = paused
        if self.connection is not None:
            self.connection.reading_changed()


class _Reader:
    """Reads the file of one message block by block, each in a thread, while the message wants more."""

    def __init__(self, file: Readable, message: OutgoingMessage, on_progress: Callable[[], None]) -> None:
        assert isinstance(message.body, SuppliedBody)
        self._file = file
        self._message = message
        self._body = message.body
        self._on_progress = on_progress
        self._reading = False

    def proceed(self) -> bool:
        """Read on if that is wanted; whether there will be more to do."""
        if self._message.outcome or self._body.is_at_end() or self._body.problem is not None:
            return self._reading
        if not self._reading and (wanted := self._body.wants):
            self._reading = True
            read = asyncio.get_running_loop().run_in_executor(None, self._file.read, wanted)
            read.add_done_callback(self._has_read)
        return True

    def _has_read(self, read: asyncio.Future[bytes]) -> None:
        self._reading = False
        if read.cancelled():
            self._body.fail("the file could not be read: the program is ending")
        elif (error := read.exception()) is not None:
            self._body.fail(f"the file could not be read: {error}")
            if not isinstance(error, OSError | ValueError):
                context = {"message": "reading a file to send failed", "exception": error}
                read.get_loop().call_exception_handler(context)
        else:
            self._body.supply(read.result())
        self._on_progress()


def _retrieve(future: asyncio.Future[None]) -> None:
    if not future.cancelled():
        future.exception()
