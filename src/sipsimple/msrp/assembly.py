"""Puts messages together from their parts (RFC 4975 7.3.1), for those who want them whole.

Parts may come in any order, more than once, and those of several messages in between. What a stranger can have us keep
is bounded: the size of a message, how many are open, and how long one that goes on is kept.
"""

from __future__ import annotations

from typing import Final

from sipsimple.msrp.message import ABORTED, COMPLETE, MSRPData
from sipsimple.msrp.ranges import Coverage

__all__ = ["MAX_MESSAGE_SIZE", "MAX_OPEN_MESSAGES", "Assembler", "TooMuch"]

MAX_MESSAGE_SIZE: Final = 10 * 1024 * 1024
MAX_OPEN_MESSAGES: Final = 16
STALE_AFTER: Final = 60.0
"""Seconds without a new part, after which a message makes room for another."""


class TooMuch(Exception):
    """This message cannot be kept: it is too large, or too many are open."""


class _Open:
    """A message of which a part has come."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.coverage = Coverage()
        self.size: int | None = None
        self.touched = 0.0


class Assembler:
    """The open messages of one session."""

    def __init__(self, max_size: int = MAX_MESSAGE_SIZE, max_open: int = MAX_OPEN_MESSAGES) -> None:
        self._max_size = max_size
        self._max_open = max_open
        self._max_kept = 2 * max_size
        self._kept = 0  # bytes in all open messages
        self._open: dict[str, _Open] = {}

    def __len__(self) -> int:
        return len(self._open)

    def add(self, chunk: MSRPData, message_id: str, now: float) -> MSRPData | None:
        """Add a part; the whole message if it is complete now. Raises TooMuch, and then forgets the message."""
        byte_range = chunk.byte_range
        start, end = byte_range.start - 1, byte_range.start - 1 + len(chunk.data)
        if chunk.continuation == ABORTED:
            self._drop(message_id)
            return None
        if max(end, byte_range.total or 0) > self._max_size:
            self._drop(message_id)
            raise TooMuch
        if start == 0 and chunk.continuation == COMPLETE and message_id not in self._open:
            return chunk
        message = self._find(message_id, now)
        message.touched = now
        growth = max(0, end - len(message.data))
        if self._kept + growth > self._max_kept or not message.coverage.add(start, end):
            self._drop(message_id)
            raise TooMuch
        self._kept += growth
        message.data.extend(bytes(growth))
        message.data[start:end] = chunk.data
        if chunk.continuation == COMPLETE:
            message.size = end
        if message.size is None or not message.coverage.contains(0, message.size):
            return None
        self._drop(message_id)
        return _whole(chunk, bytes(message.data[: message.size]))

    def _drop(self, message_id: str) -> None:
        if (message := self._open.pop(message_id, None)) is not None:
            self._kept -= len(message.data)

    def _find(self, message_id: str, now: float) -> _Open:
        message = self._open.get(message_id)
        if message is None:
            if len(self._open) >= self._max_open:
                oldest_id = min(self._open, key=lambda key: self._open[key].touched)
                if now - self._open[oldest_id].touched < STALE_AFTER:
                    raise TooMuch
                self._drop(oldest_id)
            message = self._open[message_id] = _Open()
        return message


def _whole(chunk: MSRPData, data: bytes) -> MSRPData:
    headers = {**chunk.headers, "Byte-Range": f"1-{len(data)}/{len(data)}"}
    return MSRPData(chunk.transaction_id, method=chunk.method, headers=headers, data=data)
