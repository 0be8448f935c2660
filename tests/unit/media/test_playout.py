"""Sound through the jitter buffer, as packets that come late, twice, in another order, by another clock, or not."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sipsimple.media.codecs import Decoder, Encoder
from sipsimple.media.codecs.opus import OpusDecoder, OpusEncoder
from sipsimple.media.jitter import JitterBuffer
from sipsimple.media.waiting import WaitingLine
from tests.unit.media.test_codecs import FEC, frames, level, likeness, speech, tone

RATE = 16000
FRAME = 320


class Line:
    """A stream in a jitter buffer: PCM as it is, or Opus through a line of waiting packets."""

    def __init__(self, decoder: Decoder | None = None, clock_rate: int = RATE, rate: int = RATE) -> None:
        self.buffer = JitterBuffer(4, rate)
        self.row, self.rows = 2, np.array([2])
        self.buffer.open(self.row, clock_rate)
        self.line = WaitingLine(self.buffer)
        if decoder is not None:
            self.line.open(self.row, decoder)
        self.decoder = decoder
        self.heard: list[np.ndarray] = []
        self.first = 0
        self.delays: list[float] = []
        """How long after it was sent sound is played, in ms, when packets need no time."""

    def take(self, timestamp: int, content: np.ndarray | bytes) -> bool:
        timestamp &= 0xFFFFFFFF
        if isinstance(content, bytes):
            return self.line.take(self.row, self.rows, timestamp, content)
        if self.buffer.append(self.row, timestamp, content):
            return True
        return bool(self.buffer.write(self.rows, np.array([timestamp]), content[None])[0])

    def tick(self) -> None:
        if self.decoder is not None:
            self.line.prepare(self.rows)
        self.heard.append(self.buffer.read(self.rows)[0])
        size = self.buffer.frame_size
        played = self.buffer.due(self.row) - size - self.first
        self.delays.append((len(self.heard) * size - played) * 20 / size)

    def sound(self) -> np.ndarray:
        return np.concatenate(self.heard)


def run(
    line: Line,
    packets: list,
    arrival: Callable[[int], float | None],
    ticks: int,
    *,
    step: int = FRAME,
    first: int = 0,
) -> None:
    """Have the packets arrive at ticks (None: never), and play."""
    line.first = first * line.buffer.frame_size // step
    due: dict[int, list[int]] = {}
    for number in range(len(packets)):
        at = arrival(number)
        if at is not None:
            due.setdefault(int(np.ceil(at)), []).append(number)
    for tick in range(ticks):
        for number in due.get(tick, []):
            line.take(first + number * step, packets[number])
        line.tick()


def sharpest(sound: np.ndarray) -> int:
    return int(np.abs(np.diff(sound.astype(int))).max())


def opus(sound: np.ndarray, parameters: dict[str, str] | None = None, ms: int = 20, loss: float = 0.2) -> list[bytes]:
    encoder: Encoder = OpusEncoder(RATE, FEC if parameters is None else parameters)
    encoder.expect_loss(loss)
    return [encoder.encode(frame) for frame in frames(sound, RATE, ms)]


@pytest.mark.parametrize("ppm", [-200, 200])
@pytest.mark.parametrize("coded", [False, True])
def test_a_clock_that_runs_apart_for_minutes_is_not_heard(ppm, coded):
    """200 ppm are 12 ms a minute: the delay stays, no frame is concealed, and the tone has no click."""
    sound = tone(RATE, 400, 120)
    packets = opus(sound) if coded else list(frames(sound, RATE))
    line = Line(OpusDecoder(RATE) if coded else None)
    run(line, packets, lambda number: number * (1 - ppm / 1e6), 6000 - 10)
    settled = line.sound()[RATE : -RATE // 2]
    lags = [delay + number * 20 * ppm / 1e6 for number, delay in enumerate(line.delays)]
    assert max(lags[10:-20]) <= 80
    assert sharpest(settled) < 1.15 * sharpest(sound)
    levels = [level(settled[start : start + RATE // 10]) for start in range(0, len(settled) - RATE, RATE // 10)]
    assert max(levels) - min(levels) < 1


@pytest.mark.parametrize("coded", [False, True])
def test_the_delay_after_a_stall_comes_back_within_five_seconds(coded):
    sound = speech(RATE, 14.0)
    packets = opus(sound) if coded else list(frames(sound, RATE))
    line = Line(OpusDecoder(RATE) if coded else None)
    # At the fourth second the network stands still for 160 ms, and then delivers everything.
    run(line, packets, lambda number: max(number, 208) if 200 <= number < 208 else number, 690)
    before, after = line.delays[190], line.delays[208 + 250]
    assert max(line.delays[200:260]) >= before + 100
    assert after <= before + 20


@pytest.mark.parametrize("coded", [False, True])
def test_the_delay_after_a_burst_of_losses_is_what_it_was(coded):
    sound = speech(RATE, 10.0)
    packets = opus(sound) if coded else list(frames(sound, RATE))
    line = Line(OpusDecoder(RATE) if coded else None)
    chance = random.Random(4)
    lost = {number for number in range(100, 200) if chance.random() < 0.4}
    run(line, packets, lambda number: None if number in lost else number, 480)
    assert max(line.delays[100 : 200 + 250]) <= line.delays[90] + 20
    assert line.delays[450] <= line.delays[90] + 20


@pytest.mark.parametrize("coded", [False, True])
def test_jitter_makes_the_delay_as_large_as_it_needs_to_be_and_no_larger(coded):
    chance = random.Random(3)
    sound = speech(RATE, 20.0)
    packets = opus(sound) if coded else list(frames(sound, RATE))
    line = Line(OpusDecoder(RATE) if coded else None)
    run(line, packets, lambda number: number + (chance.random() * 2 if number < 500 else 0), 990)
    assert 40 <= max(line.delays[400:500]) <= 120
    assert max(line.delays[750:980]) <= 60
    assert likeness(sound[5 * RATE : 8 * RATE], line.sound()[5 * RATE - FRAME : 9 * RATE], RATE) > 3
    assert sharpest(line.sound()[RATE:]) < 1.5 * sharpest(sound)


@pytest.mark.parametrize("rate", [8000, 12000, 16000, 24000, 48000])
@pytest.mark.parametrize("first", [0, 0xFFFFFFFF - 48000, 12345])
def test_opus_timestamps_of_48_kHz_wrap_unnoticed(rate, first):
    """RFC 7587 4.1: whatever the rate of the sound, the clock has 48000 Hz, which is no power of two times it."""
    sound = tone(rate, 400, 2.0)
    encoder = OpusEncoder(rate, {})
    packets = [encoder.encode(frame) for frame in frames(sound, rate)]
    line = Line(OpusDecoder(rate), 48000, rate)
    run(line, packets, lambda number: number, 100, step=960, first=first)
    settled = line.sound()[rate // 2 :]
    assert level(settled) == pytest.approx(level(sound), abs=0.7)
    assert sharpest(settled) < 1.2 * sharpest(sound) + 50


@pytest.mark.parametrize("ms", [10, 20, 40, 60])
def test_opus_packets_of_any_duration(ms):
    sound = tone(RATE, 400, 4.0)
    packets = opus(sound, {}, ms)
    line = Line(OpusDecoder(RATE))
    run(line, packets, lambda number: number * ms / 20, 190, step=FRAME * ms // 20)
    settled = line.sound()[RATE:]
    assert level(settled) == pytest.approx(level(sound), abs=0.7)
    assert sharpest(settled) < 1.2 * sharpest(sound)


def test_lost_opus_packets_come_out_of_the_next_ones():
    """One in ten is lost; with in-band FEC and a packet of lead, speech is nearer to the original."""
    sound = speech(RATE, 6.0)
    results = {}
    for parameters in ({}, FEC):
        line = Line(OpusDecoder(RATE))
        packets = opus(sound, parameters, loss=0.25)
        clean = Line(OpusDecoder(RATE))

        # A little jitter at first gives the lead that recovery needs.
        def arrival(number: int) -> float:
            return number + 2 * (number in (3, 4))

        run(line, packets, lambda number: None if number % 10 == 9 else arrival(number), 290)
        run(clean, packets, arrival, 290)
        assert len(line.sound()) == len(clean.sound())
        error = line.sound()[: RATE * 2].astype(float) - clean.sound()[: RATE * 2]
        results[bool(parameters)] = level(error) - level(clean.sound()[: RATE * 2])
    assert results[True] < results[False] - 3


def test_reordered_and_repeated_opus_packets_do_no_harm():
    sound = speech(RATE, 3.0)
    packets = opus(sound, {})
    straight, mixed = Line(OpusDecoder(RATE)), Line(OpusDecoder(RATE))
    run(straight, packets, lambda number: number + (number == 2), 140)
    for tick in range(140):
        numbers = [tick]
        if tick == 3:
            numbers = [3, 2]
        elif tick == 2:
            numbers = []
        elif tick % 10 == 5:
            numbers = [tick + 1, tick]
        elif tick % 10 == 6:
            numbers = [tick - 1, tick - 1, tick]
        for number in numbers:
            mixed.take(number * FRAME, packets[number])
        mixed.tick()
    late = RATE
    assert (mixed.sound()[late:] == straight.sound()[late:]).all()


def test_a_pause_of_opus_is_no_loss():
    """With DTX nothing is sent in silence; what comes after is heard at once, and nothing was made up at full level."""
    sound = np.concatenate([speech(RATE, 1.0), np.zeros(2 * RATE, np.int16), speech(RATE, 1.0)])
    packets = opus(sound, {"usedtx": "1"})
    line = Line(OpusDecoder(RATE))
    run(line, packets, lambda number: number if packets[number] else None, 200)
    heard = line.sound()
    assert level(heard[int(2.2 * RATE) : int(2.9 * RATE)]) < 30
    assert level(heard[int(3.2 * RATE) :]) == pytest.approx(level(sound[int(3.2 * RATE) :]), abs=1.5)
    assert line.delays[-1] <= 60


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_whatever_opus_packets_come_whenever_the_line_is_bounded(data):
    packets = HOSTILE
    line = Line(OpusDecoder(RATE))
    base = 0
    for _ in range(data.draw(st.integers(1, 60))):
        base += data.draw(st.sampled_from([1, 1, 1, 0, 3, 60, 5000, -4000]))
        for _ in range(data.draw(st.integers(0, 3))):
            number = base + data.draw(st.integers(-4, 40))
            payload = data.draw(st.sampled_from(packets))
            line.take(number * 960 // 3 + data.draw(st.sampled_from([0, 0, 0, 7])), payload)
        line.tick()
        assert line.heard[-1].min() > -32768
        assert line.buffer.delay(2) <= 740 * 16
        assert len(line.line._rows[2].packets) <= 64


HOSTILE = [*opus(speech(RATE, 0.2)), b"\x00", b"\xff", b"\xfb\xff\xff\xff", bytes(200), b"\x4b\x41" * 30]
HOSTILE += opus(speech(RATE, 0.4), {}, 60)
