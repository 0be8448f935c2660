"""Who answers calls fastest: SIPp calls `sipsimple answer` and, in the same run, the other SIP libraries of PyPI.

    python benchmarks/signalling.py [--quick] [--only NAME ...] [--seconds 8] [--calls 2000] [--json FILE]

Each call is INVITE, 200, ACK, BYE, 200. SIPp runs on one core, the server on another. Our server is the complete
middleware (sessions, audio streams, media ports, notifications, a mixer); the others do what they do when they are
used as their documentation shows. Printed for each:

* the highest rate of calls per second with no failed call and under 0.5 % of retransmissions,
* the CPU time of the server, all its processes and threads, per 1000 calls at `CALM_RATE`, without waiting for others,
* the memory of the server per established call, at 500 calls (PSS of all its processes), in a server that was just
  started: one that has had many calls at a time takes new ones into memory that it already has,
* how we compare with the best of the others.

The others are installed into environments of their own, which are removed afterwards (`--environments DIR` keeps
them). One that cannot be installed, or that answers no call, is left out with a message. Needs SIPp and Linux.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

HERE = Path(__file__).parent
RIVALS = {
    "pjsua2": "pjsua2-python",
    "sipral": "sipral",
    "aiovoip": "aiovoip",
    "opensip": "opensip",
}
"""The name of the script in `rivals/`, and the package on PyPI."""

OURS = "sipsimple"
MAX_RETRANSMISSIONS = 0.005
CALM_RATE = 50
FIRST_RATE = 25
MAX_RATE = 6400
HELD_CALLS = 500
WARM_UP_CALLS = 100
START_TIMEOUT = 30
TICKS = os.sysconf("SC_CLK_TCK")
CORES = os.sched_getaffinity(0)


class Unavailable(Exception):
    """The server cannot take part, and why."""


@dataclass
class Outcome:
    """What SIPp counted."""

    successful: int
    failed: int
    retransmissions: int

    def is_clean(self, calls: int) -> bool:
        """No call failed or was lost, and hardly anything had to be sent twice (three messages go out per call)."""
        return self.successful == calls and self.retransmissions < MAX_RETRANSMISSIONS * 3 * calls


@dataclass
class Result:
    """One row of the report."""

    name: str
    calls_per_second: int
    cpu_per_1000_calls: float
    kilobytes_per_call: float | None


class Server:
    """A server that answers calls, while it runs."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], port: int) -> None:
        self.name = name
        self.port = port
        self._process = process

    def _processes(self) -> list[int]:
        """The server and its descendants."""
        parents = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    parents[int(entry.name)] = int(_stat(int(entry.name))[1])
        family = {self._process.pid}
        while more := {pid for pid, parent in parents.items() if parent in family} - family:
            family |= more
        return sorted(family)

    def cpu(self) -> float:
        """Seconds of CPU time that it has taken."""
        times = [_stat(pid)[11:13] for pid in self._processes()]
        return sum(int(user) + int(system) for user, system in times) / TICKS

    def memory(self) -> int:
        """Kilobytes of memory; what processes share counts once."""
        total = 0
        for pid in self._processes():
            # A helper may end between the list and the look.
            with contextlib.suppress(OSError):
                for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                    if line.startswith("Pss:"):
                        total += int(line.split()[1])
        return total


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the name, which may hold blanks."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def free_port() -> int:
    """A UDP port that nobody uses now."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving(name: str, command: list[str], directory: Path) -> Iterator[Server]:
    """Run a server on its own core until the block ends; `{port}` in the command is the port."""
    port = free_port()
    words = [word.format(port=port) for word in command]
    output = directory / f"{name}.txt"
    with output.open("wb") as log:
        process = subprocess.Popen(words, stdout=log, stderr=log, cwd=directory)
    os.sched_setaffinity(process.pid, {min(CORES)})
    try:
        wait_until(lambda: "ready" in output.read_text(errors="replace") or process.poll() is not None)
        if process.poll() is not None:
            raise Unavailable(f"it does not start: {output.read_text(errors='replace').strip()[-200:]}")
        yield Server(name, process, port)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until(condition: Callable[[], bool]) -> None:
    """Look again and again; raises Unavailable after START_TIMEOUT."""
    limit = time.monotonic() + START_TIMEOUT
    while not condition():
        if time.monotonic() > limit:
            raise Unavailable(f"it is not ready after {START_TIMEOUT} s")
        time.sleep(0.1)


def sipp(server: Server, directory: Path, calls: int, rate: int, *, hold: float = 0) -> subprocess.Popen[bytes]:
    """Start SIPp on the other core; each call lasts `hold` seconds."""
    arguments = ["-r", str(rate), "-m", str(calls), "-l", str(max(calls, 10)), "-d", str(int(hold * 1000))]
    arguments += ["-trace_stat", "-stf", "calls.csv", "-fd", "1", "-nostdin", "-i", "127.0.0.1"]
    timeout = int(calls / rate + hold) + 15
    with contextlib.suppress(FileNotFoundError):
        (directory / "calls.csv").unlink()
    process = subprocess.Popen(
        ["sipp", "-sn", "uac", *arguments, "-timeout", str(timeout), f"127.0.0.1:{server.port}"],
        cwd=directory,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.sched_setaffinity(process.pid, {max(CORES)})
    return process


def outcome(directory: Path) -> Outcome:
    """What the SIPp that has just ended counted."""
    with (directory / "calls.csv").open(newline="") as file:
        last = list(csv.DictReader(file, delimiter=";"))[-1]
    failed, again = int(last["FailedCall(C)"]), int(last["Retransmissions(C)"])
    return Outcome(int(last["SuccessfulCall(C)"]), failed, again)


def call(server: Server, directory: Path, calls: int, rate: int) -> Outcome:
    """Make calls at this rate, and wait for their end."""
    sipp(server, directory, calls, rate).wait()
    return outcome(directory)


def highest_rate(server: Server, directory: Path, seconds: float) -> int:
    """The highest rate with a clean outcome: doubled until it is not, then halved towards it, to 5 %."""

    def good(rate: int) -> bool:
        calls = int(rate * seconds)
        clean = call(server, directory, calls, rate).is_clean(calls)
        # Until the calls of a failed attempt have ended.
        time.sleep(0.5 if clean else 3)
        return clean

    low, high = 0, FIRST_RATE
    while high <= MAX_RATE and good(high):
        low, high = high, high * 2
    while high - low > max(5, low // 20):
        middle = (low + high) // 2
        low, high = (middle, high) if good(middle) else (low, middle)
    return low


def cpu_time(server: Server, directory: Path, calls: int) -> float:
    """CPU seconds per 1000 calls at a calm rate."""
    before = server.cpu()
    counted = call(server, directory, calls, CALM_RATE)
    return (server.cpu() - before) * 1000 / max(1, counted.successful)


def memory_per_call(server: Server, directory: Path) -> float | None:
    """Kilobytes per call when HELD_CALLS are established; None when it does not hold so many.

    The server has had no more than a few calls at a time before, which load what every call needs.
    """
    before = server.memory()
    hold = HELD_CALLS / CALM_RATE + 5
    running = sipp(server, directory, HELD_CALLS, CALM_RATE, hold=hold)
    time.sleep(hold - 1)
    held = server.memory()
    running.wait()
    return (held - before) / HELD_CALLS if outcome(directory).failed == 0 else None


def measure(name: str, command: list[str], directory: Path, options: argparse.Namespace) -> Result:
    """Measure one server; raises Unavailable when it answers no calls."""
    with warm(name, command, directory) as server:
        cpu = cpu_time(server, directory, options.calls)
        rate = highest_rate(server, directory, options.seconds)
    with warm(name, command, directory) as server:
        return Result(name, rate, cpu, memory_per_call(server, directory))


@contextmanager
def warm(name: str, command: list[str], directory: Path) -> Iterator[Server]:
    """Run a server that has had its first calls; raises Unavailable when it did not answer them."""
    with serving(name, command, directory) as server:
        warm_up = call(server, directory, WARM_UP_CALLS, CALM_RATE)
        if warm_up.successful < 0.9 * WARM_UP_CALLS:
            raise Unavailable(f"it answered {warm_up.successful} of {WARM_UP_CALLS} calls")
        yield server


def install(package: str, environment: Path) -> Path:
    """Install a package into an environment of its own; returns its interpreter. Raises Unavailable."""
    python = environment / "bin" / "python"
    if python.exists():
        return python
    try:
        subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True, capture_output=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", package]
        subprocess.run(pip, check=True, capture_output=True, timeout=300)
    except (OSError, subprocess.SubprocessError) as error:
        shutil.rmtree(environment, ignore_errors=True)
        raise Unavailable(f"{package} cannot be installed: {error}") from error
    return python


def our_command() -> list[str]:
    """How our own server is run, whether or not its script is on the path."""
    run = "import sys; from sipsimple.cli import main; sys.exit(main())"
    return [sys.executable, "-c", run, "answer", "--bind", "127.0.0.1", "--udp-port", "{port}", "--no-tcp"]


def compete(names: list[str], options: argparse.Namespace) -> list[Result]:
    """Measure all, one after the other."""
    results = []
    with tempfile.TemporaryDirectory(prefix="signalling-") as scratch:
        environments = options.environments or Path(scratch)
        for name in names:
            try:
                command = our_command()
                if name != OURS:
                    python = install(RIVALS[name], environments / name)
                    command = [str(python), str(HERE / "rivals" / f"answer_{name}.py"), "{port}"]
                results.append(measure(name, command, Path(scratch), options))
                print(row(results[-1]), flush=True)
            except Unavailable as error:
                print(f"{name:10}  left out: {error}", flush=True)
    return results


def row(result: Result) -> str:
    memory = "-" if result.kilobytes_per_call is None else f"{result.kilobytes_per_call:.0f}"
    return f"{result.name:10} {result.calls_per_second:8} {result.cpu_per_1000_calls:12.2f} {memory:>12}"


def compare(results: list[Result]) -> str:
    """How we stand to the best of the others in each respect; above 1 is better than they."""
    ours = next((result for result in results if result.name == OURS), None)
    others = [result for result in results if result.name != OURS]
    if ours is None or not others:
        return "nobody to compare with"
    rate = ours.calls_per_second / max(1, *(other.calls_per_second for other in others))
    cpu = min(other.cpu_per_1000_calls for other in others) / ours.cpu_per_1000_calls
    return f"we against the best of the others: rate x {rate:.2f}, calls for the same CPU time x {cpu:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer calls and shorter attempts")
    parser.add_argument("--only", nargs="+", choices=[OURS, *RIVALS], help="measure these alone")
    parser.add_argument("--seconds", type=float, default=8, help="how long each rate is tried")
    parser.add_argument("--calls", type=int, default=2000, help="how many calls the CPU time is taken of")
    parser.add_argument("--environments", type=Path, help="keep the environments of the others here")
    parser.add_argument("--json", type=Path, help="write the results here as well")
    options = parser.parse_args()
    if options.quick:
        options.seconds, options.calls = 3, 500
    if shutil.which("sipp") is None:
        sys.exit("SIPp is not installed: apt-get install sip-tester")
    if len(CORES) < 2:
        sys.exit("this needs two cores, one for SIPp and one for the server")
    print(f"{'':10} {'calls/s':>8} {'CPU s/1000':>12} {'kB per call':>12}", flush=True)
    results = compete(options.only or [OURS, *RIVALS], options)
    print(compare(results))
    if options.json is not None:
        options.json.write_text(json.dumps([asdict(result) for result in results], indent=2) + "\n")


if __name__ == "__main__":
    main()
