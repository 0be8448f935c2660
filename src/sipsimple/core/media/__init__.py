"""The media side of the core: the mixer, what occupies its slots, RTP and audio transports."""

from sipsimple.core.media.audio import AudioTransport
from sipsimple.core.media.bridge import SlotBridge
from sipsimple.core.media.client import MediaClient
from sipsimple.core.media.mixer import AudioMixer
from sipsimple.core.media.pcm import SampleSlot
from sipsimple.core.media.ports import MixerPort, RecordingWaveFile, ToneGenerator, WaveFile
from sipsimple.core.media.rtp import RTPTransport

__all__ = [
    "AudioMixer",
    "AudioTransport",
    "MediaClient",
    "MixerPort",
    "RTPTransport",
    "RecordingWaveFile",
    "SampleSlot",
    "SlotBridge",
    "ToneGenerator",
    "WaveFile",
]
