"""Audio ports where the engine says no, and where no loop runs."""

from __future__ import annotations

import asyncio

import pytest

from sipsimple.audio import AudioBridge, AudioDevice, WavePlayer, WaveRecorder
from sipsimple.core import AudioMixer
from sipsimple.core.media import MediaClient
from sipsimple.loop import bind_loop, unbind_loop
from sipsimple.media import commands
from sipsimple.media.errors import RecordingError, WaveFormatError
from sipsimple.notification import NotificationCenter
from tests.media_host import host

__all__ = ["host"]


@pytest.fixture
def mixer(host):
    return AudioMixer(None, None, 16000)


@pytest.fixture
async def loop():
    loop = asyncio.get_running_loop()
    bind_loop(loop)
    yield loop
    unbind_loop(loop)


class Seen(list):
    def handle_notification(self, notification):
        self.append(notification)

    @property
    def names(self):
        return [notification.name for notification in self]


@pytest.fixture
def seen():
    observer = Seen()
    NotificationCenter().add_observer(observer)
    yield observer
    NotificationCenter().purge_observer(observer)


def test_without_a_loop_the_news_comes_in_the_same_thread(mixer, seen):
    device = AudioDevice(mixer)
    device.output_muted = True
    assert seen.names == ["AudioPortDidChangeSlots"]


async def test_news_from_another_thread_come_in_the_loop_thread(mixer, seen, loop):
    device, bridge = AudioDevice(mixer), AudioBridge(mixer)
    bridge.add(device)
    arrived = asyncio.ensure_future(NotificationCenter().wait("AudioPortDidChangeSlots", device, 5))
    await asyncio.sleep(0)
    await asyncio.to_thread(setattr, device, "input_muted", True)
    await arrived
    assert device.producer_slot is None


def test_a_full_disk_ends_the_recording_of_a_recorder(host, mixer, seen):
    recorder = WaveRecorder(mixer, "x.wav")
    recorder.start()
    slot = recorder.consumer_slot
    del seen[:]
    id = host.sent(commands.RecordFile)[0].recorder
    host.on_event(commands.RecordingFailed(id, RecordingError("x.wav", "no space")))
    assert (recorder.is_active, recorder.consumer_slot) == (False, None)
    assert seen.names == ["RecordingWaveFileDidFail", "AudioPortDidChangeSlots", "WaveRecorderDidFail"]
    assert (seen[1].data.old_consumer_slot, seen[1].data.new_consumer_slot) == (slot, None)
    assert "no space" in seen[2].data.error


async def test_a_player_stopped_while_its_file_opens_ends_in_silence(host, mixer, seen, loop):
    host.hold.add(commands.PlayFile)
    player = WavePlayer(mixer, "x.wav")
    started = player.start()
    await asyncio.sleep(0)
    assert host.held
    player.stop()
    host.release()
    await started
    assert seen.names.count("WavePlayerDidEnd") == 1
    assert "WavePlayerDidStart" not in seen.names
    assert mixer.used_slot_count == 0


async def test_a_player_stopped_while_its_file_is_refused_does_not_fail(host, mixer, seen, loop):
    host.hold.add(commands.PlayFile)
    host.refuse[commands.PlayFile] = WaveFormatError("x.wav", "no RIFF")
    player = WavePlayer(mixer, "x.wav")
    player.start()
    await asyncio.sleep(0)
    assert host.held
    player.stop()
    host.release()
    await asyncio.sleep(0)
    assert [name for name in seen.names if name.startswith("WavePlayer")] == ["WavePlayerDidEnd"]


async def test_a_player_with_a_negative_volume_fails(mixer, seen, loop):
    player = WavePlayer(mixer, "x.wav", volume=-1)
    with pytest.raises(ValueError):
        await player.start()
    assert seen.names == ["WavePlayerDidFail"]


def test_ports_outlive_the_engine(mixer):
    device, bridge = AudioDevice(mixer), AudioBridge(mixer)
    bridge.add(device)
    MediaClient().stop()
    device.input_muted = True
    bridge.remove(device)
    assert list(bridge) == []
