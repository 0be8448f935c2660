"""The jitter buffer, driven tick by tick by packets whose samples tell their own position."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sipsimple.media.jitter import ABSENT, MAX_LEAD_MS, RING_MS, WINDOW_TICKS, JitterBuffer

RATE = 8000
FRAME = 160
PERIOD = 32000


def content(position: np.ndarray) -> np.ndarray:
    """Sample at a position of the sender's clock; never zero, so that silence and concealment show."""
    return (position % PERIOD + 1).astype(np.int16)


@dataclass
class Call:
    """A buffer with one stream, and a record of what was heard."""

    ptime: int = FRAME
    offset: int = 0
    row: int = 2
    buffer: JitterBuffer = field(default_factory=lambda: JitterBuffer(4, RATE))
    heard: list[np.ndarray] = field(default_factory=list)
    late: int = 0

    def __post_init__(self):
        self.buffer.open(self.row)

    def packet(self, number: int) -> None:
        start = number * self.ptime
        samples = content(np.arange(start, start + self.ptime)).reshape(1, -1)
        timestamp = (start + self.offset) & 0xFFFFFFFF
        self.late += int(not self.buffer.write(np.array([self.row]), np.array([timestamp]), samples)[0])

    def tick(self, *numbers: int) -> np.ndarray:
        for number in numbers:
            self.packet(number)
        frame = self.buffer.read(np.array([self.row]))[0]
        self.heard.append(frame)
        return frame

    def run(self, arrivals: dict[int, list[int]], ticks: int) -> None:
        for tick in range(ticks):
            self.tick(*arrivals.get(tick, []))

    def delay_ms(self) -> float:
        return self.buffer.delay(self.row) * 1000 / RATE


def whole(frame: np.ndarray) -> bool:
    """Whether the frame is an undamaged run of the sender's samples."""
    steps = np.diff(frame.astype(int)) % PERIOD
    return bool((steps == 1).all() and (frame > 0).all())


def plays(frame: np.ndarray, number: int) -> bool:
    return bool((frame == content(np.arange(number * FRAME, (number + 1) * FRAME))).all())


def test_clean_stream_is_heard_whole_one_frame_after_it_arrived():
    call = Call()
    for number in range(500):
        frame = call.tick(number)
        assert plays(frame, number - 1) if number else not frame.any()
    assert call.late == 0


@pytest.mark.parametrize("offset", [0, 0xFFFFFFFF - 1000, 0x7FFFFFFF, 12345])
def test_timestamps_wrap_unnoticed(offset):
    call = Call(offset=offset)
    for number in range(50):
        frame = call.tick(number)
        assert number == 0 or plays(frame, number - 1)


@pytest.mark.parametrize("ptime_ms", [10, 20, 30, 40, 50, 60, 120])
def test_any_packet_duration_is_heard_without_a_hole(ptime_ms):
    call = Call(ptime=ptime_ms * 8)
    due = 0
    for tick in range(300):
        numbers = []
        while due * ptime_ms <= tick * 20:
            numbers.append(due)
            due += 1
        call.tick(*numbers)
    # The first frames may be one step of adaptation.
    assert all(whole(frame) for frame in call.heard[20:])
    assert call.late == 0


def test_packets_that_cross_the_end_of_the_ring_are_whole():
    # 33 samples do not divide the ring, so every turn ends inside a packet.
    call = Call(ptime=33)
    due = 0
    for tick in range(400):
        numbers = []
        while (due + 1) * 33 <= tick * FRAME + 400:
            numbers.append(due)
            due += 1
        call.tick(*numbers)
    # The margin may be adapted once, at the end of the first window.
    assert all(whole(frame) for frame in call.heard[WINDOW_TICKS:])


def test_a_margin_that_was_too_small_from_the_first_packet_on_is_not_kept_for_a_window():
    call = Call()
    call.run({0: [0], **{number + 1: [number] for number in range(1, 100)}}, 100)
    assert WINDOW_TICKS > 100
    assert call.delay_ms() >= 30


def test_lost_packet_is_concealed_with_the_last_frame_fading():
    call = Call()
    call.run({n: [n] for n in range(10)}, 10)
    concealed = [call.tick() for _ in range(8)][1:]
    levels = [float(np.abs(frame.astype(int)).mean()) for frame in concealed]
    assert 0.7 < levels[0] / np.mean(content(np.arange(9 * FRAME, 10 * FRAME))) < 1.1
    assert all(later < earlier for earlier, later in itertools.pairwise(levels[:6]))
    assert levels[-1] == 0


def test_silence_gap_keeps_the_timing():
    call = Call()
    call.run({n: [n] for n in range(10)}, 60)
    assert not call.heard[40].any()
    assert not call.tick(60).any()
    assert plays(call.tick(61), 60)
    assert call.late == 0


def test_reordered_and_duplicate_packets_do_no_harm():
    call = Call()
    order = {0: [0], 1: [2, 1], 2: [1], 3: [3, 3], 4: [4]}
    call.run(order, 5)
    assert [plays(frame, n - 1) for n, frame in enumerate(call.heard)][1:] == [True] * 4


def test_late_packets_make_the_delay_larger_and_quiet_makes_it_smaller_again():
    call = Call()
    call.run({n: [n] for n in range(20)}, 20)
    start = call.delay_ms()
    # Every other packet comes two ticks late, both at once: 40 ms of jitter.
    for tick in range(20, 60):
        call.tick(*((tick - 2, tick - 1) if tick % 2 else ()))
    assert call.delay_ms() >= start
    assert all(whole(frame) for frame in call.heard[45:60])
    grown = call.buffer.delay(call.row)
    call.tick(59, 60)
    for tick in range(61, 61 + 5 * WINDOW_TICKS):
        call.tick(tick)
    assert call.buffer.delay(call.row) < grown + FRAME
    assert whole(call.heard[-1])
    assert call.delay_ms() <= start + 20


def test_jitter_of_up_to_60_ms_is_heard_without_holes_once_adapted():
    chance = random.Random(5)
    call = Call()
    arrivals: dict[int, list[int]] = {}
    for number in range(1500):
        arrivals.setdefault(number + chance.randrange(4), []).append(number)
    call.run(arrivals, 1500)
    damaged = sum(not whole(frame) for frame in call.heard[300:])
    assert damaged < 12
    assert call.delay_ms() <= 140


def test_a_packet_that_just_misses_its_tick_now_and_then_does_no_harm():
    call = Call()
    missed = range(50, 6 * WINDOW_TICKS, 10)
    arrivals: dict[int, list[int]] = {}
    for number in range(6 * WINDOW_TICKS):
        arrivals.setdefault(number + (number in missed), []).append(number)
    call.run(arrivals, 6 * WINDOW_TICKS)
    assert all(plays(frame, number - 1) for number, frame in enumerate(call.heard[1:-1], start=1))


@pytest.mark.parametrize("ppm", [-1000, 1000])
def test_sender_with_another_clock_is_heard_without_loss(ppm):
    call = Call()
    number = 0
    for tick in range(9000):
        numbers = []
        while number * (1 - ppm / 1e6) <= tick:
            numbers.append(number)
            number += 1
        call.tick(*numbers)
    damaged = sum(not whole(frame) for frame in call.heard[1:])
    # 1000 ppm are nine frames in three minutes, which are left out or added in pieces of 15 ms at most.
    assert damaged <= 20
    assert call.late <= 2
    assert call.delay_ms() <= 80


def test_burst_that_waited_for_us_is_not_kept_as_delay():
    call = Call()
    call.tick(*range(20))
    assert call.delay_ms() <= 40
    assert plays(call.tick(20), 19)


@pytest.mark.parametrize("jump_ms", [-5000, -700, 700, 60_000, 10_000_000])
def test_timestamp_jump_is_a_new_beginning(jump_ms):
    call = Call()
    call.run({n: [n] for n in range(10)}, 10)
    jump = jump_ms // 20
    for n in range(10, 15):
        call.tick(n + jump)
    assert plays(call.heard[-1], 13 + jump)
    assert call.delay_ms() <= 40


@pytest.mark.parametrize("skipped", [-15, -1, 0, 20])
def test_sender_that_counted_a_pause_wrongly_is_heard_at_once(skipped):
    call = Call()
    call.run({n: [n] for n in range(10)}, 10 + 15)
    first = 25 + skipped
    call.tick(first)
    call.tick(first + 1)
    assert any(plays(frame, first) for frame in call.heard[-2:])
    assert call.delay_ms() <= 40


def test_sender_that_paused_shortly_without_counting_is_heard_after_a_few_ticks():
    call = Call()
    call.run({n: [n] for n in range(10)}, 10 + 6)
    for n in range(10, 20):
        call.tick(n)
    assert whole(call.heard[-1])
    assert call.delay_ms() <= 120


def test_nothing_but_late_packets_is_a_new_beginning():
    call = Call()
    call.run({n: [n] for n in range(20)}, 20)
    # Another path is 300 ms longer from one packet to the next.
    call.run({tick: [tick + 5] for tick in range(7)}, 7)
    assert whole(call.heard[-1])
    assert call.delay_ms() <= 40


def test_stalled_network_that_delivers_at_once_does_not_leave_its_delay():
    call = Call()
    call.run({n: [n] for n in range(50)}, 50)
    for _ in range(15):
        call.tick()
    call.tick(*range(50, 66))
    for n in range(66, 66 + 3 * WINDOW_TICKS):
        call.tick(n)
    assert whole(call.heard[-1])
    assert call.delay_ms() <= 60


def test_delay_is_bounded_whatever_arrives():
    call = Call()
    chance = random.Random(9)
    for tick in range(3000):
        call.tick(*(tick + chance.randrange(-60, 60) for _ in range(chance.randrange(4))))
        assert -MAX_LEAD_MS <= call.delay_ms() <= MAX_LEAD_MS + 20


def test_restart_makes_the_next_packet_the_first():
    call = Call()
    call.run({n: [n] for n in range(5)}, 5)
    call.buffer.restart(np.array([call.row]))
    assert call.delay_ms() == 0
    call.tick(1000)
    # What was heard before fades into it.
    assert not plays(call.tick(1001), 1000)
    assert plays(call.tick(1002), 1001)


def test_streams_are_independent():
    buffer = JitterBuffer(3, RATE)
    for row in range(3):
        buffer.open(row)
    rows = np.array([0, 2])
    for n in range(30):
        samples = np.stack([np.full(FRAME, 100 + n), np.full(FRAME, 200 + n)]).astype(np.int16)
        buffer.write(rows, np.array([n * FRAME, 5000 + n * FRAME]), samples)
        frames = buffer.read(np.arange(3))
        if n:
            assert frames[:, 0].tolist() == [99 + n, 0, 199 + n]


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_no_pattern_of_arrivals_plays_a_sample_twice_or_leaks_the_mark(data):
    """Loss, reordering, duplicates, jumps: no frame holds ABSENT, and the ring is empty after all has been played."""
    call = Call(ptime=data.draw(st.sampled_from([80, 160, 240, 77])))
    base = 0
    for _ in range(data.draw(st.integers(1, 80))):
        base += data.draw(st.sampled_from([1, 1, 1, 1, 0, 3, 200, -150]))
        numbers = data.draw(st.lists(st.integers(base - 3, base + 3), max_size=4))
        assert ABSENT not in call.tick(*numbers)
    # After everything that was sent is past, nothing is left in the ring to be heard a turn later.
    silent = [call.tick() for _ in range(2 * (RING_MS + MAX_LEAD_MS) // 20)]
    assert not np.any(silent[-RING_MS // 20 :])
