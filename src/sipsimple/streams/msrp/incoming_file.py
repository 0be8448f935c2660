"""A file that is coming in: kept apart until every byte is there and its hash is right, then moved into place.

It grows in a private directory beside its place, `.sipsimple-parts`, under a name made of its hash and size. So the
part of a transfer that was cut off is found again, by another process too, and is never taken for the file. It is
moved in one step, and never onto anything that is there.

Everything here blocks: call it in threads, one call at a time.
"""

from __future__ import annotations

import os
import secrets
import shutil
import stat
import sys
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

from sipsimple.msrp.ranges import Coverage
from sipsimple.streams.interface import StreamError
from sipsimple.streams.msrp.filehash import BLOCK_SIZE, Hasher
from sipsimple.streams.msrp.filename import numbered
from sipsimple.streams.msrp.fileselector import FileSelector

if sys.platform != "win32":
    import fcntl

__all__ = ["PARTS", "FileMismatch", "FileTransferError", "FileUnwritable", "IncomingFile"]

PARTS: Final = ".sipsimple-parts"
PART_LIFETIME: Final = 30 * 24 * 3600.0
"""Seconds after which a part that nobody has continued is removed."""
MAX_SAME_FILES: Final = 16
"""Transfers of one file into one directory at a time."""
MAX_NUMBER: Final = 9999
"""Files of one name in one directory."""

_OPEN: Final = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
_RESERVE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)


class FileTransferError(StreamError):
    """A file cannot be transferred; the root of what is told as the reason. `comment` is what the remote is told."""

    comment = "the file cannot be taken"


class FileUnwritable(FileTransferError):
    """The directory or the disk does not take the file."""


class FileMismatch(FileTransferError):
    """What has come is not the file that was announced."""

    comment = "not the file that was announced"


class IncomingFile:
    """One file on its way into `directory`, which is made if need be; made by `open`.

    `offset` is the number of bytes that were there already: the transfer goes on behind them, or `restart` drops them.
    Size and hashes of the selector count as they were at `open`, its name as it is at `finish`.
    """

    def __init__(self, directory: str, selector: FileSelector, path: str, descriptor: int, offset: int) -> None:
        self.offset = offset
        self.size = 0
        """Where the farthest byte that has come ends."""
        self._directory = directory
        self._selector = selector
        self._path = path
        self._descriptor = descriptor
        self._expected_size = selector.size
        self._expected_hashes = selector.hashes
        self._hasher = Hasher(self._expected_hashes)
        self._hashed = 0
        self._coverage = Coverage()
        self._coverage.add(0, offset)
        self._lock = threading.RLock()  # whoever gives up a call does not wait for its thread

    @classmethod
    def open(cls, directory: str | os.PathLike[str], selector: FileSelector) -> IncomingFile:
        """Find the part of an earlier transfer, or begin; raises FileUnwritable."""
        directory = os.path.abspath(os.path.expanduser(directory))
        try:
            path, descriptor = _open_part(directory, _key(selector))
        except OSError as error:
            raise FileUnwritable(f"cannot write to {directory}: {error.strerror or error}") from error
        incoming = cls(directory, selector, path, descriptor, 0)
        try:
            incoming._prepare()
        except BaseException:
            incoming.close()
            raise
        return incoming

    def _prepare(self) -> None:
        """Look at what is there, and whether the disk has room for the rest."""
        size = self._expected_size
        there = os.fstat(self._descriptor).st_size
        if size is None or there > size:
            os.ftruncate(self._descriptor, 0)
            there = 0
        # When it is all there, the last byte is asked for again: a transfer of nothing has no end to wait for.
        self.offset = there if size is None or there < size else max(size - 1, 0)
        self._coverage.add(0, self.offset)
        free = shutil.disk_usage(self._directory).free
        if size is not None and size - self.offset > free:
            raise FileUnwritable(f"the disk has room for {free} bytes, {size - self.offset} are to come")

    def restart(self) -> None:
        """Forget what is there; the file comes from its beginning. Not after `write`."""
        self.offset = 0
        self._coverage = Coverage()

    def write(self, blocks: Iterable[tuple[int, bytes]]) -> None:
        """Write blocks, each with its offset in the file; raises FileUnwritable, and FileMismatch beyond its size."""
        try:
            with self._lock:
                for offset, block in blocks:
                    self._write(offset, block)
        except OSError as error:
            raise FileUnwritable(f"cannot write the file: {error.strerror or error}") from error

    def _write(self, offset: int, block: bytes) -> None:
        limit = self._expected_size
        if limit is not None and offset + len(block) > limit:
            raise FileMismatch(f"more than the {limit} bytes that were announced have come")
        self._read_up_to(offset)
        if offset < self._hashed:
            # What was hashed must not change any more, or the hash would be that of another file.
            block, offset = block[self._hashed - offset :], self._hashed
        view = memoryview(block)
        at = offset
        while view:
            written = _write_at(self._descriptor, view, at)
            view, at = view[written:], at + written
        if not self._coverage.add(offset, at):
            raise FileUnwritable("the parts of the file come in too many pieces")
        if self._hashed == offset:
            self._hasher.update(block)
            self._hashed = at
        self.size = max(self.size, at)

    def _read_up_to(self, offset: int) -> None:
        """Hash what is in the file before `offset` and was not hashed when it came: of a transfer before, or late."""
        if self._hashed >= offset or not self._coverage.contains(self._hashed, offset):
            return
        while self._hashed < offset:
            block = _read_at(self._descriptor, min(BLOCK_SIZE, offset - self._hashed), self._hashed)
            if not block:
                raise OSError("the file has become shorter")
            self._hasher.update(block)
            self._hashed += len(block)

    def finish(self) -> str:
        """Check size and hashes and move the file into place; its path.

        Raises FileMismatch, and then nothing is kept, or FileUnwritable, and then everything is.
        """
        with self._lock:
            try:
                self._verify()
                return self._place()
            except FileMismatch:
                self._drop()
                raise
            except OSError as error:
                raise FileUnwritable(f"cannot store the file: {error.strerror or error}") from error
            finally:
                self.close()

    def _verify(self) -> None:
        size = max(self.size, self.offset)
        expected = size if self._expected_size is None else self._expected_size
        if size != expected or not self.has(size):
            raise FileMismatch(f"the file has ended after {self._frontier()} bytes, {expected} were announced")
        self._read_up_to(size)
        for algorithm, announced in self._expected_hashes.items():
            if (computed := self._hasher.text(algorithm)) != announced:
                raise FileMismatch(f"the hash of what has come is {computed}, announced was {announced}")
        os.ftruncate(self._descriptor, size)  # the part before may have been longer than what was used of it

    def has(self, size: int) -> bool:
        """Whether all bytes before `size` are there."""
        return self._coverage.contains(0, size)

    def close(self) -> None:
        """Let go of the file; a part that can be continued stays. Idempotent."""
        with self._lock:
            if self._descriptor < 0:
                return
            there = self._frontier()
            if not self._expected_hashes or self._expected_size is None or not there:
                self._drop()
                return
            with suppress(OSError):  # then what is behind a gap is found to be wrong by its hash
                os.ftruncate(self._descriptor, there)
            self._release()

    def _frontier(self) -> int:
        """How many bytes there are from the beginning without a gap."""
        return self._coverage.end_of(0)

    def _place(self) -> str:
        if sys.platform == "win32":
            self._release()  # an open file cannot be moved there
        for number in range(MAX_NUMBER + 1):
            path = os.path.join(self._directory, numbered(self._selector.safe_name, number))
            if _move_if_absent(self._path, path):
                self._release()
                _remove_parts_directory(self._directory)
                return path
        raise FileUnwritable(f"{self._directory} has {MAX_NUMBER} files of this name")

    def _drop(self) -> None:
        """Remove the part."""
        if self._descriptor >= 0:
            with suppress(OSError):
                os.unlink(self._path)
        self._release()
        _remove_parts_directory(self._directory)

    def _release(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def _key(selector: FileSelector) -> str | None:
    """What the part of a file is called; None when nothing says which file it is of."""
    digest = selector.sha256 or selector.hash
    if digest is None or selector.size is None:
        return None
    return f"{digest.partition(':')[2].replace(':', '').lower()}-{selector.size}"


def _open_part(directory: str, key: str | None) -> tuple[str, int]:
    """Open a part that nobody else writes to; its path and descriptor."""
    parts = os.path.join(directory, PARTS)
    for number in range(MAX_SAME_FILES):
        os.makedirs(directory, exist_ok=True)
        with suppress(FileExistsError):
            os.mkdir(parts, 0o700)
        if not stat.S_ISDIR(os.lstat(parts).st_mode):
            raise NotADirectoryError(f"{parts} is no directory")
        _remove_stale_parts(parts)
        path = os.path.join(parts, f"{numbered(key or secrets.token_hex(16), number)}.part")
        with suppress(FileNotFoundError):  # somebody has removed the empty directory just now
            descriptor = os.open(path, _OPEN, 0o666)
            if _is_ours(descriptor, path):
                return path, descriptor
            os.close(descriptor)
    raise FileUnwritable(f"more than {MAX_SAME_FILES} transfers of this file are running")


def _is_ours(descriptor: int, path: str) -> bool:
    """Whether nobody else uses this part, and the path still leads to it alone."""
    if sys.platform != "win32":
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            pass  # no locks in this file system: two transfers of one file at a time fail by their hash
        status = os.fstat(descriptor)
        if not os.path.samestat(status, os.stat(path, follow_symlinks=False)):
            return False  # it was moved into place between our opening and our locking it
        if status.st_nlink > 1:
            os.unlink(path)  # it is in place already: a process died between link and unlink
            return False
    return True


def _move_if_absent(source: str, target: str) -> bool:
    """Give the file its name, unless there is something of that name."""
    try:
        os.link(source, target, follow_symlinks=False)
    except FileExistsError:
        return False
    except (OSError, NotImplementedError):
        # No links in this file system: take the name first, then put the file onto what is ours.
        try:
            os.close(os.open(target, _RESERVE, 0o666))
        except FileExistsError:
            return False
        try:
            os.replace(source, target)
        except OSError:
            os.unlink(target)
            raise
        return True
    os.unlink(source)
    return True


def _remove_stale_parts(parts: str) -> None:
    limit = time.time() - PART_LIFETIME
    with suppress(OSError), os.scandir(parts) as entries:
        for entry in entries:
            if entry.name.endswith(".part") and entry.stat(follow_symlinks=False).st_mtime < limit:
                os.unlink(entry.path)


def _remove_parts_directory(directory: str) -> None:
    with suppress(OSError):  # there are other parts
        os.rmdir(os.path.join(directory, PARTS))


def _write_at(descriptor: int, data: memoryview, offset: int) -> int:
    if sys.platform == "win32":
        os.lseek(descriptor, offset, os.SEEK_SET)
        return os.write(descriptor, data)
    else:  # noqa: RET505  # what follows a check of the platform has to be in its else for mypy
        return os.pwrite(descriptor, data, offset)


def _read_at(descriptor: int, size: int, offset: int) -> bytes:
    if sys.platform == "win32":
        os.lseek(descriptor, offset, os.SEEK_SET)
        return os.read(descriptor, size)
    else:  # noqa: RET505
        return os.pread(descriptor, size, offset)
