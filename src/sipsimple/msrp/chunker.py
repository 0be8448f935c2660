"""Finds the chunks in a stream of bytes, however it is cut (RFC 4975 7.1.1 and 9).

A chunk ends with a line that repeats its transaction id. Its body may hold anything else, and nothing announces its
length, so the search has to be right when the line is spread over reads, and when the body holds what looks like it.

A chunk of more than a segment is handed out as it comes in: memory does not grow with its size.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from sipsimple.msrp.errors import MalformedChunk
from sipsimple.msrp.message import MORE, START_LINE, MSRPData, parse_head

__all__ = ["MAX_CHUNK_SIZE", "MAX_HEAD_SIZE", "SEGMENT_SIZE", "Chunker"]

SEGMENT_SIZE: Final = 16 * 1024
"""A chunk with a larger body is handed out in segments of at least this size."""
MAX_HEAD_SIZE: Final = 16 * 1024
"""Bytes of a start line and its headers."""
MAX_CHUNK_SIZE: Final = 2**40
"""Bytes in the body of one SEND; how large a message may be is decided by the session."""
MAX_OTHER_BODY: Final = 16 * 1024
"""Bytes in the body of a request that is no SEND, or of a response."""

_PREFIX: Final = b"MSRP "
_FLAGS: Final = b"$+#"
_END: Final = b"\r\n-------"


class Chunker:
    """The receiving end of one connection. After a MalformedChunk it is of no more use."""

    def __init__(self, *, segment_size: int = SEGMENT_SIZE, max_chunk_size: int = MAX_CHUNK_SIZE) -> None:
        self._segment_size = segment_size
        self._max_chunk_size = max_chunk_size
        self._buffer = b""
        self._at = 0  # where in the buffer the rest of the head or of the body begins
        self._searched = 0  # up to here there is no end line
        self._head: MSRPData | None = None  # of the chunk whose body is being read
        self._end = b""  # what its end line begins with
        self._delivered = 0
        self._failure: MalformedChunk | None = None

    @property
    def in_chunk(self) -> bool:
        """Whether the stream has stopped in the middle of a chunk."""
        return self._head is not None or len(self._buffer) > self._at

    def feed(self, data: bytes) -> Iterator[MSRPData]:
        """Take what was received and yield the chunks, or segments of them, which that completes.

        Nothing is taken before the iteration begins. Raises MalformedChunk, after what came before it was yielded.
        """
        if self._failure is not None:
            raise self._failure
        self._buffer = self._buffer + data if self._buffer else bytes(data)
        try:
            while (chunk := self._next()) is not None:
                yield chunk
        except MalformedChunk as error:
            self._failure = error
            raise
        finally:
            done = min(self._at, self._searched) if self._head is not None else self._at
            self._buffer = self._buffer[done:]
            self._at -= done
            self._searched -= done

    def _next(self) -> MSRPData | None:
        return self._next_head() if self._head is None else self._next_segment(self._head)

    def _next_head(self) -> MSRPData | None:
        buffer, at = self._buffer, self._at
        line_end = buffer.find(b"\r\n", at, at + MAX_HEAD_SIZE)
        if line_end < 0:
            self._check_beginning(buffer[at : at + MAX_HEAD_SIZE])
            return None
        start = _start_line(buffer[at:line_end])
        end = _END + start[1].encode()
        # The end line first: it is near when there is no body, and then the search for a body must not go beyond it.
        end_at = buffer.find(end, line_end, at + MAX_HEAD_SIZE)
        blank_at = buffer.find(b"\r\n\r\n", line_end, end_at + 2 if end_at >= 0 else at + MAX_HEAD_SIZE)
        if blank_at >= 0:
            self._head = parse_head(buffer[at:blank_at], start)
            self._end = end
            self._delivered = 0
            self._at = blank_at + 4
            self._searched = blank_at + 2  # an empty body may do without a line of its own
            return self._next_segment(self._head)
        if end_at >= 0:
            tail = buffer[end_at + len(end) : end_at + len(end) + 3]
            if len(tail) == 3:
                return self._bare_chunk(parse_head(buffer[at:end_at], start), tail, end_at + len(end) + 3)
        elif len(buffer) - at > MAX_HEAD_SIZE:
            raise MalformedChunk(f"headers of more than {MAX_HEAD_SIZE} bytes")
        return None

    def _bare_chunk(self, chunk: MSRPData, tail: bytes, done: int) -> MSRPData:
        """A chunk without a body."""
        if not _is_tail(tail):
            raise MalformedChunk("an end line without a continuation flag")
        chunk.continuation = chr(tail[0])
        self._at = self._searched = done
        return chunk

    def _next_segment(self, head: MSRPData) -> MSRPData | None:
        buffer, size = self._buffer, len(self._end)
        found = buffer.find(self._end, self._searched)
        while found >= 0:
            tail = buffer[found + size : found + size + 3]
            if _is_tail(tail):
                return self._last_segment(head, found, chr(tail[0]), found + size + 3)
            if len(tail) < 3:
                break
            found = buffer.find(self._end, found + 1)
        safe = found if found >= 0 else max(self._searched, len(buffer) - size + 1)
        self._searched = safe
        available = safe - self._at
        if self._delivered + available > self._limit(head):
            raise MalformedChunk(f"a body of more than {self._limit(head)} bytes")
        if available < self._segment_size or head.method != "SEND":
            return None
        segment = head.segment(buffer[self._at : safe], self._delivered, MORE, ends_chunk=False)
        self._at = safe
        self._delivered += available
        return segment

    def _last_segment(self, head: MSRPData, end_at: int, flag: str, done: int) -> MSRPData:
        data = self._buffer[self._at : max(end_at, self._at)]
        if self._delivered + len(data) > self._limit(head):
            raise MalformedChunk(f"a body of more than {self._limit(head)} bytes")
        segment = head.segment(data, self._delivered, flag, ends_chunk=True)
        self._head = None
        self._at = self._searched = done
        return segment

    def _limit(self, head: MSRPData) -> int:
        return self._max_chunk_size if head.method == "SEND" else MAX_OTHER_BODY

    def _check_beginning(self, line: bytes) -> None:
        if line[: len(_PREFIX)] != _PREFIX[: len(line)]:
            raise MalformedChunk(f"{line[:40]!r} does not begin like MSRP")
        if len(line) >= MAX_HEAD_SIZE:
            raise MalformedChunk(f"a start line of more than {MAX_HEAD_SIZE} bytes")


def _start_line(line: bytes) -> re.Match[str]:
    start = START_LINE.fullmatch(line.decode(errors="replace"))
    if start is None:
        raise MalformedChunk(f"{line[:80]!r} is no start line")
    return start


def _is_tail(tail: bytes) -> bool:
    return len(tail) == 3 and tail[0] in _FLAGS and tail[1:] == b"\r\n"
