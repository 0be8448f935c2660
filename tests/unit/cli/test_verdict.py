"""The verdict accepts what a telephone does to audio, and nothing that a fault does to it."""

from __future__ import annotations

import wave
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from sipsimple.cli.demo.verdict import (
    COMPARED_RATE,
    MIN_CORRELATION,
    AudioUnusable,
    best_lag,
    compare,
    compare_files,
    read_wave,
    resample,
)
from sipsimple.media.codecs.g711 import PCMU

ROW = np.zeros(1, np.int64)


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    """The shipped sample in the telephone band."""
    samples, rate = read_wave(Path(str(files("sipsimple") / "data" / "demo.wav")))
    return resample(samples, rate, COMPARED_RATE)


def through_pcmu(samples: np.ndarray) -> np.ndarray:
    g711 = PCMU
    frame = np.rint(samples * 32767).astype(np.int16)
    return g711.decode(ROW, g711.encode(ROW, frame)).astype(float) / 32768


def judge(source: np.ndarray, recording: np.ndarray):
    return compare(source, COMPARED_RATE, recording, COMPARED_RATE)


def seconds(count: float) -> int:
    return int(count * COMPARED_RATE)


def test_pcmu_with_silence_around_it_and_another_volume_passes(speech):
    recording = np.concatenate((np.zeros(seconds(0.31)), 0.5 * through_pcmu(speech), np.zeros(seconds(0.7))))
    verdict = judge(speech, recording)
    assert verdict.passed, verdict.faults
    assert verdict.correlation >= MIN_CORRELATION
    assert verdict.delay == pytest.approx(0.31, abs=2 / COMPARED_RATE)
    assert verdict.gain_db == pytest.approx(-6.02, abs=0.1)


def test_another_sample_rate_of_the_recording_passes(speech):
    recording = resample(through_pcmu(speech), COMPARED_RATE, 16000)
    assert compare(speech, COMPARED_RATE, recording, 16000).passed


def noise(speech):
    return speech + np.random.default_rng(7).normal(0, 0.35 * speech.std(), len(speech))


def dropped(speech):
    return np.concatenate((speech[: seconds(2.5)], speech[seconds(2.6) :]))


def dropped_at_the_end(speech):
    return np.concatenate((speech[: seconds(5.2)], speech[seconds(5.3) :]))


def silenced(speech):
    return np.concatenate((speech[: seconds(2.5)], np.zeros(seconds(0.1)), speech[seconds(2.6) :]))


def repeated(speech):
    return np.concatenate((speech[: seconds(2.52)], speech[seconds(2.5) :]))


def inverted(speech):
    half = len(speech) // 2
    return np.concatenate((speech[:half], -speech[half:]))


def inverted_whole(speech):
    return -speech


def swapped(speech):
    half = len(speech) // 2
    return np.concatenate((speech[half:], speech[:half]))


def cut_off(speech):
    return speech[: seconds(4)]


def slowed(speech):
    return np.interp(np.arange(0, len(speech), 0.99), np.arange(len(speech)), speech)


def hummed(speech):
    hum = np.zeros(len(speech))
    hum[seconds(3) : seconds(3.4)] = 0.2 * np.sin(2 * np.pi * 1000 * np.arange(seconds(0.4)) / COMPARED_RATE)
    return speech + hum


def clipped(speech):
    return np.clip(speech * 8, -0.25, 0.25)


@pytest.mark.parametrize(
    "disturb",
    [
        noise,
        dropped,
        dropped_at_the_end,
        silenced,
        repeated,
        inverted,
        inverted_whole,
        swapped,
        cut_off,
        slowed,
        hummed,
        clipped,
    ],
)
def test_disturbed_audio_fails(speech, disturb):
    verdict = judge(speech, disturb(through_pcmu(speech)))
    assert not verdict.passed
    assert verdict.faults
    assert "does not match" in str(verdict)


def test_an_empty_or_silent_recording_fails(speech):
    assert "the recording is empty" in judge(speech, np.zeros(0)).faults
    assert not judge(speech, np.zeros(seconds(6))).passed


def test_noise_alone_fails(speech):
    assert not judge(speech, np.random.default_rng(1).normal(0, 0.2, seconds(8))).passed


def test_a_silent_source_is_no_source():
    with pytest.raises(AudioUnusable, match="silent"):
        judge(np.zeros(8000), np.ones(8000))


@pytest.mark.parametrize("lag", [-700, -1, 0, 1, 1234])
def test_the_lag_is_found_to_the_sample(speech, lag):
    heard = speech[-lag:] if lag < 0 else np.concatenate((np.zeros(lag), speech))
    assert best_lag(speech, heard) == lag


def test_files_that_are_no_wave_are_named(tmp_path):
    damaged = tmp_path / "damaged.wav"
    damaged.write_bytes(b"RIFF nonsense")
    with pytest.raises(AudioUnusable, match=r"damaged\.wav cannot be read as a WAV file"):
        read_wave(damaged)
    with pytest.raises(AudioUnusable, match=r"missing\.wav"):
        compare_files(tmp_path / "missing.wav", damaged)


def test_eight_bit_files_are_refused(tmp_path):
    path = tmp_path / "eight.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(1)
        file.setframerate(8000)
        file.writeframes(bytes(100))
    with pytest.raises(AudioUnusable, match="16 bits"):
        read_wave(path)


@pytest.mark.parametrize("length", [94501, 94502, 94499])
def test_an_odd_number_of_samples_does_not_change_the_speed(length):
    tone = np.sin(2 * np.pi * 3000 * np.arange(length) / 16000)
    half = resample(tone, 16000, 8000)
    expected = np.sin(2 * np.pi * 3000 * np.arange(len(half)) / 8000)
    assert np.abs(half - expected)[100:-100].max() < 0.05


@pytest.mark.parametrize("samples", [1, 2, 3, 5])
def test_a_delay_by_part_of_a_compared_sample_passes(speech, samples):
    fine = resample(speech, COMPARED_RATE, 48000)
    recording = np.concatenate((np.zeros(samples), fine, np.zeros(100)))
    verdict = compare(speech, COMPARED_RATE, recording, 48000)
    assert verdict.correlation > 0.999
    assert verdict.worst_stretch > 0.999
    assert verdict.delay == pytest.approx(samples / 48000, abs=2e-6)
