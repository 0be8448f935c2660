"""The high-level audio API as documented, on the media engine itself without sound hardware."""

from __future__ import annotations

import asyncio
import gc
import struct
import wave
from datetime import datetime

import pytest

from sipsimple.audio import AudioBridge, AudioDevice, IAudioPort, WavePlayer, WaveRecorder
from sipsimple.core import AudioMixer, MixerPort, SIPCoreError, ToneGenerator
from sipsimple.core.media import MediaClient
from sipsimple.loop import bind_loop, unbind_loop
from sipsimple.notification import Any, NotificationCenter

RATE = 16000
LIMIT = 5.0


@pytest.fixture(autouse=True)
async def bound(nothing_left):
    loop = asyncio.get_running_loop()
    bind_loop(loop)
    yield
    unbind_loop(loop)
    await asyncio.to_thread(MediaClient().stop)


@pytest.fixture
def mixer(bound):
    return AudioMixer(None, None, RATE)


class Seen(list):
    """The notifications of one object."""

    def __init__(self, sender=Any):
        super().__init__()
        self.sender = sender

    def handle_notification(self, notification):
        self.append(notification)

    def __enter__(self):
        NotificationCenter().add_observer(self, sender=self.sender)
        return self

    def __exit__(self, *_):
        NotificationCenter().purge_observer(self)

    @property
    def names(self):
        return [notification.name for notification in self]


class Port(MixerPort):
    """A pass-through as an audio port."""

    @property
    def consumer_slot(self):
        return self.slot

    @property
    def producer_slot(self):
        return self.slot


def started_port(mixer):
    from zope.interface import alsoProvides

    port = Port(mixer)
    port.start()
    alsoProvides(port, IAudioPort)
    return port


def write_wave(path, seconds=0.1, value=8000, rate=RATE):
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", ""))
        file.writeframes(struct.pack("<h", value) * int(seconds * rate))
    return str(path)


def samples(path):
    with wave.open(str(path), "rb") as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, RATE)
        data = file.readframes(file.getnframes())
    return struct.unpack(f"<{len(data) // 2}h", data)


@pytest.mark.spec(20, 21, 22)
def test_every_port_has_a_mixer_and_slots(mixer):
    ports = [AudioDevice(mixer), AudioBridge(mixer), WavePlayer(mixer, "x.wav"), WaveRecorder(mixer, "x.wav")]
    for port in ports:
        assert IAudioPort.providedBy(port)
        assert port.mixer is mixer
    assert [(port.consumer_slot, port.producer_slot) for port in (ports[0], ports[2], ports[3])] == [
        (0, 0),
        (None, None),
        (None, None),
    ]


@pytest.mark.spec(23, 24, 25, 26, 27, 28, 29)
def test_a_device_gives_up_either_role(mixer):
    device = AudioDevice(mixer)
    assert (device.consumer_slot, device.producer_slot) == (0, 0)
    assert AudioDevice(mixer, input_muted=True).producer_slot is None
    assert AudioDevice(mixer, output_muted=True).consumer_slot is None
    with Seen(device) as seen:
        device.input_muted = False
        device.input_muted = True
        device.output_muted = True
        device.output_muted = False
    assert seen.names == ["AudioPortDidChangeSlots"] * 3
    first, second, third = (n.data for n in seen)
    assert (first.consumer_slot_changed, first.producer_slot_changed) == (False, True)
    assert (first.old_producer_slot, first.new_producer_slot) == (0, None)
    assert (second.consumer_slot_changed, second.producer_slot_changed) == (True, False)
    assert (second.old_consumer_slot, second.new_consumer_slot) == (0, None)
    assert (third.old_consumer_slot, third.new_consumer_slot) == (None, 0)
    assert isinstance(first.timestamp, datetime)
    for attribute in ("input_muted", "output_muted"):
        with pytest.raises(ValueError):
            setattr(device, attribute, 1)


@pytest.mark.spec(31, 32, 34, 35)
def test_a_bridge_connects_everyone_with_everyone_else(mixer):
    bridge, device = AudioBridge(mixer), AudioDevice(mixer)
    one, two = started_port(mixer), started_port(mixer)
    for port in (device, one, two, one):
        bridge.add(port)
    assert list(bridge) == [device, one, two]
    assert mixer.connected_slots == [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)]
    assert one in bridge
    bridge.remove(one)
    assert one not in bridge
    assert mixer.connected_slots == [(0, 2), (2, 0)]
    with pytest.raises(ValueError):
        bridge.remove(one)


@pytest.mark.spec(20, 33)
def test_a_bridge_takes_ports_of_its_mixer_only(mixer):
    bridge = AudioBridge(mixer)
    with pytest.raises(TypeError):
        bridge.add(object())
    with pytest.raises(ValueError, match="another mixer"):
        bridge.add(AudioDevice(AudioMixer(None, None, RATE)))


@pytest.mark.spec(33)
def test_a_bridge_keeps_nobody_alive(mixer):
    bridge, device = AudioBridge(mixer), AudioDevice(mixer)
    port = started_port(mixer)
    bridge.add(device)
    bridge.add(port)
    del port
    gc.collect()
    assert list(bridge) == [device]
    assert mixer.connected_slots == []
    del bridge
    gc.collect()
    device.input_muted = True


@pytest.mark.spec(23)
def test_a_bridge_follows_the_slots_of_its_members(mixer):
    bridge, device, port = AudioBridge(mixer), AudioDevice(mixer), started_port(mixer)
    bridge.add(device)
    bridge.add(port)
    device.input_muted = True
    assert mixer.connected_slots == [(1, 0)]
    device.output_muted = True
    assert mixer.connected_slots == []
    device.input_muted = False
    assert mixer.connected_slots == [(0, 1)]


@pytest.mark.spec(30)
def test_nested_bridges_are_as_one(mixer):
    outer, inner = AudioBridge(mixer), AudioBridge(mixer)
    one, two = started_port(mixer), started_port(mixer)
    inner.add(one)
    outer.add(two)
    outer.add(inner)
    entrance, exit_ = inner.consumer_slot, inner.producer_slot
    assert isinstance(entrance, int)
    assert isinstance(exit_, int)
    # two -> entrance -> one, and one -> exit -> two; nobody hears himself.
    assert {(2, entrance), (entrance, 1), (1, exit_), (exit_, 2)} <= set(mixer.connected_slots)
    assert (entrance, exit_) not in mixer.connected_slots


@pytest.mark.spec(36)
def test_a_player_keeps_what_it_was_given(mixer):
    player = WavePlayer(mixer, "x.wav")
    assert (player.volume, player.loop_count, player.pause_time, player.initial_play) == (100, 1, 0, True)
    player = WavePlayer(mixer, "x.wav", volume=50, loop_count=3, pause_time=2, initial_play=False)
    assert (player.filename, player.volume, player.loop_count) == ("x.wav", 50, 3)
    assert (player.pause_time, player.initial_play, player.is_active) == (2, False, False)


@pytest.mark.spec(37, 43, 45, 46, 47)
async def test_a_player_plays_once(mixer, tmp_path):
    player = WavePlayer(mixer, write_wave(tmp_path / "x.wav"))
    for _ in range(2):
        with Seen(player) as seen:
            ended = asyncio.ensure_future(NotificationCenter().wait("WavePlayerDidEnd", player, LIMIT))
            await asyncio.sleep(0)
            player.start()
            assert player.is_active
            await player.start()
            assert isinstance(player.producer_slot, int)
            assert player.consumer_slot is None
            await ended
        assert (player.is_active, player.producer_slot, mixer.used_slot_count) == (False, None, 0)
        assert seen.names == [
            "WavePlayerDidStart",
            "AudioPortDidChangeSlots",
            "AudioPortDidChangeSlots",
            "WavePlayerDidEnd",
        ]
        up, down = seen[1].data, seen[2].data
        assert (up.producer_slot_changed, up.consumer_slot_changed, up.old_producer_slot) == (True, False, None)
        assert (down.old_producer_slot, down.new_producer_slot) == (up.new_producer_slot, None)
        assert isinstance(seen[0].data.timestamp, datetime)


@pytest.mark.spec(40, 41)
async def test_a_player_repeats(mixer, tmp_path):
    player = WavePlayer(mixer, write_wave(tmp_path / "x.wav", 0.02), loop_count=3, pause_time=0.01)
    with Seen(player) as seen:
        ended = asyncio.ensure_future(NotificationCenter().wait("WavePlayerDidEnd", player, LIMIT))
        await player.start()
        await ended
    assert seen.names.count("WavePlayerDidStart") == 1
    assert seen.names.count("AudioPortDidChangeSlots") == 6


@pytest.mark.spec(40, 44)
async def test_a_player_without_end_is_stopped(mixer, tmp_path):
    player = WavePlayer(mixer, write_wave(tmp_path / "x.wav", 0.02), loop_count=0)
    async with NotificationCenter().subscribe("AudioPortDidChangeSlots", player) as events:
        await player.start()
        for _ in range(5):
            await events.next(LIMIT)
    with Seen(player) as seen:
        player.stop()
        assert (player.is_active, player.producer_slot, mixer.used_slot_count) == (False, None, 0)
        player.stop()
    assert seen.names[-1] == "WavePlayerDidEnd"
    assert seen.names.count("WavePlayerDidEnd") == 1


@pytest.mark.spec(42, 47)
async def test_a_player_stopped_before_its_first_play_ends(mixer, tmp_path):
    player = WavePlayer(mixer, write_wave(tmp_path / "x.wav"), pause_time=60, initial_play=False)
    with Seen(player) as seen:
        started = player.start()
        await asyncio.sleep(0)
        assert player.is_active
        player.stop()
        await started
    assert seen.names == ["WavePlayerDidEnd"]


async def test_a_player_may_be_stopped_from_its_own_notifications(mixer, tmp_path):
    player = WavePlayer(mixer, write_wave(tmp_path / "x.wav"), loop_count=0)

    class Stopper(Seen):
        def handle_notification(self, notification):
            super().handle_notification(notification)
            player.stop()

    with Stopper(player) as seen:
        await player.start()
        await asyncio.sleep(0)
    assert not player.is_active
    assert seen.names.count("WavePlayerDidEnd") == 1


@pytest.mark.spec(38, 48)
async def test_a_missing_file_is_a_failure(mixer, tmp_path):
    player = WavePlayer(mixer, str(tmp_path / "none.wav"))
    with Seen(player) as seen, pytest.raises(SIPCoreError):
        await player.start()
    assert seen.names == ["WavePlayerDidFail"]
    assert isinstance(seen[0].data.error, SIPCoreError)
    assert isinstance(seen[0].data.timestamp, datetime)
    assert (player.is_active, mixer.used_slot_count) == (False, 0)


async def test_a_file_that_vanishes_is_a_failure_at_its_repetition(mixer, tmp_path):
    path = tmp_path / "x.wav"
    player = WavePlayer(mixer, write_wave(path, 0.05), loop_count=2)
    failed = asyncio.ensure_future(NotificationCenter().wait("WavePlayerDidFail", player, LIMIT))
    await player.start()
    path.unlink()
    await failed
    assert not player.is_active


def test_a_player_needs_the_middleware(tmp_path, mixer):
    player = WavePlayer(mixer, "x.wav")
    unbound = asyncio.new_event_loop()
    unbound.close()
    from sipsimple import loop

    bound_to = loop.bound_loop()
    unbind_loop(bound_to)
    try:
        with pytest.raises(RuntimeError):
            player.start()
        assert not player.is_active
    finally:
        bind_loop(bound_to)


async def record(mixer, path, producer, seconds=0.2):
    """Record what the producer sends into a bridge; gives the samples."""
    recorder, bridge = WaveRecorder(mixer, str(path)), AudioBridge(mixer)
    await recorder.start_soon()
    bridge.add(producer)
    bridge.add(recorder)
    ended = asyncio.ensure_future(NotificationCenter().wait("WavePlayerDidEnd", producer, LIMIT))
    await producer.start()
    await ended
    await recorder.stop()
    return samples(path)


@pytest.mark.spec(39)
async def test_half_the_volume_is_half_the_amplitude(mixer, tmp_path):
    source = write_wave(tmp_path / "x.wav", 0.2, value=8000)
    loud = await record(mixer, tmp_path / "loud.wav", WavePlayer(mixer, source))
    quiet = await record(mixer, tmp_path / "quiet.wav", WavePlayer(mixer, source, volume=50))
    assert max(loud) == pytest.approx(8000, rel=0.05)
    assert max(quiet) == pytest.approx(4000, rel=0.05)


@pytest.mark.spec(49, 50, 51, 52, 53, 54)
async def test_a_recorder_writes_what_it_is_sent(mixer, tmp_path, monkeypatch):
    path = tmp_path / "deep" / "er" / "x.wav"
    recorder = WaveRecorder(mixer, str(path))
    assert not path.parent.exists()
    assert (recorder.is_active, recorder.consumer_slot, recorder.producer_slot) == (False, None, None)
    tone = ToneGenerator(mixer)
    tone.start()
    with Seen(recorder) as seen:
        recorder.start()
        assert recorder.is_active
        assert isinstance(recorder.consumer_slot, int)
        mixer.connect_slots(tone.slot, recorder.consumer_slot)
        async with NotificationCenter().subscribe("ToneGeneratorDidFinishPlaying", tone) as events:
            tone.play_tones([(440, 0, 100)])
            await events.next(LIMIT)
        with pytest.raises(RuntimeError):
            recorder.start()
        await recorder.stop()
        await recorder.stop()
    assert seen.names == ["AudioPortDidChangeSlots"] * 2
    assert (seen[0].data.old_consumer_slot, seen[1].data.new_consumer_slot) == (None, None)
    assert seen[0].data.new_consumer_slot == seen[1].data.old_consumer_slot
    assert max(samples(path)) > 1000
    recorder.filename = "plain.wav"
    monkeypatch.chdir(tmp_path)
    recorder.start()
    await recorder.stop()
    assert (tmp_path / "plain.wav").exists()


@pytest.mark.spec(51)
async def test_a_file_that_cannot_be_written_is_an_error(mixer, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError):
        WaveRecorder(mixer, str(tmp_path / "file" / "x.wav")).start()
    (tmp_path / "x.wav").mkdir()
    recorder = WaveRecorder(mixer, str(tmp_path / "x.wav"))
    with pytest.raises(SIPCoreError):
        recorder.start()
    with pytest.raises(SIPCoreError):
        await recorder.start_soon()
    assert not recorder.is_active
