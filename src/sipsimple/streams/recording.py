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
from sipsimple.loop import Result, run_in_loop

MAX_NAME: Final = 100  # characters of each part of a path that others may choose
_UNSAFE: Final = re.compile(r"[^\w.+@-]")


class StreamRecording:
    """One recording of a stream, from its announcement to the complete file."""

    def __init__(
        self, stream: Any, mixer: AudioMixer, bridge: AudioBridge, filename: str, separate: bool = False
    ) -> None:
        """With `separate` the sides are in channels of their own: the local one on the left."""
        self.filename = filename
        self._stream = stream
        self._bridge = bridge
        self._recorder = WaveRecorder(mixer, filename, separate)
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
        if self._recorder.separate:
            self._recorder.tap(None if is_paused else self._stream)
        elif not is_paused and self._recorder.is_active:
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


class Recordable:
    """What an audio stream does to be recorded."""

    account: Any
    session: Any
    mixer: AudioMixer
    bridge: AudioBridge
    _recording: StreamRecording | None

    @property
    def recording_active(self) -> bool:
        return self._recording is not None

    @property
    def recording_filename(self) -> str | None:
        """The full path of the file that is recorded, None when none is."""
        return self._recording.filename if self._recording is not None else None

    def start_recording(self: Any, filename: str | None = None, separate: bool = False) -> Result[str]:
        """Record both sides of the conversation; the result is the path, once the file is open.

        With `separate` the file is stereo: what is sent to the remote on the left, what comes from there on the right,
        also when `muted`. Without a name one is made of the time and the remote party, in the directory of the account.
        Raises RuntimeError unless established, and while a recording runs.
        """
        self._expect("start_recording", "ESTABLISHED")
        if self._recording is not None:
            raise RuntimeError(f"the stream is being recorded already, to {self._recording.filename}")
        path = recording_path(filename, self.account, self.session)
        self._recording = StreamRecording(self, self.mixer, self.bridge, path, separate)
        self._recording.pause(self.on_hold or self._wants_hold)
        started: Result[str] = Result()
        run_in_loop(self._spawn, self._start_recording, self._recording, started)
        return started

    async def _start_recording(self, recording: StreamRecording, started: Result[str]) -> None:
        try:
            if await recording.start():
                started.set_result(recording.filename)
            elif self._recording is recording:
                self._recording = None
        finally:
            started.set_exception(SIPCoreError(f"{recording.filename} is not being recorded"))

    def stop_recording(self: Any) -> Result[None]:
        """Complete the file; the result is settled when it is complete. Raises RuntimeError when none is recorded."""
        if self._recording is None:
            raise RuntimeError("the stream is not being recorded")
        stopped: Result[None] = Result()
        run_in_loop(self._spawn, self._stop_recording, stopped)
        return stopped

    async def _stop_recording(self, stopped: Result[None] | None = None) -> None:
        recording, self._recording = self._recording, None
        try:
            if recording is not None:
                await recording.stop()
        finally:
            if stopped is not None:
                stopped.set_result(None)


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
