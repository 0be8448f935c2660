"""Where one message ends and the next begins on a stream (RFC 3261 18.3), and the keep-alives between (RFC 5626 3.5.1).

The parser reads no more of a message than its Content-Length and holds at most one. When the stream cannot be followed
any further there is no way to find the next message, so the connection has to be closed.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Final

from sipsimple.sip.errors import MalformedMessage
from sipsimple.sip.message import MAX_MESSAGE_SIZE

__all__ = ["MAX_HEAD_SIZE", "KeepAlive", "Ping", "Pong", "StreamParser"]

MAX_HEAD_SIZE: Final = 32768
"""The most bytes from the start line to the empty line."""

_END: Final = b"\r\n\r\n"
_CONTENT_LENGTH: Final = re.compile(rb"\r\n(?:content-length|l)[ \t]*:((?:[^\r]|\r\n[ \t])*)(?=\r\n|\Z)", re.IGNORECASE)


class KeepAlive(Enum):
    """A keep-alive between messages.

    One line end is a pong, two are a ping, and a stream does not tell one ping from two pongs. So each odd line end in
    a row is reported as a pong and each even one as a ping, however the bytes were cut: the side that sends pings takes
    either for the answer, the other side answers pings.
    """

    PONG = "CR LF"
    PING = "CR LF CR LF"


Ping: Final = KeepAlive.PING
Pong: Final = KeepAlive.PONG


class StreamParser:
    """Takes the bytes of one connection in any cuts and returns the bytes of each message in them."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._scanned = 0
        self._line_ends = 0
        self._size: int | None = None
        self._failure: MalformedMessage | None = None

    @property
    def pending(self) -> int:
        """The number of bytes held back for want of the rest of their message."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[bytes | KeepAlive]:
        """Take more bytes; return what is complete, in the order it came.

        Raises `MalformedMessage` when the stream cannot be followed: a message without Content-Length, or above
        `MAX_HEAD_SIZE` or `MAX_MESSAGE_SIZE`. What was complete before is returned first; the call after raises.
        """
        found: list[bytes | KeepAlive] = []
        if self._failure is None:
            self._buffer += data
            try:
                while (item := self._next()) is not None:
                    found.append(item)
            except MalformedMessage as failure:
                self._failure = failure
                self._buffer.clear()
        if self._failure is not None and not found:
            raise self._failure
        return found

    def _next(self) -> bytes | KeepAlive | None:
        if self._size is None:
            if self._buffer[:1] in {b"\r", b"\n"}:
                return self._line_end()
            self._size = self._measure()
        if self._size is None or len(self._buffer) < self._size:
            return None
        message = bytes(self._buffer[: self._size])
        del self._buffer[: self._size]
        self._size = None
        return message

    def _line_end(self) -> KeepAlive | None:
        if self._buffer == b"\r":
            return None
        if self._buffer[:2] != b"\r\n":
            raise MalformedMessage("a line end between messages must be CR LF")
        del self._buffer[:2]
        self._line_ends += 1
        return Pong if self._line_ends % 2 else Ping

    def _measure(self) -> int | None:
        """Return the size of the message that the buffer begins with, once its headers are complete."""
        end = self._buffer.find(_END, self._scanned)
        if end > MAX_HEAD_SIZE or (end < 0 and len(self._buffer) > MAX_HEAD_SIZE + len(_END)):
            raise MalformedMessage(f"the headers take more than {MAX_HEAD_SIZE} bytes", status=513)
        if end < 0:
            # The end may begin in the last three bytes.
            self._scanned = max(0, len(self._buffer) - len(_END) + 1)
            return None
        size = end + len(_END) + _content_length(bytes(self._buffer[:end]))
        if size > MAX_MESSAGE_SIZE:
            raise MalformedMessage(f"the message is larger than {MAX_MESSAGE_SIZE} bytes", status=513)
        self._scanned = 0
        self._line_ends = 0
        return size


def _content_length(head: bytes) -> int:
    values = {value.strip() for value in _CONTENT_LENGTH.findall(head)}
    if len(values) != 1:
        raise MalformedMessage("a message on a stream must have one Content-Length")
    digits = values.pop()
    if not digits.isdigit() or len(digits) > 10:
        raise MalformedMessage(f"not a Content-Length: {digits[:20]!r}")
    return int(digits)
