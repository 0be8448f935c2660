"""An audio conference: everybody hears everybody else, and nobody himself (the contract's `sipsimple.conference`)."""

from __future__ import annotations

from sipsimple.application import SIPApplication
from sipsimple.audio import AudioBridge, AudioDevice
from sipsimple.streams import AudioStream


class AudioConference:
    """Connects audio streams with each other and with the voice device of the application.

    The local party is one participant among the others. Streams that have ended are removed by the application.
    Raises RuntimeError when the application has no voice mixer yet.
    """

    def __init__(self) -> None:
        mixer = SIPApplication.voice_audio_mixer
        if mixer is None:
            raise RuntimeError("there is no audio mixer for the conference: start SIPApplication first")
        self.bridge = AudioBridge(mixer)
        self.device = AudioDevice(mixer)
        self.bridge.add(self.device)
        self.on_hold = False
        self.streams: list[AudioStream] = []

    def add(self, stream: AudioStream) -> None:
        """Let the stream take part; its private link to microphone and speaker is cut. Adding twice is adding once."""
        if stream in self.streams:
            return
        stream.device.input_muted = True
        stream.device.output_muted = True
        self.bridge.add(stream.bridge)
        self.streams.append(stream)

    def remove(self, stream: AudioStream) -> None:
        """Take the stream out, to be heard by the local party alone; raises ValueError when it does not take part."""
        if stream not in self.streams:
            raise ValueError(f"{stream!r} does not take part in the conference")
        self.streams.remove(stream)
        self.bridge.remove(stream.bridge)
        stream.device.input_muted = False
        stream.device.output_muted = False

    def hold(self) -> None:
        """Take the local party out; the others still hear each other. Idempotent."""
        if not self.on_hold:
            self.on_hold = True
            self.bridge.remove(self.device)

    def unhold(self) -> None:
        """Let the local party take part again; idempotent."""
        if self.on_hold:
            self.on_hold = False
            self.bridge.add(self.device)
