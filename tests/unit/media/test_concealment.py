"""What is heard where packets are missing: the same sound, fading, without a click; or the noise that was announced."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sipsimple.media.concealment import ABSENT, MAX_PITCHES, Concealer
from tests.unit.media.test_codecs import level, speech, tone

RATES = pytest.mark.parametrize("rate", [8000, 16000, 48000])


def play(
    rate: int, sound: np.ndarray, lost: set[int], few_rows: int = 1, noise: int | None = None, *, looking: bool = False
) -> np.ndarray:
    """Play a sound, as many times at once as there are rows, without the frames that are lost.

    `looking` has the frame behind be known already.
    """
    concealer, size = Concealer(few_rows + 1, rate), rate // 50
    rows = np.arange(1, few_rows + 1)
    for row in rows.tolist():
        concealer.open(row)
    heard = []
    pieces = sound.reshape(-1, size)

    def ahead(asking: np.ndarray) -> np.ndarray:
        absent = number + 1 in lost or number + 1 == len(pieces)
        following = np.full(size, ABSENT, np.int16) if absent else pieces[number + 1]
        return np.repeat(following[None], len(asking), axis=0)

    for number, frame in enumerate(pieces):
        frames = np.repeat(frame[None], few_rows, axis=0)
        if number in lost:
            if noise is not None:
                concealer.announce_noise(1, noise)
            frames[:] = ABSENT
        concealer.conceal(rows, frames, ahead if looking else None)
        assert (frames == frames[0]).all() or noise is not None
        heard.append(frames[0])
    return np.concatenate(heard)


def sharpest(sound: np.ndarray) -> int:
    return int(np.abs(np.diff(sound.astype(int))).max())


@RATES
def test_without_loss_nothing_is_changed(rate):
    sound = speech(rate)
    assert (play(rate, sound, set()) == sound).all()


@RATES
@pytest.mark.parametrize("frequency", [200, 440, 1000])
def test_a_tone_goes_on_through_a_lost_frame(rate, frequency):
    sound = tone(rate, frequency)
    heard = play(rate, sound, {20, 35})
    assert sharpest(heard) < 1.3 * sharpest(sound) + 100
    first_half = slice(20 * rate // 50, 20 * rate // 50 + rate // 100)
    assert level(heard[first_half]) == pytest.approx(level(sound), abs=1)
    spectrum = np.abs(np.fft.rfft(heard.astype(float)))
    assert abs(int(spectrum.argmax()) - frequency) <= 1


@RATES
def test_speech_goes_on_and_fades_in_a_burst(rate):
    sound, size = speech(rate), rate // 50
    lost = set(range(25, 31))
    heard = play(rate, sound, lost)
    assert sharpest(heard) < 1.5 * sharpest(sound)
    around = level(sound[24 * size : 25 * size])
    levels = [level(heard[n * size : (n + 1) * size]) for n in range(25, 31)]
    assert levels[0] == pytest.approx(around, abs=4)
    assert levels[4] < levels[2] < levels[1]
    assert levels[5] < 0
    # What comes after the overlap of 5 ms is as it was sent.
    after = 31 * size + rate // 200 + 1
    assert (heard[after:] == sound[after:]).all()


@RATES
@pytest.mark.parametrize("lost", [{25}, {25, 26}], ids=["one frame", "two"])
def test_what_comes_after_a_hole_makes_the_hole_better(rate, lost):
    sound, size = speech(rate), rate // 50
    hole = slice(25 * size, (max(lost) + 2) * size)

    def fault(heard: np.ndarray) -> float:
        return float(np.square(heard[hole].astype(float) - sound[hole]).mean())

    without, looking = play(rate, sound, lost), play(rate, sound, lost, looking=True)
    assert fault(looking) < 0.9 * fault(without)
    assert sharpest(looking) < 1.5 * sharpest(sound)
    assert (
        looking[(max(lost) + 1) * size + rate // 200 + 1 :] == sound[(max(lost) + 1) * size + rate // 200 + 1 :]
    ).all()


@RATES
def test_a_concealed_frame_is_like_the_voice_and_better_than_silence(rate):
    sound, size = speech(rate, 2.0), rate // 50
    lost = set(range(10, 100, 9))
    heard = play(rate, sound, lost).astype(float)
    error = sum(((heard - sound)[n * size : n * size + size // 2] ** 2).sum() for n in lost)
    silence = sum((sound[n * size : n * size + size // 2].astype(float) ** 2).sum() for n in lost)
    assert error < 0.35 * silence


def test_many_rows_are_concealed_alike():
    sound = speech(8000)
    assert (play(8000, sound, {9, 10, 30}, few_rows=40) == play(8000, sound, {9, 10, 30})).all()


def test_more_losses_at_once_than_pitches_are_looked_for_are_concealed_too():
    count = MAX_PITCHES + 20
    concealer, sound, rows = Concealer(count, 8000), speech(8000).reshape(-1, 160), np.arange(count)
    for row in rows.tolist():
        concealer.open(row)
    for number in range(12):
        frames = np.repeat(sound[number][None], count, axis=0)
        if number == 11:
            frames[:] = ABSENT
        concealer.conceal(rows, frames)
    assert level(frames[0]) == pytest.approx(level(sound[10]), abs=4)
    assert level(frames[-1]) == pytest.approx(level(sound[10]), abs=4)


def test_half_a_frame_is_concealed_from_where_it_is_missing():
    concealer, sound = Concealer(1, 8000), tone(8000, 400, 0.2).reshape(-1, 160)
    concealer.open(0)
    heard = []
    for number, frame in enumerate(sound):
        frames = frame[None].copy()
        if number == 5:
            frames[0, 80:] = ABSENT
        elif number == 6:
            frames[0, :40] = ABSENT
        concealer.conceal(np.array([0]), frames)
        heard.append(frames[0])
    assert (heard[5][:80] == sound[5][:80]).all()
    assert sharpest(np.concatenate(heard)) < 1.3 * sharpest(sound.reshape(-1))
    assert (heard[6][81:] == sound[6][81:]).all()


def test_silence_stays_silent():
    sound = np.zeros(8000, np.int16)
    assert not play(8000, sound, {3, 4, 5, 30}).any()


@RATES
def test_announced_noise_is_heard_at_its_level(rate):
    """RFC 3389 3.1: the level is in -dBov; a sine of full scale has -3."""
    sound = speech(rate, 1.0)
    heard = play(rate, sound, set(range(10, 40)), noise=50)
    middle = heard[20 * rate // 50 : 39 * rate // 50]
    assert level(middle) - 20 * np.log10(32767) == pytest.approx(-50, abs=0.7)
    after = 41 * rate // 50
    assert (heard[after:] == sound[after:]).all()
    assert level(play(rate, sound, set(range(10, 40)))[20 * rate // 50 : 39 * rate // 50]) < 0


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_whatever_is_missing_nothing_is_left_absent_or_out_of_range(data):
    concealer, chance = Concealer(5, 8000), np.random.default_rng(data.draw(st.integers(0, 1 << 32)))
    for row in range(5):
        concealer.open(row)
    for _ in range(data.draw(st.integers(1, 20))):
        frames = chance.integers(-32767, 32768, (5, 160)).astype(np.int16)
        for row in range(5):
            match data.draw(st.sampled_from(["whole", "gone", "part", "holes"])):
                case "gone":
                    frames[row] = ABSENT
                case "part":
                    first, last = sorted(chance.integers(0, 160, 2))
                    frames[row, first:last] = ABSENT
                case "holes":
                    frames[row][chance.random(160) < 0.2] = ABSENT
        if data.draw(st.booleans()):
            concealer.announce_noise(data.draw(st.integers(0, 4)), data.draw(st.integers(0, 255)))
        concealer.conceal(np.arange(5), frames)
        assert frames.min() > ABSENT
