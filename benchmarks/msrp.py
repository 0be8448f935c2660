"""How fast files and messages go over MSRP, between two of our applications in two processes, over loopback.

    python benchmarks/msrp.py [--size 128] [--messages 5000] [--rounds 3] [--transport tcp|tls ...] [--json FILE]

Files: `FileTransferStream` sends a file of random bytes; the other application stores, hashes and verifies it. In the
same round, between the same two processes, a plain asyncio stream copies the same file: read in blocks of 1 MiB,
hashed by the same hashes as it arrives, written to a file. Printed: the medians in MB/s, and the median of the ratios
of the rounds. A ratio of 1.0 is as fast as the plain copy; aim: 0.6. What counts is the ratio, since both share the
machine with whatever else runs; the clock runs from the start of the stream until the sender knows that the file is
verified and in place. Beside it is the same ratio of the CPU time of both processes: it is lower, as ours also works
while the plain copy waits for its disk, but it does not depend on what else the machine has to do.

Messages: 100 bytes each, of which 100 are on their way at a time, each with a success report that is waited for. Once
by a bare stream over MSRP, once by `ChatStream` with all its notifications and CPIM. Printed: messages per second, and
per second of CPU time of the busier of the two processes, which is what one core carries; aim: 5000 for bare MSRP.
`--profile` prints where the sending process spends its time.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import functools
import gc
import hashlib
import json
import os
import pstats
import resource
import ssl
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from sipsimple.account import Account
from sipsimple.application import SIPApplication
from sipsimple.configuration.backend.memory import MemoryBackend
from sipsimple.core import SIPURI, Engine, ToHeader
from sipsimple.core.certificate import self_signed_certificate
from sipsimple.notification import NotificationCenter
from sipsimple.session import Session
from sipsimple.streams import ChatStream, FileSelector, FileTransferStream
from sipsimple.streams.msrp import MSRPStreamBase
from sipsimple.streams.msrp.filehash import Hasher
from sipsimple.util import Route

ME = "me@example.org"
BLOCK = 1024 * 1024
WINDOW = 100
TEXT = "x" * 100
MEGABYTE = 1e6
TIME_LIMIT = 120.0


class BareStream(MSRPStreamBase):
    """Messages without anything around them; `delivered` is called for each report."""

    type = "bare"
    priority = 0
    media_type = "x-bare"
    accept_types = ["text/plain"]
    use_msrp_session = True
    offered_by_default = False
    delivered: Callable[[], None]

    @classmethod
    def new_from_sdp(cls, account: Any, remote_sdp: Any, stream_index: int) -> BareStream:
        offer = cls._read_offer(account, remote_sdp, stream_index)
        stream = cls(account)
        stream.remote_offer = offer
        return stream

    def send(self) -> None:
        assert self.msrp_session is not None
        self.msrp_session.send(TEXT.encode(), "text/plain", success_report=True)

    def _message_delivered(self, message: Any, chunk: Any, is_complete: bool) -> None:
        self.delivered()


class TalkingStream(ChatStream):
    """A chat whose messages are counted."""

    priority = None  # type: ignore[assignment]  # not for the registry
    delivered: Callable[[], None]

    def send(self) -> None:
        self.send_message(TEXT)

    def _NH_ChatStreamDidDeliverMessage(self, _: Any) -> None:
        self.delivered()


@asynccontextmanager
async def application(transport: str) -> AsyncIterator[None]:
    general = {
        "local_ip": "127.0.0.1",
        "audio": {"input_device": None, "output_device": None, "alert_device": None},
        "sip": {"transport_list": ["tcp"]},
        "msrp": {"transport": transport},
    }
    own = {
        "enabled": "true",
        "registration": {"enabled": "false"},
        "nat_traversal": {"use_msrp_relay_for_inbound": "false"},
    }
    async with SIPApplication.running(MemoryBackend({"SIPSimpleSettings": general, "Accounts": {ME: own}})):
        yield


def cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def tls_contexts(certificate: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """For the server and the client of the plain copy; the client trusts whatever it is shown, as the key is new."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_mode = ssl.CERT_NONE
    return server, client


# The receiving process


class Answering:
    """Takes every session and every file."""

    def __init__(self, directory: str) -> None:
        self.directory = directory

    def handle_notification(self, notification: Any) -> None:
        for stream in notification.data.streams:
            if isinstance(stream, FileTransferStream):
                stream.directory = self.directory
        notification.sender.accept(notification.data.streams)


async def take_plain_copy(directory: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    hashes = [hashlib.sha1(usedforsecurity=False), hashlib.sha256()]
    size = int(await reader.readline())
    with open(os.path.join(directory, "plain"), "wb") as file:  # noqa: ASYNC230  # nothing else runs here
        while size and (data := await reader.read(BLOCK)):
            for one in hashes:
                one.update(data)
            file.write(data)
            size -= len(data)
    writer.write(b" ".join(one.hexdigest().encode() for one in hashes) + b"\n")
    await writer.drain()
    writer.close()


async def receive(transport: str, directory: str) -> None:
    NotificationCenter().add_observer(Answering(directory), "SIPSessionNewIncoming")
    take = functools.partial(take_plain_copy, directory)
    security = tls_contexts(os.path.join(directory, "certificate"))[0] if transport == "tls" else None
    server = await asyncio.start_server(take, "127.0.0.1", 0, ssl=security)
    async with application(transport):
        gc.collect()
        gc.freeze()
        print(json.dumps({"sip": Engine().tcp_port, "plain": server.sockets[0].getsockname()[1]}), flush=True)
        while await asyncio.to_thread(sys.stdin.readline):
            for name in os.listdir(directory):
                if name not in ("certificate", "sent"):
                    with suppress(OSError):
                        os.remove(os.path.join(directory, name))
            print(json.dumps({"cpu": cpu_seconds()}), flush=True)
    server.close()


# The sending process


class Receiver:
    """The other process, as we see it."""

    def __init__(self, process: asyncio.subprocess.Process, ports: dict[str, int], directory: str) -> None:
        self.process = process
        self.ports = ports
        self.directory = directory

    async def cpu(self) -> float:
        """The CPU time that it has used; it also clears its directory."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(b"\n")
        return float(json.loads(await self.process.stdout.readline())["cpu"])


@asynccontextmanager
async def other_process(transport: str, directory: str) -> AsyncIterator[Receiver]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, __file__, "--receive", transport, directory),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield Receiver(process, json.loads(await process.stdout.readline()), directory)
    finally:
        process.stdin.close()
        await process.wait()


async def call(stream: Any, port: int) -> Session:
    session = Session(Account(ME))
    await session.connect(ToHeader(SIPURI("127.0.0.1", "me")), [Route("127.0.0.1", port, "tcp")], [stream])
    return session


@functools.cache
def hashes_of(path: str) -> Hasher:
    """Once for all rounds: to describe a file before it is offered is no part of its transfer."""
    hasher = Hasher()
    with open(path, "rb") as file:
        while block := file.read(BLOCK):
            hasher.update(block)
    return hasher


async def send_file(path: str, receiver: Receiver) -> float:
    """Seconds from the start of the stream to the certainty that the other party has the file."""
    selector = FileSelector.for_file(path, compute_hash=False)
    selector.set_hashes(hashes_of(path))
    stream = FileTransferStream(Account(ME), selector)
    session = await call(stream, receiver.ports["sip"])
    began = STARTED[id(stream)]
    await stream.finished
    elapsed = time.perf_counter() - began
    await session.end()
    selector.fd.close()
    return elapsed


STARTED: dict[int, float] = {}


class Clock:
    """Notes when streams start."""

    def handle_notification(self, notification: Any) -> None:
        STARTED[id(notification.sender)] = time.perf_counter()


async def copy_plainly(path: str, receiver: Receiver, security: ssl.SSLContext | None) -> float:
    """Seconds from the connection to the answer that tells the hashes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", receiver.ports["plain"], ssl=security)
    began = time.perf_counter()
    with open(path, "rb") as file:  # noqa: ASYNC230  # nothing else runs here
        writer.write(b"%d\n" % os.fstat(file.fileno()).st_size)
        while block := file.read(BLOCK):
            writer.write(block)
            await writer.drain()
    if not await reader.readline():
        raise ConnectionError("the plain copy was cut off")
    elapsed = time.perf_counter() - began
    writer.close()
    return elapsed


async def send_messages(stream: Any, count: int, receiver: Receiver) -> dict[str, float]:
    """Rates: `messages_per_second`, and `per_core` of the busier process."""
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    sent = delivered = 0

    def report() -> None:
        nonlocal sent, delivered
        delivered += 1
        if sent < count:
            sent += 1
            stream.send()
        elif delivered == count:
            done.set_result(None)

    stream.delivered = report
    session = await call(stream, receiver.ports["sip"])
    theirs, ours, began = await receiver.cpu(), cpu_seconds(), time.perf_counter()
    while sent < min(WINDOW, count):
        sent += 1
        stream.send()
    await asyncio.wait_for(done, TIME_LIMIT)
    elapsed, ours = time.perf_counter() - began, cpu_seconds() - ours
    theirs = await receiver.cpu() - theirs
    await session.end()
    return {
        "messages_per_second": count / elapsed,
        "per_core": count / max(ours, theirs),
        "cpu_us_sender": ours / count * 1e6,
        "cpu_us_receiver": theirs / count * 1e6,
    }


def prepare(directory: str, size: int) -> tuple[str, str]:
    """A file of `size` MiB and a certificate; their paths."""
    path, certificate = os.path.join(directory, "sent"), os.path.join(directory, "certificate")
    Path(certificate).write_bytes(self_signed_certificate())
    with open(path, "wb") as file:
        for _ in range(size):
            file.write(os.urandom(BLOCK))
    return path, certificate


async def measure_files(
    path: str, receiver: Receiver, security: ssl.SSLContext | None, options: argparse.Namespace
) -> dict[str, float]:
    plain, ours = [], []
    hashes_of(path)
    for _ in range(options.rounds):
        plain.append(await with_cpu(copy_plainly(path, receiver, security), receiver))
        ours.append(await with_cpu(send_file(path, receiver), receiver))
    amount = options.size * BLOCK / MEGABYTE
    both = list(zip(plain, ours, strict=True))
    return {
        "file_MB_per_second": amount / statistics.median(seconds for seconds, _ in ours),
        "plain_MB_per_second": amount / statistics.median(seconds for seconds, _ in plain),
        "file_ratio": statistics.median(a[0] / b[0] for a, b in both),
        "file_cpu_ratio": statistics.median(a[1] / b[1] for a, b in both),
    }


async def with_cpu(work: Awaitable[float], receiver: Receiver) -> tuple[float, float]:
    """The seconds that the work tells, and the CPU time that both processes have used meanwhile."""
    before = await receiver.cpu() + cpu_seconds()
    seconds = await asyncio.wait_for(work, TIME_LIMIT)
    return seconds, await receiver.cpu() + cpu_seconds() - before


async def measure(transport: str, options: argparse.Namespace) -> dict[str, Any]:
    found: dict[str, Any] = {"transport": transport}
    with tempfile.TemporaryDirectory(prefix="sipsimple-msrp-") as directory:
        path, certificate = prepare(directory, options.size)
        security = tls_contexts(certificate)[1] if transport == "tls" else None
        async with other_process(transport, directory) as receiver, application(transport):
            gc.collect()
            gc.freeze()
            if options.size:
                found |= await measure_files(path, receiver, security, options)
            kinds: dict[str, Callable[[Any], Any]] = {"bare": BareStream, "chat": TalkingStream}
            for name, kind in kinds.items() if options.messages else ():
                rounds = [
                    await send_messages(kind(Account(ME)), options.messages, receiver) for _ in range(options.rounds)
                ]
                found[name] = {key: statistics.median(one[key] for one in rounds) for key in rounds[0]}
    return found


def describe(found: dict[str, Any]) -> str:
    lines = [found["transport"].upper()]
    if "file_ratio" in found:
        lines.append(
            f"  files     {found['file_MB_per_second']:7.0f} MB/s, a plain copy {found['plain_MB_per_second']:.0f};"
            f" ratio {found['file_ratio']:.2f}, of CPU time {found['file_cpu_ratio']:.2f}"
        )
    for name in ("bare", "chat"):
        if name in found:
            one = found[name]
            lines.append(
                f"  {name:8}  {one['messages_per_second']:7.0f} messages/s, {one['per_core']:.0f} per core;"
                f" CPU per message {one['cpu_us_sender']:.0f} µs to send, {one['cpu_us_receiver']:.0f} µs to receive"
            )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=128, help="MiB of the file; 0 leaves the files out")
    parser.add_argument("--messages", type=int, default=5000, help="in each round; 0 leaves the messages out")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--transport", choices=("tcp", "tls"), action="append", help="default: both")
    parser.add_argument("--json", type=Path, help="where to write what was measured")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--receive", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.receive:
        run_profiled(receive(*options.receive), os.environ.get("MSRP_BENCHMARK_PROFILE") == "receiver")
        return
    NotificationCenter().add_observer(Clock(), "MediaStreamDidStart")
    found = []
    for transport in options.transport or ("tcp", "tls"):
        found.append(run_profiled(measure(transport, options), options.profile))
        print(describe(found[-1]), flush=True)
    if options.json:
        options.json.write_text(json.dumps(found, indent=2))


def run_profiled(work: Awaitable[Any], wanted: bool) -> Any:
    profile = cProfile.Profile()

    async def run() -> Any:
        return await work

    if wanted:
        profile.enable()
    outcome = asyncio.run(run())
    profile.disable()
    if wanted:
        pstats.Stats(profile, stream=sys.stderr).sort_stats("tottime").print_stats(35)
    return outcome


if __name__ == "__main__":
    main()
