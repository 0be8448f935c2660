"""What the application does in its threads is not heard: no packet is lost, and the ticks of the engine stay punctual.

The same call is measured twice, while the application is idle and while it burns processor time in three threads and
has the garbage collector look at a million objects again and again. The machine that runs the tests may be busy with
other things, which only makes it worse: so what is asked for is to be reached once in a few attempts.
"""

from __future__ import annotations

import gc
import threading
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sipsimple
from sipsimple.audio import AudioBridge, WavePlayer, WaveRecorder
from sipsimple.cli.demo.verdict import COMPARED_RATE, QUIET, align, best_lag, correlation, read_wave, stretch_of
from sipsimple.core.media import MediaClient
from sipsimple.media.commands import EngineStatistics
from sipsimple.media.lateness import percentile
from sipsimple.notification import NotificationCenter
from sipsimple.streams import AudioStream
from tests.interop.user_agent import VoiceServer, user_agent
from tests.support.agent import eventually

SPEECH = Path(sipsimple.__file__).parent / "data" / "demo.wav"
SECONDS = 4
SETTLED = 160
"""Packets after which a jitter buffer has made its delay as small as it can be."""
ATTEMPTS = 3
THREADS = 3
GARBAGE = 1_000_000
TOLERANCE = 0.03
"""Of the likeness of the recording to the speech."""
STRETCH = 0.25
"""Seconds of speech that are compared at once: a jitter buffer that changes its delay loses nothing."""
SHIFT = 0.1
"""Seconds by which the delay of a stretch may differ from that of all."""
PUNCTUAL = 0.010
"""Seconds that the latest of a hundred ticks may be later than when idle."""


@dataclass
class Phase:
    """What one part of the call was like."""

    lost: int
    skipped: int
    likeness: float
    late_p99: float
    late_p999: float

    def __str__(self) -> str:
        return (
            f"{self.lost} packets lost, {self.skipped} ticks skipped, likeness {self.likeness:.4f}, "
            f"ticks late by {1000 * self.late_p99:.1f} ms (p99), {1000 * self.late_p999:.1f} ms (p99.9)"
        )


@contextmanager
def stress() -> Iterator[list[int]]:
    """Burn processor time, and collect garbage that is none; what each thread has done so far."""
    over = threading.Event()
    rounds = [0] * (THREADS + 1)

    def burn(number: int) -> None:
        while not over.is_set():
            sum(n * n for n in range(10_000))
            rounds[number] += 1

    def collect() -> None:
        kept = [[number] for number in range(GARBAGE)]
        while not over.is_set():
            gc.collect()
            rounds[THREADS] += 1
        kept.clear()

    threads = [threading.Thread(target=burn, args=(number,)) for number in range(THREADS)]
    threads.append(threading.Thread(target=collect))
    for thread in threads:
        thread.start()
    try:
        yield rounds
    finally:
        over.set()
        for thread in threads:
            thread.join()


async def phase(stream: Any, speech: Path, recording: Path) -> Phase:
    """Say something to the echo, and look at what came back."""
    before = await MediaClient().acall(EngineStatistics()), stream.statistics
    player, recorder = WavePlayer(stream.mixer, str(speech)), WaveRecorder(stream.mixer, str(recording))
    ear = AudioBridge(stream.mixer)
    await recorder.start_soon()
    ear.add(stream)
    ear.add(recorder)
    stream.bridge.add(player)
    async with NotificationCenter().subscribe("WavePlayerDidEnd", player) as ends:
        await player.start()
        await ends.next(timeout=10 * SECONDS)
    # The last of it is still on its way.
    enough = _size(recording) + 16000
    await eventually(lambda: _size(recording) > enough, "the end of the recording", 5 * SECONDS)
    await recorder.stop()
    after = await MediaClient().acall(EngineStatistics()), stream.statistics
    counts = [new - old for old, new in zip(before[0]["late_counts"], after[0]["late_counts"], strict=True)]
    return Phase(
        lost=after[1]["rx"]["packets_lost"] - before[1]["rx"]["packets_lost"],
        skipped=int(after[0]["skipped"] - before[0]["skipped"]),
        likeness=likeness(speech, recording),
        late_p99=percentile(counts, 99),
        late_p999=percentile(counts, 99.9),
    )


def likeness(speech: Path, recording: Path) -> float:
    """The mean correlation of all stretches of the speech with the recording, each at a delay of its own."""
    pair = align(*read_wave(speech), *read_wave(recording))
    size, shift = (int(COMPARED_RATE * seconds) for seconds in (STRETCH, SHIFT))
    found = []
    for start in range(0, len(pair.played) - size, size):
        said = pair.played[start : start + size]
        near = stretch_of(pair.heard, start - shift, size + 2 * shift)
        if np.abs(said).max() > QUIET * np.abs(pair.played).max():
            found.append(correlation(said, stretch_of(near, best_lag(said, near), size)))
    return float(np.mean(found))


def _size(path: Path) -> int:
    return path.stat().st_size


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    path = tmp_path / "speech.wav"
    with wave.open(str(SPEECH)) as whole, wave.open(str(path), "wb") as part:
        part.setparams(whole.getparams())
        part.writeframes(whole.readframes(SECONDS * whole.getframerate()))
    return path


@pytest.mark.timeout(180)
async def test_a_busy_application_is_not_heard(nothing_left, tmp_path, speech, monkeypatch):
    monkeypatch.setenv("SIPSIMPLE_MEDIA_HOST", "process")
    async with VoiceServer(tmp_path, "--mode", "echo") as server, user_agent() as agent:
        session = await agent.call(f"sip:echo@127.0.0.1:{server.udp_port};transport=udp", codecs=["PCMU"])
        stream: AudioStream = session.streams[0]
        await eventually(lambda: stream.statistics["rx"]["packets"] > SETTLED, "some packets")
        for _ in range(ATTEMPTS):
            idle = await phase(stream, speech, tmp_path / "idle.wav")
            with stress() as rounds:
                busy = await phase(stream, speech, tmp_path / "busy.wav")
            print(f"idle: {idle}\nbusy: {busy}\nthe threads did {rounds} rounds")
            assert min(rounds) > 0
            if (
                idle.likeness > 0.9
                and busy.lost == busy.skipped == 0
                and busy.likeness > idle.likeness - TOLERANCE
                and busy.late_p99 < idle.late_p99 + PUNCTUAL
            ):
                break
        else:
            pytest.fail(f"the application is heard; {busy}; and when it was idle: {idle}")
        await session.end()
