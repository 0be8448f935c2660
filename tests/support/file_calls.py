"""Calls with one file, for tests: the file and its selector, both sessions and streams, and what they told."""

from __future__ import annotations

import os
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sipsimple.core import Engine
from sipsimple.streams import FileSelector, FileTransferStream
from sipsimple.util import Route
from tests.support.agent import Agent, eventually

SIZE = 700_000
FINISHED = [["FileTransferStreamDidFinish"]] * 2
NOT_FINISHED = [["FileTransferStreamDidNotFinish"]] * 2


@asynccontextmanager
async def described(path: Path, **options: Any) -> AsyncIterator[FileSelector]:
    """The selector of a file, which is closed afterwards."""
    selector = FileSelector.for_file(path, **options)
    try:
        yield selector
    finally:
        selector.fd.close()


class Call:
    """A call with one file, as far as it has come."""

    def __init__(self, agent: Agent, stream: FileTransferStream, address: str = "127.0.0.1") -> None:
        self.agent = agent
        self.stream = stream
        self.caller = agent.call(stream, routes=[Route(address, Engine().tcp_port, "tcp")])
        self.callee: Any = None
        self.other: Any = None

    async def announced(self) -> FileTransferStream:
        """The stream of the called party."""
        self.callee = await self.agent.incoming()
        (self.other,) = self.callee.proposed_streams
        assert type(self.other) is FileTransferStream
        return self.other

    async def accepted(self, directory: Path | None = None) -> Call:
        other = await self.announced()
        if directory is not None:
            other.directory = directory
        self.callee.accept([other])
        return self

    async def until(self, stream: Any, name: str) -> Any:
        return await self.agent.record.until(stream, name)

    async def has_stored(self, size: int) -> None:
        await eventually(lambda: self.other.transferred_bytes >= size, f"{size} bytes are stored")

    def told(self, stream: Any, name: str) -> list[Any]:
        return [n.data for n in self.agent.record.all if n.sender is stream and n.name == f"FileTransferStream{name}"]

    def outcomes(self) -> list[list[str]]:
        names = ("FileTransferStreamDidFinish", "FileTransferStreamDidNotFinish")
        return [[n for n in self.agent.record.names(one) if n in names] for one in (self.stream, self.other)]

    async def over(self) -> Call:
        """Hang up, and wait for the end of both streams."""
        self.caller.end()
        await self.agent.record.until(self.callee, "DidEnd")
        for one in (self.stream, self.other):
            await self.agent.record.until(one, "MediaStreamDidEnd")
        return self


def contents(path: Path) -> bytes:
    return path.read_bytes()


def stored(directory: Path) -> list[str]:
    return sorted(os.listdir(directory)) if directory.exists() else []


class Halting:
    """A file whose reading stops at a byte, until it is told to go on."""

    def __init__(self, path: Path, stop: int) -> None:
        self.file = path.open("rb")
        self.stop = stop
        self.size = path.stat().st_size

    def seek(self, *where: int) -> int:
        return self.file.seek(*where)

    def tell(self) -> int:
        return self.file.tell()

    def read(self, size: int) -> bytes:
        if self.file.tell() >= self.stop:
            raise OSError("the test stops here")
        return self.file.read(min(size, self.stop - self.file.tell()))


@asynccontextmanager
async def halting(path: Path, stop: int) -> AsyncIterator[FileSelector]:
    """The selector of a file that cannot be read to its end."""
    async with described(path) as selector:
        halting_file = Halting(path, stop)
        yield FileSelector(
            selector.name, selector.type, selector.size, selector.hash, halting_file, sha256=selector.sha256
        )
        halting_file.file.close()


def blocked_read(file: Halting) -> Any:
    """Reading that waits at the stop instead of failing, so that a transfer is in the middle."""
    file.go_on = threading.Event()
    read = file.read

    def wait_and_read(size: int) -> bytes:
        if file.file.tell() >= file.stop:
            file.go_on.wait(10)
            file.stop = file.size
        return read(size)

    return wait_and_read
