"""Resampling: the pass band is flat, images and aliases are gone, streams and frames join without a seam."""

from __future__ import annotations

import numpy as np
import pytest

from sipsimple.media.resample import Resampler

LEVEL = 20000


def convert(rate_in: int, rate_out: int, frequency: float, frames: int = 60) -> np.ndarray:
    resampler = Resampler(rate_in, rate_out, 1)
    time = np.arange(frames * rate_in // 50) / rate_in
    tone = np.rint(LEVEL * np.sin(2 * np.pi * frequency * time)).astype(np.int16).reshape(frames, 1, -1)
    return np.concatenate([resampler.process(np.array([0]), frame)[0] for frame in tone]).astype(float)


def spectrum(samples: np.ndarray, rate: int, frequency: float) -> tuple[float, float]:
    """Return the level of the tone and of the strongest other line, in dB of the tone sent."""
    window = np.blackman(len(samples))
    lines = np.abs(np.fft.rfft(samples * window)) * 2 / window.sum() / LEVEL
    near = np.abs(np.fft.rfftfreq(len(samples), 1 / rate) - frequency) < 15
    tone = 20 * np.log10(lines[near].max()) if near.any() else -np.inf
    return tone, 20 * np.log10(lines[~near].max() + 1e-9)


PAIRS = [(8000, 16000), (8000, 32000), (8000, 48000), (16000, 8000), (32000, 8000), (48000, 8000), (48000, 16000)]
PAIRS += [(8000, 44100), (44100, 8000), (16000, 44100)]


@pytest.mark.parametrize(("rate_in", "rate_out"), PAIRS)
@pytest.mark.parametrize("frequency", [300, 1020, 3400])
def test_speech_band_passes_flat_and_alone(rate_in, rate_out, frequency):
    output = convert(rate_in, rate_out, frequency)[rate_out // 10 :]
    tone, rest = spectrum(output, rate_out, frequency)
    assert abs(tone) < 0.1
    assert rest < -60


@pytest.mark.parametrize(("rate_in", "rate_out"), [(16000, 8000), (32000, 8000), (48000, 8000), (44100, 8000)])
@pytest.mark.parametrize("frequency", [4600, 5500, 7000])
def test_what_would_alias_is_removed(rate_in, rate_out, frequency):
    output = convert(rate_in, rate_out, frequency)[rate_out // 10 :]
    assert max(spectrum(output, rate_out, frequency)) < -50


def test_streams_do_not_leak_into_each_other():
    resampler = Resampler(8000, 16000, 4)
    random = np.random.default_rng(1)
    frames = random.integers(-9000, 9000, (6, 2, 160)).astype(np.int16)
    together = [resampler.process(np.array([3, 1]), frame) for frame in frames]
    alone = Resampler(8000, 16000, 1)
    for frame, output in zip(frames, together, strict=True):
        np.testing.assert_array_equal(alone.process(np.array([0]), frame[1:])[0], output[1])


def test_reset_forgets_the_past():
    resampler = Resampler(8000, 16000, 1)
    rows = np.array([0])
    resampler.process(rows, np.full((1, 160), 9000, np.int16))
    resampler.reset(rows)
    assert not resampler.process(rows, np.zeros((1, 160), np.int16)).any()


def test_overshoot_saturates():
    square = np.tile(np.repeat(np.array([32767, -32768], np.int16), 20), 4).reshape(1, 160)
    output = Resampler(8000, 16000, 1).process(np.array([0]), square)
    assert output.max() == 32767
    assert output.min() == -32768


@pytest.mark.parametrize("rate", [0, -8000, 11025])
def test_rates_without_whole_frames_are_refused(rate):
    with pytest.raises(ValueError, match="multiples of 50"):
        Resampler(8000, rate, 1)


@pytest.mark.parametrize("rates", [(8000, 16000), (16000, 8000), (48000, 16000), (44100, 48000)])
def test_one_stream_alone_sounds_as_among_others(rates):
    alone, among = Resampler(*rates, 4), Resampler(*rates, 4)
    chance = np.random.default_rng(3)
    for _ in range(5):
        frames = chance.integers(-32768, 32768, (2, rates[0] // 50)).astype(np.int16)
        both = among.process(np.array([1, 3]), frames)
        assert np.abs(alone.process(np.array([3]), frames[1:]).astype(int) - both[1:]).max() <= 1
