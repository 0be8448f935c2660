"""A file of some GB between two processes, one of which is killed in the middle: is it right, and what does it take?

    python benchmarks/big_file.py [--size 2048] [--directory /tmp] [--transport tcp]

The receiver is killed when half of the file is there, and started anew; the sender offers the file again. In the end
the file has to be the one that was sent, and neither process may have grown by 30 MB or more. The file is sparse, with
different bytes at the beginning of each MiB. A plain asyncio copy with the same hashing of both ends says how fast this
machine is.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

AIM_MB = 30.0
MB = 1024 * 1024
BLOCK = 256 * 1024


def resident() -> float:
    """The resident memory of this process in MB."""
    text = Path("/proc/self/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", text)[1]) / 1024  # type: ignore[index]


class Growth:
    """How much this process grows between `start` and the largest sample."""

    def __init__(self) -> None:
        self.start = self.most = resident()

    async def watch(self) -> None:
        while True:
            self.most = max(self.most, resident())
            await asyncio.sleep(0.05)

    def __str__(self) -> str:
        return f"{self.most - self.start:.1f}"


def settings(user: str, transport: str) -> dict[str, Any]:
    general = {
        "local_ip": "127.0.0.1",
        "audio": {"input_device": None, "output_device": None, "alert_device": None},
        "sip": {"transport_list": ["tcp"]},
        "msrp": {"transport": transport},
    }
    account = {"enabled": "true", "registration": {"enabled": "false"}}
    account["nat_traversal"] = {"use_msrp_relay_for_inbound": "false"}
    return {"SIPSimpleSettings": general, "Accounts": {f"{user}@example.org": account}}


async def receive(directory: str, transport: str) -> None:
    """Take one file; print the port first, then what is there now and then, and the growth at the end."""
    from sipsimple.application import SIPApplication
    from sipsimple.configuration.backend.memory import MemoryBackend
    from sipsimple.core import Engine
    from sipsimple.notification import NotificationCenter

    async with SIPApplication.running(MemoryBackend(settings("bob", transport))):
        center = NotificationCenter()
        async with center.subscribe(name="SIPSessionNewIncoming") as calls:
            print(Engine().tcp_port, flush=True)
            session = (await calls.next()).sender
        (stream,) = session.proposed_streams
        stream.directory = directory
        growth = Growth()
        watching = asyncio.ensure_future(growth.watch())
        async with center.subscribe(name="SIPSessionDidEnd", sender=session) as ends:
            session.accept([stream])
            telling = asyncio.ensure_future(tell_progress(stream))
            print("stored", await stream.finished, growth, flush=True)
            await ends.next()
        telling.cancel()
        watching.cancel()


async def tell_progress(stream: Any) -> None:
    while True:
        print("at", stream.transferred_bytes, flush=True)
        await asyncio.sleep(0.05)


class Receiver:
    """The other process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.port = 0

    @classmethod
    async def start(cls, directory: Path, transport: str) -> Receiver:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            __file__,
            "--receive",
            str(directory),
            "--transport",
            transport,
            stdout=asyncio.subprocess.PIPE,
        )
        receiver = cls(process)
        receiver.port = int((await receiver.line())[0])
        return receiver

    async def line(self) -> list[str]:
        assert self.process.stdout is not None
        line = (await self.process.stdout.readline()).decode().split()
        if not line:
            raise RuntimeError("the receiver has ended")
        return line

    async def until(self, condition: Callable[[list[str]], bool]) -> list[str]:
        while not condition(line := await self.line()):
            pass
        return line


async def offer(port: int, selector: Any) -> tuple[Any, Any]:
    from sipsimple.account import Account
    from sipsimple.core import SIPURI, ToHeader
    from sipsimple.session import Session
    from sipsimple.streams import FileTransferStream
    from sipsimple.util import Route

    account = Account("alice@example.org")
    stream = FileTransferStream(account, selector)
    session = Session(account)
    await session.connect(ToHeader(SIPURI("127.0.0.1", "bob")), [Route("127.0.0.1", port, "tcp")], [stream])
    return session, stream


async def transfer(source: Path, size: int, directory: Path, transport: str) -> dict[str, Any]:
    """Send the file, with a receiver that dies once; what that took."""
    from sipsimple.streams import FileSelector
    from sipsimple.streams.msrp.incoming_file import FileTransferError

    selector = FileSelector.for_file(source, compute_hash=False)
    growth = Growth()
    watching = asyncio.ensure_future(growth.watch())
    receiver = await Receiver.start(directory, transport)
    _, stream = await offer(receiver.port, selector)
    await receiver.until(lambda line: line[0] == "at" and int(line[1]) > size // 2)
    receiver.process.send_signal(signal.SIGKILL)
    await receiver.process.communicate()
    try:
        await stream.finished
        raise RuntimeError("the sender takes a file for received whose receiver was killed")
    except FileTransferError:
        pass
    receiver = await Receiver.start(directory, transport)
    began = time.perf_counter()
    session, stream = await offer(receiver.port, selector)
    await stream.finished
    seconds = time.perf_counter() - began
    resumed_at = stream.remote_file.range.start - 1
    _, path, received_growth = await receiver.until(lambda line: line[0] == "stored")
    await session.end()
    await receiver.process.communicate()
    watching.cancel()
    selector.fd.close()
    return {
        "path": path,
        "resumed_at": resumed_at,
        "rate": (size - resumed_at) / seconds / MB,
        "sender": float(str(growth)),
        "receiver": float(received_growth),
    }


async def plain_copy(source: Path, size: int, target: Path) -> float:
    """MB/s of asyncio streams alone; the receiver hashes as ours does."""
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def store(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hashes = hashlib.sha1(), hashlib.sha256()
        with target.open("wb") as file:
            while block := await reader.read(BLOCK):
                for one in hashes:
                    one.update(block)
                file.write(block)
        writer.close()
        done.set_result(None)

    server = await asyncio.start_server(store, "127.0.0.1", 0)
    _, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
    began = time.perf_counter()
    with source.open("rb") as file:
        while block := file.read(BLOCK):
            writer.write(block)
            await writer.drain()
    writer.write_eof()
    await done
    seconds = time.perf_counter() - began
    writer.close()
    server.close()
    os.unlink(target)
    return size / seconds / MB


def make_source(path: Path, size: int) -> None:
    with path.open("wb") as file:
        for number in range(size // MB):
            file.seek(number * MB)
            file.write(hashlib.sha256(number.to_bytes(8, "big")).digest())
        file.truncate(size)


def digest(path: str | Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


async def measure(work: Path, size: int, transport: str) -> bool:
    from sipsimple.application import SIPApplication
    from sipsimple.configuration.backend.memory import MemoryBackend

    source = work / "big.bin"
    make_source(source, size)
    async with SIPApplication.running(MemoryBackend(settings("alice", transport))):
        told = await transfer(source, size, work / "inbox", transport)
    is_right = digest(source) == digest(told["path"])
    os.unlink(told["path"])
    plain = await plain_copy(source, size, work / "plain.bin")
    print(f"{size // MB} MB over {transport}, killed and continued at {told['resumed_at'] // MB} MB")
    print(f"hash {'right' if is_right else 'WRONG'}")
    print(f"growth: sender {told['sender']:.1f} MB, receiver {told['receiver']:.1f} MB (aim: below {AIM_MB:.0f})")
    print(
        f"the rest at {told['rate']:.0f} MB/s, with the call and the hashing of what was there; plain copy {plain:.0f}"
    )
    return is_right and max(told["sender"], told["receiver"]) < AIM_MB


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=2048, help="MB")
    parser.add_argument("--directory", default=tempfile.gettempdir())
    parser.add_argument("--transport", choices=["tcp", "tls"], default="tcp")
    parser.add_argument("--receive", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.receive:
        asyncio.run(receive(options.receive, options.transport))
        return 0
    work = Path(tempfile.mkdtemp(dir=options.directory))
    try:
        return 0 if asyncio.run(measure(work, options.size * MB, options.transport)) else 1
    finally:
        shutil.rmtree(work)


if __name__ == "__main__":
    sys.exit(main())
