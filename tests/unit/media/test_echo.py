"""The echo of the loudspeaker is taken out of the microphone, and who speaks there is not. Needs the extra `aec`."""

import importlib.util
import sys
import wave
from pathlib import Path

import numpy as np
import pytest

import sipsimple
from sipsimple.media import devices
from sipsimple.media.commands import SYSTEM_DEFAULT
from sipsimple.media.devices import SoundDevices
from sipsimple.media.echo import EchoCanceller, echo_canceller

RATE = 16000
FRAME = RATE // 50
needs_library = pytest.mark.skipif(importlib.util.find_spec("livekit") is None, reason="needs sipsimple[aec]")


def speech(seconds):
    with wave.open(str(Path(sipsimple.__file__).parent / "data" / "demo.wav")) as file:
        assert file.getframerate() == RATE
        samples = np.frombuffer(file.readframes(file.getnframes()), np.int16).astype(float)
    return np.resize(samples, int(seconds * RATE))


def level(samples):
    """In dB."""
    return 20 * np.log10(np.sqrt(np.mean(np.square(samples.astype(float)))) + 1e-3)


def echo_of(far, delay, gain):
    """What a microphone hears of a loudspeaker in a small room: some dozens of reflections, `delay` ms later."""
    rng = np.random.default_rng(1)
    room = rng.normal(size=800) * np.exp(-np.arange(800) / 150)
    room[0] = 2
    room *= gain / np.sqrt(np.square(room).sum())
    silence = np.zeros(delay * RATE // 1000)
    heard = np.concatenate([silence, np.convolve(far, room)])[: len(far)]
    return heard + rng.normal(size=len(far)) * 5


def cleaned(far, microphone):
    """Run both through a canceller, a frame at a time, as a mixer does."""
    canceller = EchoCanceller(RATE)
    result = np.clip(microphone, -32768, 32767).astype(np.int16)
    far = far.astype(np.int16)
    for at in range(0, len(far) - FRAME + 1, FRAME):
        canceller.clean(result[at : at + FRAME])
        canceller.heard(far[at : at + FRAME])
    return result


@needs_library
@pytest.mark.parametrize(("delay", "gain"), [(20, 0.3), (60, 0.6), (100, 0.4), (180, 0.4)])
def test_echo_is_gone_after_two_seconds(delay, gain):
    """In most of the time, for the library may look for the delay anew in a passage that repeats itself."""
    far = speech(8)
    microphone = echo_of(far, delay, gain)
    heard = cleaned(far, microphone)
    seconds = range(2 * RATE, len(far), RATE // 2)
    losses = [level(microphone[at : at + RATE // 2]) - level(heard[at : at + RATE // 2]) for at in seconds]
    assert np.median(losses) > 30


@needs_library
def test_who_speaks_at_the_microphone_is_heard():
    far = speech(5)
    far[3 * RATE :] = 0
    near = np.zeros(len(far))
    near[3 * RATE :] = speech(2)
    heard = cleaned(far, echo_of(far, 60, 0.4) + near)
    assert level(heard[3 * RATE + RATE // 2 :]) == pytest.approx(level(near[3 * RATE + RATE // 2 :]), abs=6)


@needs_library
def test_a_soft_voice_is_raised_where_that_is_wanted():
    voice = (speech(6) / 8).astype(np.int16)
    levels = []
    for gain_control in (False, True):
        canceller = EchoCanceller(RATE, gain_control)
        heard = voice.copy()
        for at in range(0, len(voice) - FRAME + 1, FRAME):
            canceller.heard(np.zeros(FRAME, np.int16))
            canceller.clean(heard[at : at + FRAME])
        levels.append(level(heard[3 * RATE :]))
    assert levels[1] > levels[0] + 3


@needs_library
def test_a_library_that_fails_leaves_the_microphone_as_it_is(monkeypatch, caplog):
    canceller = EchoCanceller(RATE)

    class Failing:
        @staticmethod
        def process_stream(samples):
            raise RuntimeError("out of order")

    canceller._processing = Failing
    frame = np.arange(FRAME, dtype=np.int16)
    canceller.clean(frame)
    canceller.clean(frame)
    assert frame.tolist() == list(range(FRAME))
    assert len(caplog.records) == 1


def test_none_is_made_where_none_is_wanted_or_possible(monkeypatch, caplog):
    assert echo_canceller(RATE, 0) is None
    assert echo_canceller(22050, 200) is None
    monkeypatch.setitem(sys.modules, "livekit.rtc", None)
    caplog.set_level("INFO")
    assert echo_canceller(RATE, 200) is None
    assert "sipsimple[aec]" in caplog.text


@pytest.mark.parametrize(
    ("input", "output", "made"), [(SYSTEM_DEFAULT, SYSTEM_DEFAULT, 1), (SYSTEM_DEFAULT, None, 0), (None, None, 0)]
)
def test_both_devices_are_needed(monkeypatch, input, output, made):
    asked = []
    monkeypatch.setattr(devices, "echo_canceller", lambda *arguments: asked.append(arguments))
    sound = SoundDevices(FRAME)
    sound.open(input, output, RATE, "NULL", 200, True)
    sound.close()
    assert asked == [(RATE, 200, True)] * made
