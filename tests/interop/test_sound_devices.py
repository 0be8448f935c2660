"""Real sound devices, of PulseAudio: what is played comes out, what is recorded comes in, and devices come and go."""

from __future__ import annotations

import asyncio
import copy
import wave
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sipsimple
from sipsimple.application import SIPApplication
from sipsimple.audio import WavePlayer, WaveRecorder
from sipsimple.configuration.backend.memory import MemoryBackend
from sipsimple.configuration.settings import SIPSimpleSettings
from sipsimple.core import AudioMixer, Engine, RecordingWaveFile, WaveFile
from sipsimple.core.media import MediaClient
from sipsimple.notification import NotificationCenter
from tests.interop.pulseaudio import RATE, PulseAudio
from tests.support.agent import SETTINGS, Record
from tests.support.programs import until


def tone(frequency: float, seconds: float) -> np.ndarray:
    return (8000 * np.sin(2 * np.pi * frequency * np.arange(int(seconds * RATE)) / RATE)).astype(np.int16)


def pitch(samples: np.ndarray) -> float:
    """The strongest frequency of the loud part."""
    spectrum = np.abs(np.fft.rfft(samples.astype(float)))
    return float(spectrum.argmax() * RATE / len(samples))


def write(path: Path, samples: np.ndarray) -> str:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(samples.tobytes())
    return str(path)


@pytest.fixture
async def pulse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[PulseAudio]:
    async with PulseAudio(tmp_path / "pulse") as running:
        for name, value in running.environment.items():
            monkeypatch.setenv(name, value)
        yield running
        await asyncio.to_thread(MediaClient().stop)


@asynccontextmanager
async def application(**devices: str | None) -> AsyncIterator[tuple[SIPApplication, Record]]:
    settings: dict[str, Any] = copy.deepcopy(SETTINGS)
    settings["SIPSimpleSettings"]["audio"].update(devices)
    record = Record()
    async with SIPApplication.running(MemoryBackend(settings)) as running:
        NotificationCenter().add_observer(record, sender=Engine())
        yield running, record
        NotificationCenter().remove_observer(record, sender=Engine())


@pytest.mark.spec(61, 65)
async def test_a_file_is_heard_on_the_output_and_the_input_is_recorded(pulse: PulseAudio, tmp_path: Path):
    await pulse.plug("Speaker")
    await pulse.plug("Microphone")
    async with application(input_device="Monitor of Microphone", output_device="Speaker") as (running, _):
        mixer = running.voice_audio_mixer
        assert (mixer.real_input_device, mixer.real_output_device) == ("Monitor of Microphone", "Speaker")
        assert {"Speaker", "Microphone"} <= set(Engine().output_devices)
        player = WavePlayer(mixer, write(tmp_path / "in.wav", tone(1000, 4)))
        running.voice_audio_bridge.add(player)
        player.start()
        assert pitch((await pulse.record("Speaker", 2))[-RATE:]) == pytest.approx(1000, abs=5)
        player.stop()
        running.voice_audio_bridge.remove(player)
        recorder = WaveRecorder(mixer, str(tmp_path / "out.wav"))
        running.voice_audio_bridge.add(recorder)
        recorder.start()
        await pulse.play("Microphone", tone(700, 2))
        recorder.stop()
        await until(lambda: (tmp_path / "out.wav").stat().st_size > RATE, "the end of the recording")
        heard = np.frombuffer((tmp_path / "out.wav").read_bytes()[44:], np.int16)
        assert pitch(heard) == pytest.approx(700, abs=5)


async def test_the_echo_of_the_loudspeaker_is_cancelled(pulse: PulseAudio, tmp_path: Path):
    """The microphone hears nothing but the loudspeaker, by the clocks and with the delays of real devices."""
    pytest.importorskip("livekit", reason="needs sipsimple[aec]")
    without, cancelled = await asyncio.gather(
        _echo(pulse, tmp_path, "Speaker", tail=0), _echo(pulse, tmp_path, "Headset", tail=200)
    )
    blocks = range(2 * RATE, 5 * RATE, RATE // 2)
    loudness = [[np.sqrt(np.mean(heard[at : at + RATE // 2] ** 2)) for at in blocks] for heard in (without, cancelled)]
    assert np.median(loudness[0]) > 100
    assert np.median(loudness[1]) < np.median(loudness[0]) / 6  # 15 dB
    # Then somebody spoke, and is heard.
    spoken = [np.sqrt(np.mean(heard[7 * RATE :] ** 2)) for heard in (without, cancelled)]
    assert spoken[1] > spoken[0] / 3


async def _echo(pulse: PulseAudio, folder: Path, device: str, tail: int) -> np.ndarray:
    """What the microphone records: speech on the loudspeaker, and then that of somebody in the room."""
    await pulse.plug(device)
    mixer = await AudioMixer.open(f"Monitor of {device}", device, RATE, tail)
    demo = Path(sipsimple.__file__).parent / "data" / "demo.wav"
    player = WaveFile(mixer, str(demo))
    recorder = RecordingWaveFile(mixer, str(folder / f"{device}.wav"))
    player.start()
    recorder.start()
    assert player.slot is not None
    assert recorder.slot is not None
    mixer.connect_slots(player.slot, 0)
    mixer.connect_slots(0, recorder.slot)
    await until(lambda: not player.is_active, "the end of the speech")
    await pulse.play(device, np.frombuffer(demo.read_bytes()[44:], np.int16)[: 4 * RATE])
    recorder.stop()
    mixer.close()
    return np.frombuffer((folder / f"{device}.wav").read_bytes()[44:], np.int16).astype(float)


async def test_a_device_that_vanishes_is_replaced_and_taken_again_when_it_is_back(pulse: PulseAudio):
    await pulse.plug("Speaker")
    headset = await pulse.plug("Headset")
    async with application(output_device="Headset") as (running, record):
        mixer = running.voice_audio_mixer
        audio = SIPSimpleSettings().audio
        await pulse.unplug(headset)
        await until(lambda: mixer.real_output_device == "Speaker", "the default device")
        assert audio.output_device == "system_default"
        changed = record.data(Engine(), "AudioDevicesDidChange")
        assert set(changed.old_devices) - set(changed.new_devices) == {"Headset", "Monitor of Headset"}
        await pulse.plug("Headset")
        await until(lambda: mixer.real_output_device == "Headset", "the headset")
        await until(lambda: audio.output_device == "Headset", "the setting")
        assert record.names(Engine()) == ["AudioDevicesDidChange", "AudioDevicesDidChange"]


async def test_devices_are_opened_again_when_the_sound_server_starts_again(pulse: PulseAudio, tmp_path: Path):
    """So fast that no watch sees it: what tells is that the device does nothing any more."""
    await pulse.plug("Speaker")
    async with application(output_device="system_default") as (running, record):
        mixer = running.voice_audio_mixer
        player = WavePlayer(mixer, write(tmp_path / "in.wav", tone(1000, 2)), loop_count=0)
        running.voice_audio_bridge.add(player)
        player.start()
        await pulse.restart("Speaker")
        center = NotificationCenter()
        center.add_observer(record, sender=mixer)
        await record.until(mixer, "AudioMixerDidLoseDevices")
        center.remove_observer(record, sender=mixer)
        await until(lambda: mixer.real_output_device == "Speaker", "the device")
        assert pitch((await pulse.record("Speaker", 2))[-RATE:]) == pytest.approx(1000, abs=5)
        player.stop()


async def test_the_default_device_is_followed_and_may_be_none_for_a_while(pulse: PulseAudio):
    first = await pulse.plug("Speaker")
    second = await pulse.plug("Headset")
    devices = {"input_device": "system_default", "output_device": "system_default", "alert_device": "system_default"}
    async with application(**devices) as (running, record):
        mixer, alert = running.voice_audio_mixer, running.alert_audio_mixer
        assert mixer.real_output_device == "Speaker"
        await pulse.make_default("Headset")
        await until(lambda: mixer.real_output_device == alert.real_output_device == "Headset", "the new default")
        assert mixer.real_input_device == "Monitor of Headset"
        moved = [n.data for n in record.all if n.name == "DefaultAudioDeviceDidChange"]
        assert any(data.changed_output for data in moved)
        assert any(data.changed_input for data in moved)
        await pulse.unplug(second)
        await pulse.unplug(first)
        await until(lambda: mixer.real_output_device is alert.real_output_device is None, "silence")
        assert mixer.output_device == "system_default"
        await pulse.plug("Speaker")
        await until(lambda: mixer.real_output_device == alert.real_output_device == "Speaker", "sound again")
