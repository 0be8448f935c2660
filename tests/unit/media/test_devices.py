"""Sound devices: rings between two clocks, names, and devices that are none. Uses miniaudio's own null backend."""

import time

import miniaudio
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipsimple.media import devices
from sipsimple.media.commands import SYSTEM_DEFAULT, DeviceNames, RealDevices
from sipsimple.media.devices import NOT_A_DEVICE, RING_SIZE, STALL_TIMEOUT, Ring, SoundDevices, list_devices
from sipsimple.media.errors import DeviceError, DeviceNotFound

FRAME = 10


def ramp(start, count):
    return np.arange(start, start + count, dtype=np.int16)


class TestRing:
    def test_reading_begins_when_enough_has_gathered(self):
        ring = Ring(FRAME)
        ring.write(ramp(1, FRAME))
        assert not ring.read(FRAME).any()
        ring.write(ramp(1 + FRAME, FRAME))
        assert ring.read(FRAME).tolist() == ramp(1, FRAME).tolist()
        assert ring.read(FRAME).tolist() == ramp(1 + FRAME, FRAME).tolist()

    def test_a_slow_writer_makes_silence_until_enough_has_gathered_again(self):
        ring = Ring(FRAME)
        ring.write(ramp(1, 2 * FRAME + 3))
        ring.read(FRAME)
        ring.read(FRAME)
        assert ring.read(FRAME).tolist() == [21, 22, 23] + [0] * 7
        ring.write(ramp(100, FRAME))
        assert not ring.read(FRAME).any()
        ring.write(ramp(110, FRAME))
        assert ring.read(FRAME).tolist() == ramp(100, FRAME).tolist()

    def test_a_fast_writer_loses_the_oldest_samples(self):
        ring = Ring(FRAME)
        ring.write(ramp(0, 7 * FRAME))
        assert ring.read(FRAME).tolist() == ramp(5 * FRAME, FRAME).tolist()

    def test_a_ring_that_nobody_reads_stays_bounded(self):
        ring = Ring(FRAME)
        for _ in range(100):
            ring.write(ramp(0, 7))
        assert ring.written - ring.taken == RING_SIZE * FRAME

    @given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=60))
    def test_what_comes_out_is_in_order_whatever_the_clocks_do(self, steps):
        ring, sent, heard = Ring(FRAME), 1, []
        for written, wanted in steps:
            ring.write(ramp(sent, written))
            sent += written
            heard.extend(ring.read(wanted).tolist())
            assert 0 <= ring.written - ring.taken <= RING_SIZE * FRAME
        sounds = [sample for sample in heard if sample]
        assert sounds == sorted(set(sounds))

    @given(st.integers(1, 3))
    def test_equal_clocks_lose_nothing(self, lead):
        ring, heard = Ring(FRAME), []
        ring.write(ramp(1, (lead + 1) * FRAME))
        for number in range(100):
            heard.extend(ring.read(FRAME).tolist())
            ring.write(ramp(1 + (lead + 1 + number) * FRAME, FRAME))
        assert heard == ramp(1, 100 * FRAME).tolist()


@pytest.fixture
def sound():
    sound = SoundDevices(160)
    yield sound
    sound.close()


def wait_until(condition):
    limit = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.005)


def test_the_null_backend_moves_samples_both_ways(sound):
    sound.open(SYSTEM_DEFAULT, SYSTEM_DEFAULT, 8000, backend="NULL")
    assert sound.is_open
    assert None not in (sound.real.input, sound.real.output)
    frame = np.ones(160, np.int16)
    wait_until(lambda: sound._from_capture.written > 1000)
    sound.read(frame)
    assert not frame.any()
    for _ in range(4):
        sound.write(np.ones(160, np.int16))
    wait_until(lambda: sound._to_playback.taken >= 640)


def test_one_direction_leaves_the_other_alone(sound):
    sound.open(None, SYSTEM_DEFAULT, 8000, backend="NULL")
    frame = np.ones(160, np.int16)
    sound.read(frame)
    assert sound.real.input is None
    assert frame.all()


def test_closing_twice_is_closing_once(sound):
    sound.open(SYSTEM_DEFAULT, None, 8000, backend="NULL")
    sound.close()
    sound.close()
    assert sound.real == RealDevices(None, None)


def test_a_name_that_no_device_has_is_told_with_those_there_are(sound):
    names = list_devices("NULL")
    with pytest.raises(DeviceNotFound, match=names.outputs[0]):
        sound.open(SYSTEM_DEFAULT, "Gramophone", 8000, backend="NULL")
    assert not sound.is_open


def test_stopped_callbacks_are_noticed_in_time(sound):
    sound.open(SYSTEM_DEFAULT, SYSTEM_DEFAULT, 8000, backend="NULL")
    wait_until(lambda: all(sound._callbacks))
    assert sound.stalled(50.0) is None
    sound._playback.stop()
    sound._capture.stop()
    assert sound.stalled(50.1) is None
    assert sound.stalled(50.2) is None
    assert sound.stalled(50.3 + STALL_TIMEOUT) is not None


def test_a_device_that_cannot_be_opened_is_told_and_nothing_stays_open(sound, monkeypatch):
    def fail(*args, **kwargs):
        raise miniaudio.MiniaudioError("failed to init device", -401)

    monkeypatch.setattr(miniaudio, "CaptureDevice", fail)
    with pytest.raises(DeviceError, match="failed to init device: -401"):
        sound.open(SYSTEM_DEFAULT, SYSTEM_DEFAULT, 8000, backend="NULL")
    assert not sound.is_open


class Silent(miniaudio.Devices):
    """A system with nothing but the null plug-in of ALSA."""

    def __init__(self, backends=None):
        super().__init__([miniaudio.Backend.NULL])
        self.backend = "ALSA"

    def get_playbacks(self):
        return [{"name": NOT_A_DEVICE + " (playback)", "id": None}]

    get_captures = get_playbacks


def test_without_hardware_the_default_is_no_device(sound, monkeypatch):
    monkeypatch.setattr(miniaudio, "Devices", Silent)
    assert list_devices() == DeviceNames((), ())
    sound.open(SYSTEM_DEFAULT, SYSTEM_DEFAULT, 8000)
    assert not sound.is_open
    assert sound.real == RealDevices(None, None)


def test_a_system_without_sound_has_no_devices(monkeypatch):
    def fail(backends):
        raise miniaudio.MiniaudioError("cannot init context", -1)

    monkeypatch.setattr(miniaudio.Devices, "__init__", lambda self, backends: fail(backends))
    monkeypatch.setattr(miniaudio.Devices, "__del__", lambda self: None)
    assert list_devices() == DeviceNames((), ())


def test_the_default_device_comes_first():
    found = devices._usable([{"name": "a", "default": False}, {"name": "b", "default": True}, {"name": "c"}])
    assert [info["name"] for info in found] == ["b", "a", "c"]
