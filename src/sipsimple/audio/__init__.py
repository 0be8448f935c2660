"""The high-level audio API: ports that produce or consume sound, and bridges that connect them."""

from sipsimple.audio.bridge import AudioBridge
from sipsimple.audio.pcm import PCMPort, PortClosed
from sipsimple.audio.port import AudioDevice, IAudioPort
from sipsimple.audio.wave import WavePlayer, WaveRecorder

__all__ = ["AudioBridge", "AudioDevice", "IAudioPort", "PCMPort", "PortClosed", "WavePlayer", "WaveRecorder"]
