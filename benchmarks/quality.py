"""How well is speech heard through a bad network? Ours and pjsua2-python get the same packets at the same time.

    python benchmarks/quality.py [--quick] [--only CONDITION ...] [--takes 4] [--json FILE]

Both run as echo servers. Speech is sent to them in packets that are lost, late and out of order by a plan that is made
once for each take; what they played out comes back over a network without faults and is compared with what was said.
Printed for each condition:

* the score of PESQ (ITU-T P.862, narrow band: 1 is bad, 4.55 is what was said), the mean of all takes and passages,
* the delay from the packet that a sound is in to the packet that it is sent back in, in milliseconds: what the jitter
  buffer, the mixer and the packet time add. The delay of the network counts too, with jitter.

PESQ is the package `pesq`, built into an environment of its own (`--environments DIR` keeps it); where there is no C
compiler, a likeness of spectra stands in for it (from 0 to 1), which is no measure that others use. The speech is
`demo.wav` of the package, and, where espeak-ng is installed, two more voices. Needs Linux and two cores.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from replay import FRAME, RATE, Call, Condition, Heard, NoAnswer, Replay, replay
from signalling import CORES, HERE, RIVALS, Unavailable, install, our_command, serving

import sipsimple
from sipsimple.cli.demo.verdict import best_lag, correlation, read_wave, resample, stretch_of
from sipsimple.media.codecs.g711 import PCMU

OURS, THEIRS = "sipsimple", "pjsua2"
CONDITIONS = (
    Condition("clean"),
    Condition("loss 3 %", loss=0.03),
    Condition("loss 10 %", loss=0.10),
    Condition("loss 20 %", loss=0.20),
    Condition("bursts 10 %", loss=0.10, burst=3),
    Condition("jitter 40 ms", jitter=0.04),
    Condition("disorder 40 ms", jitter=0.04, overtaking=True),
    Condition("jitter, loss 5 %", jitter=0.04, loss=0.05),
    Condition("drift +200 ppm", drift=200, rounds=4),
    Condition("drift -200 ppm", drift=-200, rounds=4),
)
SEED = 862
PAUSE = 0.5
"""Seconds of silence before each passage."""
VOICES = {
    "en-gb": "The birch canoe slid on the smooth planks. Glue the sheet to the dark blue background. Hoist the load.",
    "en-us+f3": "It's easy to tell the depth of a well. These days a chicken leg is a rare dish. Use a pencil.",
}
"""Voices of espeak-ng, and the Harvard sentences (IEEE 1969) that they say."""
LEVEL = 0.08
"""Root mean square of the speech, of full scale: -22 dB."""
STRETCH = 0.25
"""Seconds of speech of which the delay is found at once."""
SEARCH = (-0.1, 0.6)
"""Seconds of delay among which it is looked for."""
LIKE = 0.9
"""Least correlation of a stretch that tells its delay."""
SCORE_TIMEOUT = 300
PRIORITY = -10
"""Of the servers and of who sends, where the system allows it."""

Samples = npt.NDArray[np.int16]
Sound = npt.NDArray[np.float64]


@dataclass
class Speech:
    """What is said: the samples, and where in them the passages are that are scored by themselves."""

    samples: Samples
    passages: list[tuple[int, int]]

    def said(self, rounds: int) -> Speech:
        """The same, several times over."""
        length = len(self.samples)
        passages = [(first + n * length, last + n * length) for n in range(rounds) for first, last in self.passages]
        return Speech(np.tile(self.samples, rounds), passages)

    def payloads(self) -> npt.NDArray[np.uint8]:
        """Packets of PCMU, one a row."""
        return PCMU.encode(np.zeros(1, np.int64), self.samples).reshape(-1, FRAME)


def speech(directory: Path) -> Speech:
    """All voices that there are, one after the other."""
    sources = [Path(sipsimple.__file__).parent / "data" / "demo.wav", *_synthesised(directory)]
    parts: list[Sound] = []
    passages = []
    place = 0
    for source in sources:
        sound = resample(*read_wave(source), RATE)
        sound = sound * (LEVEL / np.sqrt(np.mean(sound**2)))
        pause = int(PAUSE * RATE)
        whole = -(-(pause + len(sound)) // FRAME) * FRAME
        parts += [np.zeros(pause), sound, np.zeros(whole - pause - len(sound))]
        passages.append((place + pause, place + pause + len(sound)))
        place += whole
    samples = np.clip(np.concatenate(parts) * 32768, -32767, 32767).astype(np.int16)
    return Speech(samples, passages)


def _synthesised(directory: Path) -> Iterator[Path]:
    program = shutil.which("espeak-ng")
    if program is None:
        print("espeak-ng is not installed: one voice has to do")
        return
    for voice, text in VOICES.items():
        path = directory / f"{voice}.wav"
        subprocess.run([program, "-v", voice, "-w", str(path), text], check=True, timeout=60)
        yield path


class Scorer:
    """Gives marks, by PESQ where it can be built."""

    def __init__(self, environments: Path) -> None:
        self._python: Path | None = None
        self.name = "PESQ"
        try:
            self._python = install("pesq", environments / "pesq")
        except Unavailable as error:
            print(f"{error}\nA likeness of spectra, from 0 to 1, stands in for PESQ; it is no standard.")
            self.name = "likeness"

    def scores(self, pairs: list[tuple[Samples, Samples]], directory: Path) -> list[float]:
        """The mark of each pair of what was said and what was heard."""
        if self._python is None:
            return [likeness(said, heard) for said, heard in pairs]
        lines = []
        for number, pair in enumerate(pairs):
            paths = [directory / f"{number}-{name}.raw" for name in ("said", "heard")]
            for path, samples in zip(paths, pair, strict=True):
                samples.tofile(path)
            lines.append(" ".join(map(str, paths)))
        command = [str(self._python), str(HERE / "pesq_scores.py")]
        asked = "\n".join(lines)
        done = subprocess.run(command, input=asked, capture_output=True, text=True, timeout=SCORE_TIMEOUT, check=False)
        if done.returncode:
            raise NoAnswer(f"PESQ failed: {done.stderr.strip()[-300:]}")
        return [float(line) for line in done.stdout.split()]


def likeness(said: Samples, heard: Samples) -> float:
    """How alike the spectra of two recordings are, from 0 to 1: 20 dB apart on average is 0."""
    one, other = (_spectra(samples) for samples in (said, heard))
    loud = one.max(axis=1) > one.max() - 40
    return float(np.clip(1 - np.abs(one - other)[loud].mean() / 20, 0, 1))


def _spectra(samples: Samples) -> Sound:
    windows = np.lib.stride_tricks.sliding_window_view(samples.astype(np.float64), 256)[::128]
    power = np.abs(np.fft.rfft(windows * np.hanning(256))) ** 2
    bands = power[:, 4:124].reshape(len(power), 20, 6).sum(axis=2)
    return np.asarray(10 * np.log10(bands + 1e4))


@dataclass
class Marks:
    """What one peer achieved in one condition."""

    scores: list[float] = field(default_factory=list)
    delays: list[float] = field(default_factory=list)

    @property
    def score(self) -> float:
        return float(np.mean(self.scores)) if self.scores else float("nan")

    @property
    def delay(self) -> float:
        return float(np.median(self.delays)) if self.delays else float("nan")


@dataclass
class Row:
    """One condition: score and delay (ms) of ours and theirs."""

    condition: str
    score: float
    their_score: float
    delay_ms: float
    their_delay_ms: float
    late_p99_ms: float
    """How late the packets left: what the machine did to the measurement."""


def cut(spoken: Speech, heard: Heard, began: float) -> tuple[list[tuple[Samples, Samples]], list[Sound]]:
    """Pairs of passages as said and as heard; and of each, where in what was heard each of its stretches is.

    The places are in seconds after the beginning of the stretch was sent.
    """
    sound = heard.samples.astype(np.float64)
    ahead = int((began - heard.began) * RATE)
    pairs, delays = [], []
    for first, last in spoken.passages:
        said = spoken.samples[first:last]
        least, most = (int(RATE * seconds) for seconds in SEARCH)
        area = stretch_of(sound, first + ahead + least, last - first + most - least)
        lag = best_lag(said.astype(np.float64), area)
        pairs.append((said, stretch_of(area, lag, len(said)).astype(np.int16)))
        delays.append(_delays(said.astype(np.float64), area) + SEARCH[0])
    return pairs, delays


def _delays(said: Sound, area: Sound) -> Sound:
    size = int(STRETCH * RATE)
    most = int((SEARCH[1] - SEARCH[0]) * RATE)
    found = []
    for start in range(0, len(said) - size, size):
        stretch, near = said[start : start + size], area[start : start + size + most]
        lag = max(best_lag(stretch, near), 0)
        if correlation(stretch, stretch_of(near, lag, size)) >= LIKE and np.abs(stretch).max() > 1000:
            found.append(lag / RATE)
    return np.array(found)


def measure(
    condition: Condition, ports: dict[str, int], spoken: Speech, takes: int, scorer: Scorer, directory: Path
) -> Row:
    """Have all peers hear the same; raises NoAnswer."""
    said = spoken.said(condition.rounds)
    payloads = said.payloads()
    takes = max(1, takes // condition.rounds)
    dice = [random.Random(SEED + take) for take in range(takes)]
    plans = [condition.plan(len(payloads), each) for each in dice]
    calls = {name: [Call(port, take, payloads) for take in range(takes)] for name, port in ports.items()}
    together = [call for of_one in calls.values() for call in of_one]
    try:
        for call in together:
            call.establish()
        outcome = replay(together, plans * len(ports))
    finally:
        for call in together:
            call.hang_up()
    marks = {name: _mark(said, of_one, outcome, scorer, directory) for name, of_one in calls.items()}
    ours, theirs = marks.get(OURS, Marks()), marks.get(THEIRS, Marks())
    return Row(
        condition.name, ours.score, theirs.score, 1000 * ours.delay, 1000 * theirs.delay, 1000 * outcome.late_p99
    )


def _mark(said: Speech, calls: list[Call], outcome: Replay, scorer: Scorer, directory: Path) -> Marks:
    marks = Marks()
    pairs: list[tuple[Samples, Samples]] = []
    for call in calls:
        found, delays = cut(said, call.heard(_decoded), outcome.began)
        pairs += found
        marks.delays += [float(delay) for passage in delays for delay in passage]
    marks.scores = scorer.scores(pairs, directory)
    return marks


def _decoded(octets: npt.NDArray[np.uint8]) -> Samples:
    return PCMU.decode(np.zeros(1, np.int64), octets)


def text(row: Row) -> str:
    return (
        f"{row.condition:17} {row.score:8.2f} {row.their_score:8.2f} "
        f"{row.delay_ms:9.0f} {row.their_delay_ms:9.0f} {row.late_p99_ms:9.1f}"
    )


def compare(rows: list[Row]) -> str:
    """How we stand in all conditions; above 1 is better than they."""
    rows = [row for row in rows if row.score == row.score and row.their_score == row.their_score]
    if not rows:
        return "nobody to compare with"
    ratios = [row.score / row.their_score for row in rows]
    worst = rows[int(np.argmin(ratios))]
    delay = np.mean([row.delay_ms for row in rows]) / np.mean([row.their_delay_ms for row in rows])
    return (
        f"score x {np.mean(ratios):.2f} of pjsua2's on average, x {min(ratios):.2f} at worst ({worst.condition}); "
        f"delay x {delay:.2f}"
    )


def command(name: str, environments: Path) -> list[str]:
    """How an echo server is run. Raises Unavailable."""
    if name == OURS:
        return [*our_command(), "--mode", "echo", "--codec", "PCMU"]
    return [str(install(RIVALS[name], environments / name)), str(HERE / "rivals" / f"echo_{name}.py"), "{port}", "echo"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one take, and no drift, which takes a while to show")
    parser.add_argument("--only", nargs="+", choices=[it.name for it in CONDITIONS], help="measure these alone")
    parser.add_argument("--takes", type=int, default=4, help="how many calls each condition gets, at once")
    parser.add_argument("--environments", type=Path, help="keep the environments of the others here")
    parser.add_argument("--json", type=Path, help="write the results here as well")
    options = parser.parse_args()
    if options.quick:
        options.takes = 1
    if sys.platform != "linux" or len(CORES) < 2:
        sys.exit("this needs Linux and two cores, one for the servers and one for what they are sent")
    os.sched_setaffinity(0, {max(CORES)})
    # The servers inherit it: what else the machine does is not what is measured.
    with suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, PRIORITY)
    chosen = [it for it in CONDITIONS if it.name in (options.only or [it.name]) and not (options.quick and it.drift)]
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="quality-") as scratch, ExitStack() as running:
        directory = Path(scratch)
        environments = options.environments or directory
        spoken = speech(directory)
        scorer = Scorer(environments)
        ports = {}
        for name in (OURS, THEIRS):
            try:
                server = running.enter_context(serving(name, command(name, environments), directory))
                ports[name] = server.port
            except Unavailable as error:
                print(f"{name} is left out: {error}", flush=True)
        # A packet that leaves late would be counted as the network's fault.
        with suppress(PermissionError):
            os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(1))
        print(f"{'':17} {scorer.name:>8} {'':8} {'delay ms':>9} {'':9} {'sent late':>9}")
        print(f"{'':17} {'ours':>8} {'pjsua2':>8} {'ours':>9} {'pjsua2':>9} {'ms, p99':>9}", flush=True)
        for condition in chosen:
            try:
                rows.append(measure(condition, ports, spoken, options.takes, scorer, directory))
                print(text(rows[-1]), flush=True)
            except NoAnswer as error:
                print(f"{condition.name:17} {error}", flush=True)
    print(compare(rows))
    if options.json is not None:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")


if __name__ == "__main__":
    main()
