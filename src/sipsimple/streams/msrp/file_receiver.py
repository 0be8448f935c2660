"""Takes a file off a session and stores it: writes in threads, slows the sender down, reports what is on the disk.

Success is reported for what was written, and for the last bytes only when the whole file is verified and in place. So
the sender knows of success exactly when the receiver has the file.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Final, Protocol

from sipsimple.msrp import ByteRange, MSRPData, status
from sipsimple.msrp.message import COMPLETE, MORE
from sipsimple.msrp.ranges import Coverage
from sipsimple.streams.msrp.fileselector import FileSelector
from sipsimple.streams.msrp.incoming_file import FileMismatch, FileTransferError, IncomingFile

__all__ = ["MAX_UNWRITTEN", "FileReceiver", "ReceivingSession"]

MAX_UNWRITTEN: Final = 2 * 1024 * 1024
"""Bytes that wait to be written when no more is read; half of it when more is."""


class ReceivingSession(Protocol):
    """What a receiver does with its MSRP session."""

    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...
    def refuse(self, message_id: str, code: int = ...) -> None: ...
    def report(self, chunk: MSRPData, code: int, byte_range: ByteRange, comment: str | None = None) -> None: ...


class FileReceiver:
    """Receives one file into `directory`: `prepare`, then `run`, and `receive` for each part that comes.

    `on_progress` is told the number of bytes of the file that are on the disk.
    """

    def __init__(
        self, directory: str | os.PathLike[str], selector: FileSelector, on_progress: Callable[[int], None]
    ) -> None:
        self.offset = 0
        """How many bytes are there from an earlier transfer."""
        self._directory = directory
        self._selector = selector
        self._on_progress = on_progress
        self._file: IncomingFile | None = None
        self._session: ReceivingSession | None = None
        self._last: MSRPData | None = None
        self._base: int | None = None  # where in the file the message begins
        self._end: int | None = None  # where it ends, once that is known
        self._received = Coverage()  # also what is not written yet
        self._waiting: list[tuple[int, MSRPData]] = []
        self._unwritten = 0
        self._is_paused = False
        self._failure: FileTransferError | None = None
        self._is_closing = False
        self._news = asyncio.Event()

    async def prepare(self) -> None:
        """Make room for the file, and see what is there; raises FileUnwritable. `run` does it if nobody did."""
        opening = asyncio.ensure_future(asyncio.to_thread(IncomingFile.open, self._directory, self._selector))
        try:
            self._file = await asyncio.shield(opening)
        except asyncio.CancelledError:
            self._file = await opening  # what a thread has opened has to be closed
            raise
        self.offset = self._file.offset

    def forget_earlier(self) -> None:
        """The sender cannot continue: take the file from its beginning."""
        if self._file is not None:
            self._file.restart()
            self.offset = 0

    def receive(self, session: ReceivingSession, chunk: MSRPData) -> None:
        """Take a part of the message; what is wrong with it is raised by `run`."""
        if self._failure is not None or self._is_closing:
            return
        self._session, self._last = session, chunk
        try:
            offset = self._place(chunk)
        except FileMismatch as error:
            self.fail(error)
            return
        self._received.add(offset, offset + len(chunk.data))
        self._waiting.append((offset, chunk))
        self._unwritten += len(chunk.data)
        if chunk.continuation == COMPLETE:
            self._end = offset + len(chunk.data)
        if self._unwritten >= MAX_UNWRITTEN and not self._is_paused:
            self._is_paused = True
            session.pause_reading()
        self._news.set()

    def _place(self, chunk: MSRPData) -> int:
        """Where in the file a part belongs; raises FileMismatch."""
        byte_range = chunk.byte_range
        if self._base is None:
            self._base = self._find_base(byte_range.total)
            self._received.add(0, self._base)
        offset = self._base + byte_range.start - 1
        size = self._selector.size
        if size is not None:
            announced = max(offset + len(chunk.data), self._base + (byte_range.total or 0))
            if announced > size:
                raise FileMismatch(f"more than the {size} bytes that were announced are coming")
        return offset

    def _find_base(self, total: int | None) -> int:
        """The sender goes on where we are, or does not know how to; the size of the message tells which."""
        size = self._selector.size
        if self.offset and total is not None and total == size:
            self.forget_earlier()
        return self.offset

    def fail(self, error: FileTransferError) -> None:
        """Have `run` raise this, after what came before was written."""
        self._failure = self._failure or error
        self._news.set()

    @property
    def has_everything(self) -> bool:
        """Whether all parts have come, though they may have to be written yet."""
        if self._failure is not None or self._end is None:
            return False
        return self._received.contains(0, self._end)

    def close(self) -> None:
        """Have `run` end with what has come so far."""
        self._is_closing = True
        self._news.set()

    async def run(self) -> str | None:
        """Store what comes until the file is in place, and give its path; None when `close` came before that.

        Raises FileTransferError, of `fail` too, and then the sender was told to stop. What can be continued is kept.
        """
        try:
            if self._file is None and not self._is_closing:
                await self.prepare()
            return None if self._file is None else await self._store(self._file)
        except FileTransferError as error:
            self._refuse(error)
            raise
        finally:
            self._is_closing = True
            self._waiting.clear()
            self._resume()
            if self._file is not None:
                await asyncio.to_thread(self._file.close)

    async def _store(self, file: IncomingFile) -> str | None:
        while True:
            await self._news.wait()
            self._news.clear()
            while self._waiting:
                batch, self._waiting = self._waiting, []
                await asyncio.to_thread(file.write, [(offset, chunk.data) for offset, chunk in batch])
                self._unwritten -= sum(len(chunk.data) for _, chunk in batch)
                if self._unwritten < MAX_UNWRITTEN // 2:
                    self._resume()
                self._on_progress(file.size)
                if self._end is not None and file.has(self._end):
                    path = await asyncio.to_thread(file.finish)
                    self._report(batch)
                    return path
                self._report(batch)
            if self._failure is not None:
                raise self._failure
            if self._is_closing:
                return None

    def _resume(self) -> None:
        if self._is_paused and self._session is not None:
            self._is_paused = False
            self._session.resume_reading()

    def _report(self, batch: list[tuple[int, MSRPData]]) -> None:
        """Report success for parts that are safe now, those that follow each other together (RFC 4975 7.1.2)."""
        start = end = 0
        last: MSRPData | None = None
        for _, chunk in batch:
            byte_range = chunk.byte_range
            if last is not None and byte_range.start != end + 1:
                self._report_range(last, start, end)
                last = None
            if last is None:
                start = byte_range.start
            last, end = chunk, byte_range.start - 1 + len(chunk.data)
        if last is not None:
            self._report_range(last, start, end)

    def _report_range(self, chunk: MSRPData, start: int, end: int) -> None:
        is_complete = chunk.continuation == COMPLETE
        if chunk.success_report == "yes" and self._session is not None and (end >= start or is_complete):
            total = end if is_complete else chunk.byte_range.total
            self._session.report(chunk, status.OK, ByteRange(start, end, total))

    def _refuse(self, error: FileTransferError) -> None:
        """Have the sender stop, and know that what it has sent is not here."""
        chunk, session = self._last, self._session
        if chunk is None or session is None:
            return
        if chunk.message_id is not None and chunk.continuation == MORE:
            session.refuse(chunk.message_id)
        if chunk.failure_report != "no":
            session.report(chunk, status.STOP_SENDING, chunk.byte_range, error.comment)
