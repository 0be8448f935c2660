"""Messages in a pipe between the two processes of the media engine: a length of four octets, then a pickle.

Both ends are the same program and trust each other; the length is bounded, so that a pipe that something else wrote to
is noticed instead of filling the memory.
"""

from __future__ import annotations

import pickle
import queue
import struct
from io import BufferedReader, RawIOBase
from typing import Any, Final, TypeVar

MAX_MESSAGE_SIZE: Final = 1 << 24

_LENGTH: Final = struct.Struct("!I")

T = TypeVar("T")


class BrokenMessage(Exception):
    """What came out of the pipe is no message; nothing after it can be read."""


def packed(message: object) -> bytes:
    """Make the octets of a message."""
    data = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    return _LENGTH.pack(len(data)) + data


def write(pipe: RawIOBase, data: bytes) -> None:
    """Write all of the octets; raises OSError when nobody reads any more."""
    rest = memoryview(data)
    while rest:
        rest = rest[pipe.write(rest) :]


def waiting(source: queue.SimpleQueue[T], first: T) -> list[T]:
    """Return the first message and all that wait behind it, which go out in one write."""
    messages = [first]
    while not source.empty():
        messages.append(source.get())
    return messages


def read_message(pipe: RawIOBase | BufferedReader) -> Any:
    """Wait for a message; raises EOFError when the pipe was closed, and `BrokenMessage`."""
    (length,) = _LENGTH.unpack(_read(pipe, _LENGTH.size))
    if length > MAX_MESSAGE_SIZE:
        raise BrokenMessage(f"a message of {length} octets is longer than {MAX_MESSAGE_SIZE}")
    data = _read(pipe, length)
    try:
        return pickle.loads(data)  # noqa: S301 - from the other half of this program
    except Exception as error:  # whatever a damaged pickle makes its classes raise
        raise BrokenMessage(f"a message cannot be read: {error!r}") from error


def _read(pipe: RawIOBase | BufferedReader, length: int) -> bytes:
    data = b""
    while len(data) < length:
        part = pipe.read(length - len(data))
        if not part:
            raise EOFError
        data += part
    return data
