"""The sending end of one connection: whose turn it is to write, and in which chunks (RFC 4975 5.1, 7.1.1).

A message goes out in pieces of 64 KiB inside a chunk of open end. Whenever something else waits, the chunk is
interrupted after the piece and the message queues up again, so that a large file and a short chat message share a
connection. Responses and reports go before messages.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from sipsimple.msrp.message import ABORTED, COMPLETE, MORE, ByteRange
from sipsimple.msrp.outgoing import OutgoingMessage

__all__ = ["PIECE_SIZE", "Sender"]

PIECE_SIZE: Final = 64 * 1024
ID_ATTEMPTS: Final = 8


class _OpenChunk:
    """The chunk that is on the wire now."""

    def __init__(self, message: OutgoingMessage, transaction_id: str) -> None:
        self.message = message
        self.transaction_id = transaction_id
        self.marker = b"-------" + transaction_id.encode()
        self.begin = message.sent
        self.tail = b""  # of the last piece, for an end line that would be spread over two


class Sender:
    """What waits for one connection. `new_id` gives a transaction id that nobody can guess, at each call another."""

    def __init__(self, new_id: Callable[[], str]) -> None:
        self._new_id = new_id
        self._complete: deque[bytes] = deque()
        self._messages: deque[OutgoingMessage] = deque()
        self._open: _OpenChunk | None = None

    def put_chunk(self, chunk: bytes) -> None:
        """Queue a chunk that is encoded already: a response, a report, a request that is no SEND."""
        self._complete.append(chunk)

    def put(self, message: OutgoingMessage) -> None:
        """Queue a message."""
        self._messages.append(message)

    def abort(self, message: OutgoingMessage) -> None:
        """Send no more of this message; when a part of it has gone, the remote is told so."""
        message.aborted = True
        if message.sent == 0 and message in self._messages:
            self._messages.remove(message)

    @property
    def is_idle(self) -> bool:
        """Whether everything has been handed out."""
        return self._open is None and not self._messages and not self._complete

    @property
    def is_between_chunks(self) -> bool:
        """Whether what is handed out next begins a chunk."""
        return self._open is None

    @property
    def waiting_chunks(self) -> int:
        """Complete chunks that wait. They are answers, so it is the remote that makes this grow."""
        return len(self._complete)

    @property
    def waiting_messages(self) -> list[OutgoingMessage]:
        """The messages that have not gone out whole, the one that is on the wire first."""
        return ([self._open.message] if self._open is not None else []) + list(self._messages)

    def next(self, now: float) -> list[bytes]:
        """The bytes to write next, to be joined; empty when nothing can go before something else happens."""
        if self._open is not None:
            return self._continue(self._open, now)
        if self._complete:
            return [self._complete.popleft()]
        for index, message in enumerate(self._messages):
            if message.is_ready():
                del self._messages[index]
                return self._start(message, now)
        return []

    def _start(self, message: OutgoingMessage, now: float) -> list[bytes]:
        stops = message.aborted or message.is_broken
        piece = b"" if stops else message.take(_limit(message))
        chunk = _OpenChunk(message, self._id_beside(piece))
        self._open = chunk
        message.transaction_id = chunk.transaction_id
        message.owner.chunk_started(message, chunk.transaction_id)
        ends = stops or message.is_at_end()
        is_known = ends or len(piece) == message.max_chunk_size
        head = [
            b"MSRP %b SEND\r\n" % chunk.transaction_id.encode(),
            message.prefix,
            _byte_range(message.sent, len(piece) if is_known else None, message.size),
        ]
        if message.content_type is not None:
            head.append(b"Content-Type: %b\r\n\r\n" % message.content_type.encode())
        output = [b"".join(head), *self._piece(chunk, piece, now)]
        if is_known and self._open is chunk:
            output += self._close(chunk, now)
        return output

    def _continue(self, chunk: _OpenChunk, now: float) -> list[bytes]:
        message = chunk.message
        if message.aborted or message.is_broken or message.is_at_end() or self._somebody_waits():
            return self._close(chunk, now)
        if not message.is_ready():
            return []
        gone = message.sent - chunk.begin
        output = self._piece(chunk, message.take(_limit(message, gone)), now)
        if self._open is chunk and (message.is_at_end() or message.sent - chunk.begin == message.max_chunk_size):
            output += self._close(chunk, now)
        return output

    def _piece(self, chunk: _OpenChunk, piece: bytes, now: float) -> list[bytes]:
        """Send a piece; where it would look like the end line, break the chunk inside that (RFC 4975 7.1)."""
        reach = len(chunk.marker) - 1
        found = (chunk.tail + piece[:reach]).find(chunk.marker)
        begin = found - len(chunk.tail) if found >= 0 else piece.find(chunk.marker)
        if found < 0 and begin < 0:
            chunk.tail = (chunk.tail + piece)[-reach:] if len(piece) < reach else piece[-reach:]
            chunk.message.sent += len(piece)
            return [piece] if piece else []
        cut = begin + reach  # at least 0, as all but the last byte of what was found may have gone
        chunk.message.put_back = piece[cut:]
        chunk.message.sent += cut
        return [piece[:cut], *self._close(chunk, now)]

    def _close(self, chunk: _OpenChunk, now: float) -> list[bytes]:
        message = chunk.message
        stops = message.aborted or message.is_broken
        flag = ABORTED if stops else COMPLETE if message.is_at_end() else MORE
        message.is_sent = flag == COMPLETE
        self._open = None
        if flag == MORE:
            self._messages.append(message)
        message.owner.chunk_ended(message, chunk.transaction_id, now)
        end = f"-------{chunk.transaction_id}{flag}\r\n".encode()
        return [end if message.content_type is None else b"\r\n" + end]

    def _somebody_waits(self) -> bool:
        return bool(self._complete) or any(message.is_ready() for message in self._messages)

    def _id_beside(self, piece: bytes) -> str:
        """A transaction id that the first piece does not hold; later pieces are checked as they go."""
        for _ in range(ID_ATTEMPTS):
            transaction_id = self._new_id()
            if transaction_id.encode() not in piece:
                return transaction_id
        raise RuntimeError("the transaction ids are all in the message: their source is not random")


def _limit(message: OutgoingMessage, gone: int = 0) -> int:
    """How large the next piece may be when the chunk has so many bytes already."""
    if message.max_chunk_size is None:
        return PIECE_SIZE
    return min(PIECE_SIZE, message.max_chunk_size - gone)


def _byte_range(sent: int, size: int | None, total: int | None) -> bytes:
    end = None if size is None else sent + size
    return f"Byte-Range: {ByteRange(sent + 1, end, total)}\r\n".encode()
