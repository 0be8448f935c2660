"""Many calls, one process: does its memory stay, and is nothing left of the calls?

    python benchmarks/soak.py [--calls 20000] [--rate 100] [--stage 5000] [--types]

SIPp's INVITE, ACK and BYE drive `sipsimple answer`. After each stage the transactions are given the time that RFC 3261
has them linger, and the process tells its memory, sockets, tasks, dialogs and transactions. The memory may grow by
less than 5 MB after the first stage, and of the rest nothing may be left. Needs `sipp` (Debian: sip-tester).
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

AIM_MB = 5.0
LINGER = 34.0
"""Seconds: 64*T1, and a little more."""
LEFT = ("sessions", "dialogs", "transactions", "timers")


# The subject: `sipsimple answer`, which tells about itself for every line that it reads.


def resident(process: int | str) -> float:
    """The resident memory of a process in MB."""
    text = Path(f"/proc/{process}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", text)[1]) / 1024  # type: ignore[index]


def children() -> list[str]:
    return [
        number for entry in Path("/proc/self/task").glob("*/children") for number in entry.read_text().split() if number
    ]


def sockets() -> int:
    found = 0
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found += os.readlink(entry).startswith("socket:")
        except FileNotFoundError:
            continue
    return found


def state(types: bool) -> dict[str, Any]:
    """What the process holds."""
    from sipsimple.core.stack import stack
    from sipsimple.session.manager import SessionManager

    gc.collect()
    endpoint = stack().endpoint
    objects = gc.get_objects()
    told = {
        "memory": resident("self"),
        "media": sum(resident(child) for child in children()),
        "sockets": sockets(),
        "tasks": len(asyncio.all_tasks()),
        "sessions": len(SessionManager().sessions),
        "dialogs": len(stack().router._dialogs),
        "transactions": len(endpoint.tables.servers) + len(endpoint.tables.clients),
        "timers": len(endpoint._timers),
        "put off": endpoint.statistics.overloaded,
        "objects": len(objects),
    }
    if types:
        told["types"] = Counter(f"{type(one).__module__}.{type(one).__qualname__}" for one in objects).most_common(60)
    return told


async def serve(types: bool) -> None:
    from sipsimple.cli.answer import AnswerOptions, Mode, answer

    options = AnswerOptions(
        config=Path("config"),
        bind="127.0.0.1",
        udp_port=0,
        tcp_port=None,
        mode=Mode.ECHO,
        file=None,
        directory=Path(),
        max_calls=2000,
        reject_code=486,
        codecs=["PCMU"],
        rtp_ports=None,
        trace=frozenset(),
        verbose=False,
    )

    def asked() -> None:
        if os.read(0, 100):
            sys.stdout.write(json.dumps(state(types)) + "\n")
            sys.stdout.flush()
        else:
            loop.remove_reader(0)

    loop = asyncio.get_running_loop()
    loop.add_reader(0, asked)
    await answer(options)


# The measurement.


class Subject:
    """The process under test."""

    def __init__(self, directory: str, types: bool) -> None:
        command = [sys.executable, str(Path(__file__).resolve()), "--serve", *(["--types"] if types else [])]
        self.process = subprocess.Popen(
            command, cwd=directory, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self.process.stdout is not None
        ready = re.search(r"ready udp:127\.0\.0\.1:(\d+)", self.process.stdout.readline())
        assert ready, "sipsimple answer did not start"
        self.port = int(ready[1])

    def state(self) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        told: dict[str, Any] = json.loads(self.process.stdout.readline())
        return told

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(10)


def call(directory: str, port: int, calls: int, rate: int) -> int:
    """Have SIPp make the calls; returns its exit status."""
    return subprocess.run(
        [
            *("sipp", f"127.0.0.1:{port}", "-sn", "uac", "-i", "127.0.0.1", "-m", str(calls), "-r", str(rate)),
            *("-nostdin", "-timeout", str(calls // rate + 120), "-l", "2000", "-d", "100"),
        ],
        cwd=directory,
        env={**os.environ, "TERM": "dumb"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
    ).returncode


async def measure(arguments: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory() as directory:
        subject = Subject(directory, arguments.types)
        try:
            return await soak(arguments, directory, subject)
        finally:
            subject.stop()


async def soak(arguments: argparse.Namespace, directory: str, subject: Subject) -> int:
    tell(0, subject.state())
    done, first, troubles = 0, None, []
    while done < arguments.calls:
        calls = min(arguments.stage, arguments.calls - done)
        if call(directory, subject.port, calls, arguments.rate):
            troubles.append(f"not all of the calls {done + 1} to {done + calls} succeeded")
        done += calls
        await asyncio.sleep(LINGER)
        now = subject.state()
        tell(done, now)
        first = first or now
        troubles += [f"{now[kind]} {kind} are left" for kind in LEFT if now[kind]]
    if first is not None and now is not first:
        growth = now["memory"] - first["memory"]
        print(f"grown by {growth:.1f} MB after the first {min(arguments.stage, done)} calls (aim: under {AIM_MB:.0f})")
        if growth >= AIM_MB:
            troubles.append(f"the memory grew by {growth:.1f} MB")
    for trouble in troubles:
        print(f"NOT GOOD: {trouble}")
    return 1 if troubles else 0


def tell(calls: int, now: dict[str, Any]) -> None:
    types = now.pop("types", [])
    numbers = "  ".join(
        f"{kind} {value:.1f}" if isinstance(value, float) else f"{kind} {value}" for kind, value in now.items()
    )
    print(f"{calls:6} calls: {numbers}", flush=True)
    for name, count in types:
        print(f"        {count:8} {name}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=20_000)
    parser.add_argument("--rate", type=int, default=100, help="calls per second")
    parser.add_argument("--stage", type=int, default=5000, help="calls between two looks at the process")
    parser.add_argument("--types", action="store_true", help="tell the most frequent types of objects, too")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        asyncio.run(serve(arguments.types))
        return 0
    return asyncio.run(measure(arguments))


if __name__ == "__main__":
    raise SystemExit(main())
