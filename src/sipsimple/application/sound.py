"""The two mixers of the application, for voice and for alerts, and the devices behind them.

A device that cannot be opened is replaced by the default one of the system, and that by silence: a call must not fail
because a headset was unplugged. What opens hardware blocks, and runs off the loop thread.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from sipsimple.application.device_choice import DeviceChoice, expected_device
from sipsimple.audio import AudioBridge, AudioDevice
from sipsimple.configuration.settings import SIPSimpleSettings
from sipsimple.core import AudioMixer, SIPCoreError
from sipsimple.core.media import MediaClient
from sipsimple.core.media.mixer import MAX_SLOTS

if TYPE_CHECKING:
    from sipsimple.application.application import SIPApplication

log = logging.getLogger(__name__)


async def open_mixers(application: SIPApplication) -> None:
    """Create both mixers with the devices of the settings, or what comes closest to them."""
    audio = SIPSimpleSettings().audio
    rate = int(audio.sample_rate)
    voice = await asyncio.to_thread(
        _mixer_with_fallback,
        audio.input_device,
        audio.output_device,
        rate,
        int(audio.tail_length),
        bool(audio.gain_control),
    )
    alert = await asyncio.to_thread(_mixer_with_fallback, None, audio.alert_device, rate, 0)
    if audio.silent:
        alert.output_volume = 0
    application.voice_audio_mixer = MediaClient().voice_mixer = voice
    application.voice_audio_device = AudioDevice(voice)
    application.voice_audio_bridge = AudioBridge(voice)
    application.voice_audio_bridge.add(application.voice_audio_device)
    application.alert_audio_mixer = alert
    application.alert_audio_device = AudioDevice(alert)
    application.alert_audio_bridge = AudioBridge(alert)
    application.alert_audio_bridge.add(application.alert_audio_device)


async def reopen_voice(application: SIPApplication) -> None:
    """Follow the settings of the voice devices."""
    audio = SIPSimpleSettings().audio
    wanted = (audio.input_device, audio.output_device, int(audio.tail_length))
    mixer = application.voice_audio_mixer
    current = (mixer.input_device, mixer.output_device, mixer.ec_tail_length)
    if current != wanted or mixer.gain_control != bool(audio.gain_control):
        mixer.gain_control = bool(audio.gain_control)
        await asyncio.to_thread(_set_devices_with_fallback, mixer, *wanted)
    save_devices(application)


async def reopen_alert(application: SIPApplication) -> None:
    """Follow the setting of the alert device."""
    mixer, wanted = application.alert_audio_mixer, SIPSimpleSettings().audio.alert_device
    if mixer.output_device != wanted:
        await asyncio.to_thread(_set_devices_with_fallback, mixer, None, wanted, 0)
    save_devices(application)


async def follow_devices(application: SIPApplication, choice: DeviceChoice) -> None:
    """Take other devices where those in use went away, where the wanted ones came back, or others became the default.

    What is used already stays open, so that nothing is heard of a change that concerns another device.
    """
    known = MediaClient().known_devices
    if known is None:
        return
    audio = SIPSimpleSettings().audio
    present = {"input_device": known.inputs, "output_device": known.outputs, "alert_device": known.outputs}
    devices = choice.choose({setting: getattr(audio, setting) for setting in present}, present)
    expected = {setting: expected_device(device, present[setting]) for setting, device in devices.items()}
    voice, alert = application.voice_audio_mixer, application.alert_audio_mixer
    if (voice.real_input_device, voice.real_output_device) != (expected["input_device"], expected["output_device"]):
        wanted = devices["input_device"], devices["output_device"]
        await asyncio.to_thread(_set_devices_with_fallback, voice, *wanted, int(audio.tail_length))
    if alert.real_output_device != expected["alert_device"]:
        await asyncio.to_thread(_set_devices_with_fallback, alert, None, devices["alert_device"], 0)
    save_devices(application)


def close_mixers(application: SIPApplication) -> None:
    """Forget the mixers; the media engine closes them when it ends."""
    application.voice_audio_device = application.voice_audio_bridge = application.voice_audio_mixer = None
    application.alert_audio_device = application.alert_audio_bridge = application.alert_audio_mixer = None
    MediaClient().voice_mixer = None


def save_devices(application: SIPApplication) -> None:
    """Write the devices that are really in use to the settings."""
    settings = SIPSimpleSettings()
    settings.audio.input_device = application.voice_audio_mixer.input_device
    settings.audio.output_device = application.voice_audio_mixer.output_device
    settings.audio.alert_device = application.alert_audio_mixer.output_device
    settings.save()


def _fallbacks(input_device: str | None, output_device: str | None) -> list[tuple[str | None, str | None]]:
    default = ("system_default" if input_device else None, "system_default" if output_device else None)
    return [(input_device, output_device), default, (None, None)]


def _mixer_with_fallback(
    input_device: str | None, output_device: str | None, sample_rate: int, tail_length: int, gain_control: bool = False
) -> AudioMixer:
    *attempts, silent = _fallbacks(input_device, output_device)
    for devices in attempts:
        try:
            return AudioMixer(*devices, sample_rate, tail_length, MAX_SLOTS, gain_control)
        except SIPCoreError as error:
            log.warning("sound devices %s cannot be used: %s", devices, error)
    return AudioMixer(*silent, sample_rate, tail_length, MAX_SLOTS, gain_control)


def _set_devices_with_fallback(
    mixer: AudioMixer, input_device: str | None, output_device: str | None, tail_length: int
) -> None:
    *attempts, silent = _fallbacks(input_device, output_device)
    for devices in attempts:
        try:
            mixer.set_sound_devices(*devices, tail_length)
            return
        except SIPCoreError as error:
            log.warning("sound devices %s cannot be used: %s", devices, error)
    mixer.set_sound_devices(*silent, tail_length)
