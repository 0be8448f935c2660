"""A file on its way out: read by position, in threads, so that several streams can send what one opened file holds."""

from __future__ import annotations

import os
import sys
import threading
from datetime import UTC, datetime
from typing import Any, Final

__all__ = ["OutgoingFile"]


class OutgoingFile:
    """The bytes of a seekable binary file from `start` to `stop`; None is its end. The file stays its owner's."""

    def __init__(self, file: Any, start: int = 0, stop: int | None = None) -> None:
        self._file = file
        self._at = start
        self._stop = stop
        self._descriptor = _descriptor_of(file) if sys.platform != "win32" else None

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes; empty at the end. Blocks; raises OSError, and ValueError when the file was closed."""
        if self._stop is not None:
            size = min(size, self._stop - self._at)
        if size <= 0:
            return b""
        if self._descriptor is None:
            block = _read_seeking(self._file, size, self._at)
        else:
            # Where the file was closed meanwhile, its descriptor may be that of another one by now.
            block = _read_at(self._file.fileno(), size, self._at)
        self._at += len(block)
        return block

    @staticmethod
    def size_of(file: Any) -> int:
        """The size of a file in bytes; raises OSError."""
        descriptor = _descriptor_of(file)
        if descriptor is not None:
            return os.fstat(descriptor).st_size
        with _SEEKING:
            position = file.tell()
            try:
                return int(file.seek(0, os.SEEK_END))
            finally:
                file.seek(position)

    @staticmethod
    def modified(file: Any) -> datetime | None:
        """When it was changed last; None for what is no real file."""
        descriptor = _descriptor_of(file)
        return None if descriptor is None else datetime.fromtimestamp(int(os.fstat(descriptor).st_mtime), UTC)


_SEEKING: Final = threading.Lock()


def _descriptor_of(file: Any) -> int | None:
    try:
        return int(file.fileno())
    except (AttributeError, OSError):  # io.UnsupportedOperation is one
        return None


def _read_seeking(file: Any, size: int, offset: int) -> bytes:
    with _SEEKING:
        file.seek(offset)
        return bytes(file.read(size))


def _read_at(descriptor: int, size: int, offset: int) -> bytes:
    if sys.platform == "win32":
        raise NotImplementedError
    else:  # noqa: RET506  # what follows a check of the platform has to be in its else for mypy
        return os.pread(descriptor, size, offset)
