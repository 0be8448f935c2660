"""Tones: the frequencies that were asked for, as long as asked for, without clicks."""

import numpy as np
import pytest

from sipsimple.media.commands import Tone
from sipsimple.media.tones import MAX_QUEUED_TONES, ToneSource, dtmf_tones

RATE = 8000


def render(source):
    frames = []
    while source.busy:
        frame = np.empty(RATE // 50, np.int16)
        source.fill(frame)
        frames.append(frame)
    return np.concatenate(frames)


def strongest(samples, count):
    spectrum = np.abs(np.fft.rfft(samples.astype(float)))
    return sorted((spectrum.argsort()[-count:] * RATE / len(samples)).tolist())


def test_a_digit_is_two_frequencies_and_a_pause():
    source = ToneSource(RATE)
    source.play(dtmf_tones("6"))
    samples = render(source)
    assert len(samples) == RATE * 260 // 1000  # whole frames
    assert not samples[RATE // 5 :].any()
    low, high = strongest(samples[: RATE // 5], 2)
    assert abs(low - 770) <= 5
    assert abs(high - 1477) <= 5


def test_tones_follow_each_other_and_silence_is_a_tone():
    source = ToneSource(RATE)
    source.play((Tone(500, 0, 100), Tone(0, 0, 100)))
    source.play((Tone(1000, 0, 100),))
    first, pause, second = render(source).reshape(3, RATE // 10)
    assert strongest(first, 1) == [500]
    assert not pause.any()
    assert strongest(second, 1) == [1000]


def test_a_tone_begins_and_ends_softly():
    source = ToneSource(RATE)
    source.play((Tone(1000, 2000, 100),))
    samples = render(source)
    assert np.abs(samples[[0, -1]]).max() < 1000
    assert 13_000 < np.abs(samples.astype(int)).max() < 32_767


def test_frames_join_without_a_jump():
    source = ToneSource(RATE)
    source.play((Tone(300, 0, 200),))
    samples = render(source)[100:1500].astype(float)
    assert np.abs(np.diff(samples, 2)).max() < 500


def test_stopping_is_silence_at_once():
    source = ToneSource(RATE)
    source.play((Tone(300, 0, 200),))
    source.stop()
    frame = np.ones(160, np.int16)
    source.fill(frame)
    assert not source.busy
    assert not frame.any()


@pytest.mark.parametrize(
    ("tones", "reason"),
    [
        ((Tone(4001, 0, 10),), "8002 Hz"),
        ((Tone(-1, 0, 10),), "tone of -1 Hz"),
        ((Tone(1, 0, -1),), "cannot last"),
        ((Tone(1, 0, 1),) * (MAX_QUEUED_TONES + 1), "are waiting"),
    ],
)
def test_impossible_tones_are_refused(tones, reason):
    with pytest.raises(ValueError, match=reason):
        ToneSource(RATE).play(tones)


def test_what_is_no_digit_is_refused():
    with pytest.raises(ValueError, match="no DTMF digit"):
        dtmf_tones("x")
