"""Mixer ports, tone generators, and files that play or are recorded."""

from __future__ import annotations

import asyncio

import pytest

from sipsimple.core.media.ports import MixerPort, RecordingWaveFile, ToneGenerator, WaveFile
from sipsimple.loop import bind_loop, unbind_loop
from sipsimple.media import commands
from sipsimple.media.errors import EngineStopped, RecordingError, SlotError, WaveFileUnreadable
from sipsimple.sip.errors import PJSIPError, SIPCoreError


@pytest.fixture
async def loop():
    loop = asyncio.get_running_loop()
    bind_loop(loop)
    yield loop
    unbind_loop(loop)


def test_a_port_starts_once(host, mixer):
    port = MixerPort(mixer)
    assert (port.mixer, port.slot, port.is_active) == (mixer, None, False)
    port.start()
    assert (port.slot, port.is_active) == (1, True)
    with pytest.raises(SIPCoreError):
        port.start()
    port.stop()
    port.stop()
    assert (port.slot, port.is_active) == (None, False)
    with pytest.raises(SIPCoreError):
        port.start()
    assert host.sent(commands.RemoveSlot) == [commands.RemoveSlot(mixer.id, 1)]


def test_tones_are_played_and_reported(host, mixer, seen):
    generator = ToneGenerator(mixer)
    with pytest.raises(SIPCoreError, match="not active"):
        generator.play_tones([(440, 0, 100)])
    generator.volume = 30
    generator.start()
    generator.start()
    generator.play_tones([(350, 440, 100), (0, 0, 50)])
    assert generator.is_busy
    assert host.sent(commands.PlayTones)[0].tones == (commands.Tone(350, 440, 100), commands.Tone(0, 0, 50))
    assert host.sent(commands.SetVolume) == [commands.SetVolume(mixer.id, 1, 30)]
    host.on_event(commands.TonesEnded(mixer.id, 1))
    assert not generator.is_busy
    assert seen.names == ["ToneGeneratorDidFinishPlaying"]
    generator.volume = 10
    with pytest.raises(SIPCoreError, match="32"):
        generator.play_tones([(1, 1, 1)] * 33)


def test_keys_are_two_tones(host, mixer, seen):
    generator = ToneGenerator(mixer)
    generator.start()
    generator.play_dtmf("5")
    assert sum(tone.duration for tone in host.sent(commands.PlayTones)[0].tones) == 250
    with pytest.raises(SIPCoreError):
        generator.play_dtmf("x")
    generator.stop()
    generator.stop()
    assert seen.names == ["ToneGeneratorDidFinishPlaying"]
    generator.start()
    assert generator.is_active


def test_a_file_plays_once_and_again(host, mixer, seen):
    file = WaveFile(mixer, "/x.wav")
    file.volume = 40
    file.start()
    (play,) = host.sent(commands.PlayFile)
    assert (play.slot, play.path, play.volume) == (1, "/x.wav", 40)
    assert (file.slot, file.is_active, file.filename) == (1, True, "/x.wav")
    with pytest.raises(SIPCoreError, match="already playing"):
        file.start()
    host.on_event(commands.PlaybackEnded(play.player))
    assert (file.slot, mixer.used_slot_count) == (None, 0)
    assert seen.names == ["WaveFileDidFinishPlaying"]
    file.start()
    file.volume = 50
    file.stop()
    file.stop()
    assert seen.names == ["WaveFileDidFinishPlaying"] * 2
    assert host.sent(commands.StopFile) == [commands.StopFile(host.sent(commands.PlayFile)[1].player)]


def test_the_end_of_an_earlier_play_is_no_news(host, mixer, seen):
    file = WaveFile(mixer, "/x.wav")
    file.start()
    file.stop()
    first = host.sent(commands.PlayFile)[0].player
    file.start()
    host.on_event(commands.PlaybackEnded(first))
    assert file.is_active


def test_a_file_that_cannot_be_played_is_an_error(host, mixer):
    host.refuse[commands.PlayFile] = WaveFileUnreadable("/none.wav", "No such file")
    file = WaveFile(mixer, "/none.wav")
    with pytest.raises(PJSIPError, match="No such file"):
        file.start()
    assert (file.is_active, mixer.used_slot_count) == (False, 0)


async def test_a_file_starts_without_blocking(host, mixer, loop):
    file = WaveFile(mixer, "/x.wav")
    host.hold.add(commands.PlayFile)
    result = file.start_soon()
    assert file.slot == 1
    host.release()
    await result
    file.stop()
    host.refuse[commands.PlayFile] = SlotError(1, 1, "is taken")
    result = file.start_soon()
    host.release()
    with pytest.raises(PJSIPError):
        await result
    assert file.slot is None


def test_a_recording_starts_once(host, mixer):
    file = RecordingWaveFile(mixer, "/x.wav")
    file.start()
    assert file.slot == 1
    with pytest.raises(SIPCoreError):
        file.start()
    file.stop()
    file.stop()
    assert len(host.sent(commands.StopRecording)) == 1
    host.refuse[commands.RecordFile] = RecordingError("/x.wav", "read-only")
    with pytest.raises(PJSIPError, match="read-only"):
        RecordingWaveFile(mixer, "/x.wav").start()
    assert mixer.used_slot_count == 0


async def test_a_recording_tells_when_it_is_complete(host, mixer, loop):
    file = RecordingWaveFile(mixer, "/x.wav")
    await file.stop_soon()
    await file.start_soon()
    await file.stop_soon()
    assert file.slot is None
    broken = RecordingWaveFile(mixer, "/y.wav")
    await broken.start_soon()
    host.refuse[commands.StopRecording] = EngineStopped("died")
    with pytest.raises(SIPCoreError, match="died"):
        await broken.stop_soon()


def test_a_full_disk_ends_a_recording(host, mixer, seen):
    file = RecordingWaveFile(mixer, "/x.wav")
    file.start()
    recorder = host.sent(commands.RecordFile)[0].recorder
    host.on_event(commands.RecordingFailed(recorder, RecordingError("/x.wav", "no space")))
    assert seen.names == ["RecordingWaveFileDidFail"]
    assert not file.is_active
