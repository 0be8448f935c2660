"""Where one message ends and the next begins on a stream (RFC 3261 18.3), and the keep-alives between (RFC 5626 3.5.1).

The parser holds at most one message. When the stream cannot be followed any further there is no way to find the next
message, so the connection has to be closed.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from sipsimple.sip.errors import MalformedMessage
from sipsimple.sip.message import MAX_MESSAGE_SIZE, Request, Response, parse_head

__all__ = ["MAX_HEAD_SIZE", "KeepAlive", "StreamParser"]

MAX_HEAD_SIZE: Final = 32768
"""The most bytes from the start line to the empty line."""

_END: Final = b"\r\n\r\n"


class KeepAlive(Enum):
    """A keep-alive between messages.

    One line end is a pong, two are a ping, and a stream does not tell one ping from two pongs. So each odd line end in
    a row is reported as a pong and each even one as a ping, however the bytes were cut: the side that sends pings takes
    either for the answer, the other side answers pings.
    """

    PONG = "CR LF"
    PING = "CR LF CR LF"


class StreamParser:
    """Takes the bytes of one connection in any cuts and returns the messages in them."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._scanned = 0
        self._line_ends = 0
        self._waiting: Request | Response | None = None
        self._missing = 0
        self._failure: MalformedMessage | None = None
        self.rejected = b""
        """The beginning of what could not be followed: enough to answer a request, if it was one."""

    @property
    def buffered(self) -> int:
        """The number of bytes held back for want of the rest of their message."""
        return len(self._buffer)

    @property
    def incomplete(self) -> bool:
        """True while a message has begun and not ended, even if nothing of its body is here yet."""
        return self._waiting is not None or bool(self._buffer)

    def feed(self, data: bytes) -> list[Request | Response | KeepAlive]:
        """Take more bytes; return what is complete, in the order it came.

        Raises `MalformedMessage` when the stream cannot be followed: a message without Content-Length, or above
        `MAX_HEAD_SIZE` or `MAX_MESSAGE_SIZE`. What was complete before is returned first; the call after raises.
        """
        found: list[Request | Response | KeepAlive] = []
        if self._failure is None:
            self._buffer += data
            try:
                while (item := self._next()) is not None:
                    found.append(item)
            except MalformedMessage as failure:
                self._failure = failure
                self.rejected = bytes(self._buffer[:MAX_HEAD_SIZE])
                self._buffer.clear()
        if self._failure is not None and not found:
            raise self._failure
        return found

    def _next(self) -> Request | Response | KeepAlive | None:
        if self._waiting is None:
            if bytes(self._buffer[:1]) in {b"\r", b"\n"}:
                return self._line_end()
            self._waiting = self._start_message()
        message = self._waiting
        if message is None or len(self._buffer) < self._missing:
            return None
        message.body = bytes(self._buffer[: self._missing])
        del self._buffer[: self._missing]
        self._waiting = None
        return message

    def _line_end(self) -> KeepAlive | None:
        if self._buffer == b"\r":
            return None
        if self._buffer[:2] != b"\r\n":
            raise MalformedMessage("a line end between messages must be CR LF")
        del self._buffer[:2]
        self._line_ends += 1
        return KeepAlive.PONG if self._line_ends % 2 else KeepAlive.PING

    def _start_message(self) -> Request | Response | None:
        """Read the headers that the buffer begins with, once they are complete."""
        end = self._buffer.find(_END, self._scanned)
        if end > MAX_HEAD_SIZE or (end < 0 and len(self._buffer) > MAX_HEAD_SIZE + len(_END)):
            raise MalformedMessage(f"the headers take more than {MAX_HEAD_SIZE} bytes", status=513)
        if end < 0:
            # The end may begin in the last three bytes.
            self._scanned = max(0, len(self._buffer) - len(_END) + 1)
            return None
        message = parse_head(bytes(self._buffer[:end]))
        if len(set(message.headers.get_all("Content-Length"))) != 1:
            raise MalformedMessage("a message on a stream must have one Content-Length")
        self._missing = message.content_length or 0
        if end + len(_END) + self._missing > MAX_MESSAGE_SIZE:
            raise MalformedMessage(f"the message is larger than {MAX_MESSAGE_SIZE} bytes", status=513)
        message.received_size = end + len(_END) + self._missing
        del self._buffer[: end + len(_END)]
        self._scanned = 0
        self._line_ends = 0
        return message
