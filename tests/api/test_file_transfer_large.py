"""Files that are larger than what may be in memory, and disks that are smaller than the file."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import BinaryIO

import pytest

from sipsimple.streams import FileSelector, FileTransferStream
from sipsimple.streams.msrp.incoming_file import PARTS, IncomingFile
from tests.support.agent import Agent, running_agent
from tests.support.msrp_agent import msrp_settings

SIZE = 64 * 1024 * 1024
MAX_GROWTH = 30 * 1024 * 1024

DYING_RECEIVER = """
import sys
from sipsimple.streams.msrp.fileselector import FileSelector
from sipsimple.streams.msrp.incoming_file import PARTS, IncomingFile
incoming = IncomingFile.open(sys.argv[1], FileSelector.parse(sys.argv[2]))
incoming.write([(0, b"x" * 1000), (1000, b"y" * 500)])
print("written", flush=True)
sys.stdin.read()
"""


def resident() -> int:
    """Bytes of memory that this process has now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def write_pattern(path: Path, size: int) -> None:
    """A file with holes, in which each MiB begins with its number."""
    with path.open("wb") as file:
        for number in range(size // 2**20):
            file.seek(number * 2**20)
            file.write(number.to_bytes(8, "big") * 16)
        file.truncate(size)


def size_of(path: str | Path) -> int:
    return os.path.getsize(path)


def contents(path: Path) -> bytes:
    return path.read_bytes()


def opened(path: Path) -> BinaryIO:
    return path.open("rb")


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="no /proc to read the memory from")
@pytest.mark.parametrize("transport", ["tcp", "tls"])
async def test_a_large_file_does_not_grow_in_memory(nothing_left, tmp_path: Path, transport: str):
    source = tmp_path / "large.bin"
    write_pattern(source, SIZE)
    async with running_agent(msrp_settings(transport)) as agent:
        selector = FileSelector.for_file(source, compute_hash=False)
        stream = FileTransferStream(agent.account, selector)
        caller = agent.call(stream, transport="tcp")
        callee = await agent.incoming()
        (other,) = callee.proposed_streams
        other.directory = tmp_path / "inbox"
        before = most = resident()
        callee.accept([other])
        while not other.finished.done():
            agent.record.all.clear()
            most = max(most, resident())
            await asyncio.sleep(0.01)  # a sample now and then, not synchronisation
        await stream.finished
        assert most - before < MAX_GROWTH
        assert other.file_selector.hash == selector.hash
        assert size_of(other.filename) == SIZE
        caller.end()
        await agent.record.until(callee, "DidEnd")
        selector.fd.close()


@pytest.mark.skipif(sys.platform == "win32", reason="no limits of this kind on Windows")
async def test_a_disk_that_takes_no_more(nothing_left, tmp_path: Path):
    import resource

    source = tmp_path / "file.bin"
    source.write_bytes(os.urandom(700_000))
    async with running_agent(msrp_settings()) as agent:
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        with opened(source) as file:
            resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, limits[1]))
            try:
                reason = await send(agent, file, tmp_path / "inbox")
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            assert reason == "cannot write the file: File too large"
            (part,) = os.listdir(tmp_path / "inbox" / PARTS)
            assert 0 < size_of(tmp_path / "inbox" / PARTS / part) <= 300_000
            assert await send(agent, file, tmp_path / "inbox") is None
        assert contents(tmp_path / "inbox" / "file.bin") == contents(source)


async def send(agent: Agent, file: object, directory: Path) -> str | None:
    """Why the file did not arrive, None when it did."""
    stream = FileTransferStream(agent.account, FileSelector("file.bin", fd=file))
    caller = agent.call(stream, transport="tcp")
    callee = await agent.incoming()
    (other,) = callee.proposed_streams
    other.directory = directory
    callee.accept([other])
    results = await asyncio.gather(stream.finished, other.finished, return_exceptions=True)
    caller.end()
    await agent.record.until(callee, "DidEnd")
    return str(results[1]) if isinstance(results[1], Exception) else None


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL on Windows")
async def test_a_receiver_that_was_killed_goes_on_where_it_was(tmp_path: Path):
    data = b"x" * 1000 + b"y" * 1000
    (tmp_path / "file.bin").write_bytes(data)
    selector = FileSelector.for_file(tmp_path / "file.bin")
    selector.fd.close()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        DYING_RECEIVER,
        str(tmp_path / "inbox"),
        selector.sdp_repr,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"written\n"
    process.send_signal(signal.SIGKILL)
    await process.communicate()
    incoming = IncomingFile.open(tmp_path / "inbox", selector)
    assert incoming.offset == 1500
    incoming.write([(1500, data[1500:])])
    assert contents(Path(incoming.finish())) == data
