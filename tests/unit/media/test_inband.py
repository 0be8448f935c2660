"""Digits in audio: found whatever their level, twist and neighbours; not found in speech, noise or single tones."""

from importlib.resources import files

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sipsimple.media.codecs.g711 import mu_law_decoding, mu_law_encoding
from sipsimple.media.inband import HIGH, KEYS, LOW, ToneDetector
from sipsimple.media.resample import Resampler
from sipsimple.media.wave import WaveReader

ALL = "".join(KEYS)


def tones(digits, rate, *, milliseconds=60, pause=60, level=0.25, twist_db=0.0, detune=0.0):
    """The digits as sound, with silence around each."""
    low_level, high_level = level * 10 ** (-twist_db / 40), level * 10 ** (twist_db / 40)
    parts = [np.zeros(rate * pause // 1000)]
    times = np.arange(rate * milliseconds // 1000) / rate
    for digit in digits:
        row = next(index for index, keys in enumerate(KEYS) if digit in keys)
        low, high = LOW[row] * (1 + detune), HIGH[KEYS[row].index(digit)] * (1 + detune)
        parts += [
            low_level * np.sin(2 * np.pi * low * times) + high_level * np.sin(2 * np.pi * high * times),
            np.zeros(rate * pause // 1000),
        ]
    return (np.concatenate(parts) * 32767).astype(np.int16)


def heard(samples, rate):
    return together([samples], rate)[0]


def together(streams, rate):
    """What is heard in streams of one length, in each, while all are listened to by one detector."""
    detector, rows = ToneDetector(rate), np.arange(len(streams))
    for row in rows.tolist():
        detector.listen(row)
    frame, found = rate // 50, [""] * len(streams)
    for start in range(0, len(streams[0]), frame):
        for row, digit in detector.feed(rows, np.array([samples[start : start + frame] for samples in streams])):
            found[row] += digit
    return found


def test_many_streams_are_listened_to_at_once():
    wanted = ["1", "22", "", "*0#", "D"]
    streams = [tones(digits, 8000) for digits in wanted]
    length = max(map(len, streams))
    assert together([np.pad(samples, (0, length - len(samples))) for samples in streams], 8000) == wanted


def test_a_stream_can_join_and_leave_while_another_presses():
    detector, samples, found = ToneDetector(8000), tones("1234", 8000), ""
    detector.listen(5)
    for number, start in enumerate(range(0, len(samples), 160)):
        if number % 6 == 2:
            detector.listen(3)
        rows = np.array([3, 5]) if number % 6 in (2, 3) else np.array([5, 9])
        frame = samples[start : start + 160]
        quiet = np.zeros_like(frame)
        digits = detector.feed(rows, np.array([quiet, frame] if rows[0] == 3 else [frame, quiet]))
        found += "".join(digit for row, digit in digits if row == 5)
        if number % 6 == 4:
            detector.forget(3)
    assert found == "1234"


@pytest.mark.parametrize("rate", [8000, 16000, 48000])
def test_every_key_is_recognised_once(rate):
    assert heard(tones(ALL, rate), rate) == ALL


def test_repeated_and_long_digits():
    assert heard(tones("11155", 8000), 8000) == "11155"
    assert heard(tones("7", 8000, milliseconds=2000), 8000) == "7"


@pytest.mark.parametrize("level", [0.45, 0.1, 0.03])
@pytest.mark.parametrize("twist", [-6, 0, 6])
@pytest.mark.parametrize("detune", [-0.012, 0, 0.012])
def test_levels_twists_and_frequencies_that_equipment_may_have(level, twist, detune):
    samples = tones("159D", 8000, level=level, twist_db=twist, detune=detune)
    assert heard(samples, 8000) == "159D"


@settings(max_examples=25)
@given(st.text(ALL, min_size=1, max_size=6), st.integers(0, 199), st.integers(45, 120), st.integers(40, 100))
def test_wherever_a_digit_begins_it_counts_once(digits, offset, milliseconds, pause):
    samples = tones(digits, 8000, milliseconds=milliseconds, pause=pause)
    assert heard(np.concatenate((np.zeros(offset, np.int16), samples)), 8000) == digits


def test_digits_survive_g711_and_noise():
    samples = tones("0123456789", 8000, level=0.2)
    noisy = (samples + np.random.default_rng(1).normal(0, 300, len(samples))).astype(np.int16)
    decoded = mu_law_decoding()[mu_law_encoding()[noisy.view(np.uint16)]]
    assert heard(decoded, 8000) == "0123456789"


def test_speech_noise_and_single_tones_are_no_digits():
    reader = WaveReader(str(files("sipsimple") / "data" / "demo.wav"))
    speech = reader.read(10**7)
    rate = reader.sample_rate
    reader.close()
    speech = speech[: len(speech) // (rate // 50) * (rate // 50)].reshape(-1, rate // 50)
    resampler = Resampler(rate, 8000, 1)
    row = np.zeros(1, np.int64)
    narrow = np.concatenate([resampler.process(row, frame[np.newaxis])[0] for frame in speech])
    assert heard(narrow, 8000) == ""
    generator = np.random.default_rng(3)
    assert heard((generator.normal(0, 6000, 8000 * 20)).astype(np.int16), 8000) == ""
    times = np.arange(8000) / 8000
    for frequency in (350, 440, 697, 852, 1209, 1477, 2100):
        sine = (9000 * np.sin(2 * np.pi * frequency * times)).astype(np.int16)
        assert heard(sine, 8000) == "", frequency
    dial_tone = (6000 * np.sin(2 * np.pi * 350 * times) + 6000 * np.sin(2 * np.pi * 440 * times)).astype(np.int16)
    assert heard(dial_tone, 8000) == ""
