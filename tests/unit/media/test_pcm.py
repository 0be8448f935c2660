"""Samples of a program in the engine: what is written is heard, what is heard comes back, flushing is silence."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipsimple.media import commands as c
from sipsimple.media.engine import Engine
from sipsimple.media.errors import CommandError
from sipsimple.media.pcm import MAX_QUEUED, PCMSlot
from tests.support.tones import measure

RATE = 8000
FRAME = RATE // 50


class Program:
    """Two programs in one engine: slot 1 speaks to slot 2."""

    def __init__(self, rate=RATE, mixer_rate=RATE):
        self.events = []
        self.engine = Engine(self.events.append, lambda: None, random=random.Random(1), audio_backend="NULL")
        self.now = 0.0
        self.do(c.CreateMixer(1, mixer_rate))
        self.do(c.OpenPCM(1, 1, 11, rate, False))
        self.do(c.OpenPCM(1, 2, 12, rate, True))
        self.do(c.Connect(1, 1, 2))

    def do(self, command):
        self.engine.handle(command, self.now)
        failures = [event for event in self.events if isinstance(event, c.CommandFailed)]
        if failures:
            raise failures[0].error

    def tick(self):
        """What slot 2 heard, and the news of slot 1, or None."""
        self.now += 0.02
        del self.events[:]
        self.engine.tick(self.now)
        (ticked,) = [event for event in self.events if isinstance(event, c.PCMTicked)]
        reports = {report.pcm: report for report in ticked.reports}
        return np.frombuffer(reports[12].heard, np.int16), reports.get(11)

    def close(self):
        self.engine.close()


@pytest.fixture
def program():
    program = Program()
    yield program
    program.close()


def test_what_is_written_is_heard_sample_by_sample_and_counted(program):
    samples = np.arange(2 * FRAME + 7, dtype=np.int16)
    program.do(c.WritePCM(11, samples.tobytes()))
    heard, told = zip(*[program.tick() for _ in range(4)], strict=True)
    assert np.array_equal(np.concatenate(heard)[: len(samples)], samples)
    assert not np.concatenate(heard)[len(samples) :].any()
    assert [report and report.played for report in told] == [FRAME, 2 * FRAME, len(samples), None]


def test_flushed_samples_are_silent_in_the_next_tick(program):
    program.do(c.WritePCM(11, np.full(10 * FRAME, 500, np.int16).tobytes()))
    program.tick()
    program.do(c.FlushPCM(11))
    heard, report = program.tick()
    assert not heard.any()
    assert (report.played, report.flushed) == (FRAME, 9 * FRAME)
    program.do(c.WritePCM(11, np.full(FRAME, 9, np.int16).tobytes()))
    assert program.tick()[0].tolist() == [9] * FRAME


@pytest.mark.parametrize("rate", [8000, 16000, 24000, 44100, 48000])
@pytest.mark.parametrize("mixer_rate", [8000, 16000])
def test_a_tone_keeps_frequency_and_level_at_any_rate(rate, mixer_rate):
    program = Program(rate, mixer_rate)
    tone = 12000 * np.sin(2 * np.pi * 440 * np.arange(rate * 2) / rate)
    program.do(c.WritePCM(11, tone.astype(np.int16).tobytes()))
    heard = np.concatenate([program.tick()[0] for _ in range(110)])
    program.close()
    found = measure(heard / 32768, rate)
    assert found.frequency == pytest.approx(440, abs=1)
    assert found.level == pytest.approx(20 * np.log10(12000 / 32768), abs=0.2)
    assert found.purity > 0.999
    assert len(heard) == 110 * rate // 50


def test_more_than_the_bound_is_refused():
    slot = PCMSlot(1, RATE, RATE, capture=False)
    slot.write(bytes(int(2 * RATE * MAX_QUEUED)))
    with pytest.raises(CommandError, match="wait to be played already"):
        slot.write(bytes(2))


def test_a_closed_slot_is_free_again(program):
    program.do(c.ClosePCM(11))
    program.do(c.ClosePCM(11))
    program.do(c.AddPort(1, 1))
    with pytest.raises(CommandError):
        program.do(c.WritePCM(11, b"\0\0"))


def test_a_rate_that_has_no_whole_frames_is_refused(program):
    with pytest.raises(CommandError, match="multiples of 50"):
        program.do(c.OpenPCM(1, 3, 13, 11025, True))


@given(st.lists(st.one_of(st.integers(0, 500), st.none(), st.just("flush")), max_size=40))
def test_nothing_is_lost_and_nothing_played_twice(steps):
    """Numbered samples: what is heard is what was written, in order, but for what was flushed."""
    slot = PCMSlot(1, RATE, RATE, capture=True)
    source = np.zeros(FRAME, np.int16)
    written, heard, expected, waiting = 1, [], [], []
    for step in steps:
        if step == "flush":
            slot.flush()
            waiting = []
        elif step is None:
            slot.fill(source)
            heard += [value for value in source.tolist() if value]
            expected += waiting[:FRAME]
            waiting = waiting[FRAME:]
        else:
            block = [number % 30000 + 1 for number in range(written, written + step)]
            written += step
            slot.write(np.array(block, np.int16).tobytes())
            waiting += block
    assert heard == expected
    report = slot.report(source)
    assert report.played == len(heard)
    assert report.played + report.flushed + len(waiting) == written - 1
