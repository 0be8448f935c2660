"""How many calls with sound does one core carry? Echo calls and conferences, established by SIP, 50 packets/s each way.

    python benchmarks/media.py [--quick] [--only NAME ...] [--modes echo conference] [--seconds 10] [--json FILE]

The server runs on one core, all callers in one process on another. The number of calls grows until the sound does not
come back whole: more than 0.1 % of the packets missing or silent, or one gap in a thousand longer than `MAX_GAP`.
Printed for each step: calls, loss, the 99.9th percentile of the time between two packets, the load of the server's
core; and at the end how we compare with the best of the others.

Others: `pjsua2-python` and `sipral` from PyPI, in environments of their own, and baresip from Debian with its module
`echo`. One that cannot be installed or does not answer is left out with a message. Needs Linux and two cores.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from rtp_load import Callers, Heard
from signalling import CORES, HERE, RIVALS, Server, Unavailable, install, our_command, serving

OURS = "sipsimple"
ECHO_STEPS = (4, 25, 50, 75, 100, 125, 150, 200, 250, 300, 400, 500, 600, 700, 800, 900, 1000, 1250, 1500, 2000)
CONFERENCE_STEPS = (4, 10, 25, 50, 75, 100, 150, 200, 300, 400, 500, 600, 700, 800, 900, 1000, 1250, 1500, 2000)
TALKERS = 3
"""Participants of a conference that talk at once; if all did, their sum would only be clipped."""
MAX_ACCOUNTS = 600
"""Of baresip, one for each call."""
MAX_LOSS = 0.001
MAX_GAP = 0.060
MODES = {"echo": (OURS, "pjsua2", "sipral", "baresip"), "conference": (OURS, "pjsua2")}

BARESIP = """\
poll_method epoll
net_interface 127.0.0.1
sip_listen 127.0.0.1:{port}
call_max_calls 4000
call_local_timeout 60
ausrc_srate 8000
auplay_srate 8000
rtp_ports 20000-40000
jitter_buffer_type fixed
jitter_buffer_delay 1-5
module_path /usr/lib/baresip/modules
module g711.so
module aubridge.so
module_tmp account.so
module_app echo.so
"""


@dataclass
class Step:
    """One number of calls, and whether it was carried."""

    name: str
    mode: str
    calls: int
    loss: float
    gap_ms: float
    core_percent: float
    carried: bool


def baresip_command(directory: Path) -> list[str]:
    """How baresip is run as an echo server. Raises Unavailable."""
    program = shutil.which("baresip")
    if program is None or not Path("/usr/lib/baresip/modules/echo.so").exists():
        raise Unavailable("baresip with its module echo is not installed: apt-get install baresip-core")
    folder = directory / "baresip"
    folder.mkdir(exist_ok=True)
    # Each account has an audio device of its own: two calls at one device would hear each other.
    (folder / "accounts").write_text(
        "".join(
            f"<sip:service{number}@127.0.0.1>;regint=0;answermode=auto;audio_codecs=pcmu;"
            f"audio_source=aubridge,d{number};audio_player=aubridge,d{number}\n"
            for number in range(MAX_ACCOUNTS)
        )
    )
    (folder / "contacts").touch()
    script = folder / "run.sh"
    script.write_text(
        f"#!/bin/sh\ncat >{folder}/config <<END\n{BARESIP}END\n".replace("{port}", "$1")
        + f"echo ready\nexec {program} -4 -f {folder}\n"
    )
    return ["/bin/sh", str(script), "{port}"]


def command(name: str, mode: str, directory: Path, environments: Path) -> list[str]:
    """How a server is run. Raises Unavailable."""
    if name == OURS:
        # 254 slots are not enough here; the ports have to be.
        return [*our_command(), "--mode", mode, "--max-calls", "3800", "--codec", "PCMU"]
    if name == "baresip":
        return baresip_command(directory)
    python = install(RIVALS[name], environments / name)
    return [str(python), str(HERE / "rivals" / f"echo_{name}.py"), "{port}", mode]


def climb(name: str, mode: str, server: Server, steps: tuple[int, ...], seconds: float) -> list[Step]:
    """Add calls step by step until they are not carried."""
    callers = Callers(server.port, max(steps), TALKERS if mode == "conference" else None)
    found: list[Step] = []
    for calls in steps:
        if not callers.call(calls):
            print(f"{name:10} {mode:10} {calls:6}  not all were answered", flush=True)
            break
        before, began = server.cpu(), time.monotonic()
        heard = callers.measure(seconds)
        core = 100 * (server.cpu() - before) / (time.monotonic() - began)
        found.append(judge(name, mode, heard, core))
        print(row(found[-1]), flush=True)
        if not found[-1].carried:
            break
    callers.hang_up()
    return found


def judge(name: str, mode: str, heard: Heard, core: float) -> Step:
    carried = heard.loss < MAX_LOSS and heard.gap_p999 < MAX_GAP
    return Step(name, mode, heard.calls, heard.loss, 1000 * heard.gap_p999, core, carried)


def row(step: Step) -> str:
    verdict = "" if step.carried else "  not carried"
    return (
        f"{step.name:10} {step.mode:10} {step.calls:6} {100 * step.loss:8.3f} {step.gap_ms:9.1f} "
        f"{step.core_percent:6.0f}{verdict}"
    )


def measure(name: str, mode: str, options: argparse.Namespace, scratch: Path) -> list[Step]:
    """Measure one server in one mode; nothing when it cannot take part."""
    steps = ECHO_STEPS if mode == "echo" else CONFERENCE_STEPS
    if options.quick:
        steps = tuple(step for step in steps if step in (4, 25, 50, 100, 250, 500, 1000, 2000))
    try:
        words = command(name, mode, scratch, options.environments or scratch)
        with serving(name, words, scratch) as server:
            return climb(name, mode, server, steps, options.seconds)
    except Unavailable as error:
        print(f"{name:10} {mode:10}  left out: {error}", flush=True)
    except ProcessLookupError:
        print(f"{name:10} {mode:10}  it ended under the load", flush=True)
    return []


def most(steps: list[Step], mode: str, names: set[str]) -> int:
    """The highest number of calls that one of these carried."""
    return max((step.calls for step in steps if step.mode == mode and step.carried and step.name in names), default=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer steps, each of 4 seconds")
    parser.add_argument("--only", nargs="+", choices=[OURS, "pjsua2", "sipral", "baresip"], help="measure these alone")
    parser.add_argument("--modes", nargs="+", choices=list(MODES), default=list(MODES), help="what the callers get")
    parser.add_argument("--seconds", type=float, default=10, help="how long each step is measured")
    parser.add_argument("--environments", type=Path, help="keep the environments of the others here")
    parser.add_argument("--json", type=Path, help="write the results here as well")
    options = parser.parse_args()
    if options.quick:
        options.seconds = 4
    if sys.platform != "linux" or len(CORES) < 2:
        sys.exit("this needs Linux and two cores, one for the server and one for the callers")
    os.sched_setaffinity(0, {max(CORES)})
    print(f"{'':10} {'':10} {'calls':>6} {'loss %':>8} {'gap ms':>9} {'core %':>6}", flush=True)
    steps: list[Step] = []
    with tempfile.TemporaryDirectory(prefix="media-") as scratch:
        for mode in options.modes:
            for name in MODES[mode]:
                if name in (options.only or MODES[mode]):
                    steps += measure(name, mode, options, Path(scratch))
    for mode in options.modes:
        ours, best = most(steps, mode, {OURS}), most(steps, mode, set(MODES[mode]) - {OURS})
        ratio = f"x {ours / best:.1f} of the best of the others" if best else "nobody to compare with"
        print(f"{mode}: {ours} calls on one core, {ratio}")
    if options.json is not None:
        options.json.write_text(json.dumps([asdict(step) for step in steps], indent=2) + "\n")


if __name__ == "__main__":
    main()
