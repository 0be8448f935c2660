"""Recording of an audio stream: both sides of the conversation into one file, nothing while on hold.

What is posted is in the name of the stream. The default name of a file is made of the time and of the remote identity,
from which everything is taken that could mean something to a file system.
"""

from __future__ import annotations

import os
import re
from datetime import datetime
from typing import Any, Final

from sipsimple.audio import AudioBridge, WaveRecorder
from sipsimple.audio.port import post
from sipsimple.configuration.settings import SIPSimpleSettings
from sipsimple.core import AudioMixer, SIPCoreError

MAX_NAME: Final = 100  # characters of each part of a path that others may choose
_UNSAFE: Final = re.compile(r"[^\w.+@-]")


class StreamRecording:
    """One recording of a stream, from its announcement to the complete file."""

    def __init__(self, stream: object, mixer: AudioMixer, bridge: AudioBridge, filename: str) -> None:
        self.filename = filename
        self._stream = stream
        self._bridge = bridge
        self._recorder = WaveRecorder(mixer, filename)
        self._is_paused = False

    async def start(self) -> bool:
        """Open the file and take part in the conversation; False when it cannot be written."""
        post("AudioStreamWillStartRecordingAudio", self._stream, filename=self.filename)
        try:
            await self._recorder.start_soon()
        except (OSError, SIPCoreError) as error:
            post("AudioStreamDidStopRecordingAudio", self._stream, filename=self.filename, reason=str(error))
            return False
        post("AudioStreamDidStartRecordingAudio", self._stream, filename=self.filename)
        self.pause(self._is_paused)
        return True

    def pause(self, is_paused: bool) -> None:
        """Leave the conversation while it is on hold, or come back; the file stays open."""
        self._is_paused = is_paused
        if not is_paused and self._recorder.is_active:
            self._bridge.add(self._recorder)
        elif self._recorder in self._bridge:
            self._bridge.remove(self._recorder)

    async def stop(self) -> None:
        """Complete the file."""
        post("AudioStreamWillStopRecordingAudio", self._stream, filename=self.filename)
        self.pause(True)
        reason: dict[str, str] = {}
        try:
            await self._recorder.stop()
        except SIPCoreError as error:
            reason["reason"] = str(error)
        post("AudioStreamDidStopRecordingAudio", self._stream, filename=self.filename, **reason)


def recording_path(filename: str | None, account: Any, session: Any) -> str:
    """Where to record: an absolute name as it is, any other in the account's directory."""
    directory = os.path.join(SIPSimpleSettings().audio.directory.normalized, _safe(str(account.id)))
    return os.path.join(directory, default_name(session) if filename is None else filename)


def default_name(session: Any) -> str:
    """`YYYYMMDD-HHMMSS-user@host-direction.wav`, in local time."""
    uri = session.remote_identity.uri
    who = f"{_safe(uri.user or 'unknown')}@{_safe(uri.host)}"
    return f"{datetime.now():%Y%m%d-%H%M%S}-{who}-{session.direction}.wav"


def _safe(text: str) -> str:
    return _UNSAFE.sub("_", text)[:MAX_NAME]
