"""What occupies slots of a mixer besides streams: pass-through ports, tone generators, files that play or are recorded.

Each starts in a slot and is removed from the mixer when it stops or is dropped. The methods of files block until the
file is open; `start_soon` is for the loop thread and returns a `Result` instead.
"""

from __future__ import annotations

import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from typing import Any, Final

from sipsimple.core.media.client import MediaClient
from sipsimple.core.media.mixer import AudioMixer, checked_volume
from sipsimple.core.notices import post
from sipsimple.loop import Result
from sipsimple.media import commands
from sipsimple.sip.errors import SIPCoreError

MAX_TONES: Final = 32


class SlotOwner:
    """Keeps one slot of a mixer while it is active, and gives it back when it stops or is collected."""

    def __init__(self, mixer: AudioMixer) -> None:
        self._mixer = mixer
        self._client: MediaClient = mixer.client
        self._slot: int | None = None
        self._last_slot: int | None = None
        self._release: weakref.finalize[[int, commands.Command | None], Any] | None = None

    @property
    def mixer(self) -> AudioMixer:
        return self._mixer

    @property
    def slot(self) -> int | None:
        """The slot that this occupies, None when it is not active."""
        return self._slot

    @property
    def last_slot(self) -> int | None:
        """The slot that this occupies, or occupied last."""
        return self._last_slot

    @property
    def is_active(self) -> bool:
        return self._slot is not None

    def _occupy(self, slot: int, leaving: commands.Command | None) -> None:
        """Own the slot from now on; `leaving` is the command that frees it."""
        self._slot = self._last_slot = slot
        self._release = weakref.finalize(self, self._mixer.release_slot, slot, leaving)
        self._release.atexit = False

    def _vacate(self) -> None:
        """Free the slot in the engine and here."""
        release, self._release = self._release, None
        self._slot = None
        if release is not None:
            release()

    def _forget(self) -> None:
        """Give back a slot that the engine has freed already."""
        release, self._release = self._release, None
        slot, self._slot = self._slot, None
        if release is not None and slot is not None:
            release.detach()
            self._mixer.release_slot(slot)

    def _lost(self, *keys: Hashable) -> bool:
        """Give back the slot that was in an engine which died; False when this was not active."""
        for key in keys:
            self._client.ignore(key)
        was_active = self._slot is not None
        self._forget()
        return was_active


class AudibleSlot(SlotOwner):
    """Something whose slot makes sound, at a volume of its own."""

    def __init__(self, mixer: AudioMixer) -> None:
        super().__init__(mixer)
        self._volume = 100

    @property
    def volume(self) -> int:
        """Percent of what comes from the slot; over 100 amplifies."""
        return self._volume

    @volume.setter
    def volume(self, volume: int) -> None:
        self._volume = checked_volume(volume)
        if self._slot is not None:
            self._client.post(commands.SetVolume(self._mixer.id, self._slot, self._volume))


class MixerPort(SlotOwner):
    """A pass-through: everything sent to its slot is available from its slot. It starts once."""

    def __init__(self, mixer: AudioMixer) -> None:
        super().__init__(mixer)
        self._was_started = False

    def start(self) -> None:
        if self._was_started:
            raise SIPCoreError("MixerPort object can only be started once")
        slot = self._mixer.take_slot()
        self._was_started = True
        self._occupy(slot, commands.RemoveSlot(self._mixer.id, slot))
        self._mixer.keep(slot, self)
        self.revive()

    def revive(self) -> None:
        """Occupy the slot in the engine, or in a fresh one."""
        self._client.post(commands.AddPort(self._mixer.id, self._slot or 0))

    def stop(self) -> None:
        self._vacate()


class ToneGenerator(AudibleSlot):
    """Plays tones and the sounds of telephone keys; posts `ToneGeneratorDidFinishPlaying` when it falls silent."""

    def __init__(self, mixer: AudioMixer) -> None:
        super().__init__(mixer)
        self._is_busy = False

    @property
    def is_busy(self) -> bool:
        """True while tones are playing."""
        return self._is_busy

    def start(self) -> None:
        if self._slot is not None:
            return
        slot = self._mixer.take_slot()
        self._occupy(slot, commands.RemoveSlot(self._mixer.id, slot))
        self._mixer.keep(slot, self)
        self._client.listen((self._mixer.id, slot), self)
        self.revive()

    def revive(self) -> None:
        """Occupy the slot in the engine, or in a fresh one."""
        slot = self._slot or 0
        self._client.post(commands.AddToneGenerator(self._mixer.id, slot))
        if self._volume != 100:
            self._client.post(commands.SetVolume(self._mixer.id, slot, self._volume))

    def engine_died(self, reason: str) -> Callable[[], object] | None:
        """The tones are over; the generator goes on in the fresh engine."""
        return self._finished if self._is_busy else None

    def stop(self) -> None:
        """Fall silent and leave the mixer."""
        if self._slot is None:
            return
        self._client.ignore((self._mixer.id, self._slot))
        self._vacate()
        if self._is_busy:
            self._finished()

    def play_tones(self, tones: Sequence[tuple[int, int, int]]) -> None:
        """Play (frequency, frequency, milliseconds) tones after those that play already; 0 Hz is silence."""
        if len(tones) > MAX_TONES:
            raise SIPCoreError(f"no more than {MAX_TONES} tones can be played at once, not {len(tones)}")
        self._play(tuple(commands.Tone(*tone) for tone in tones))

    def play_dtmf(self, digit: str) -> None:
        """Play the sound of a telephone key for 200 ms; raises SIPCoreError for what is no key."""
        from sipsimple.media.tones import dtmf_tones

        try:
            tones = dtmf_tones(digit)
        except ValueError as error:
            raise SIPCoreError(str(error)) from error
        self._play(tones)

    def _play(self, tones: tuple[commands.Tone, ...]) -> None:
        if self._slot is None:
            raise SIPCoreError("ToneGenerator object is not active: start it first")
        if tones:
            self._client.post(commands.PlayTones(self._mixer.id, self._slot, tones))
            self._is_busy = True

    def handle_media_event(self, event: commands.TonesEnded) -> None:
        """The engine has played all tones."""
        if self._is_busy and event.slot == self._slot:
            self._finished()

    def _finished(self) -> None:
        self._is_busy = False
        post("ToneGeneratorDidFinishPlaying", self)


class _FileOwner(SlotOwner, ABC):
    """A slot that holds an open file."""

    def __init__(self, mixer: AudioMixer, filename: str) -> None:
        super().__init__(mixer)
        self._filename = filename
        self._id = 0

    @property
    def filename(self) -> str:
        return self._filename

    @abstractmethod
    def handle_media_event(self, event: Any) -> None:
        """Take the news that the engine is done with the file."""

    @abstractmethod
    def engine_died(self, reason: str) -> Callable[[], object] | None:
        """Let go of the file; returns what tells of it."""

    def _open(self, slot: int, command: commands.Command, leaving: commands.Command) -> Future[Any]:
        future = self._client.request(command)
        self._client.listen(self._id, self)
        self._occupy(slot, leaving)
        return future

    def _wait_open(self, future: Future[Any], id: int) -> None:
        try:
            self._client.result(future)
        except SIPCoreError:
            self._failed(id)
            raise

    def _opened_soon(self, future: Future[Any], id: int) -> Result[None]:
        result: Result[None] = Result()

        def settled(_: Any, error: SIPCoreError | None) -> None:
            if error is None:
                result.set_result(None)
            else:
                self._failed(id)
                result.set_exception(error)

        self._client.settle(future, settled)
        return result

    def _failed(self, id: int) -> None:
        if id == self._id:
            self._client.ignore(id)
            self._forget()


class WaveFile(_FileOwner, AudibleSlot):
    """Plays a WAV file once; posts `WaveFileDidFinishPlaying` at its end, and when it is stopped before."""

    def start(self) -> None:
        """Play; raises SIPCoreError when it plays already, PJSIPError when the file cannot be played."""
        future = self._start()
        self._wait_open(future, self._id)

    def start_soon(self) -> Result[None]:
        """As `start` without blocking: the slot is taken at once, the result tells when the file plays."""
        future = self._start()
        return self._opened_soon(future, self._id)

    def _start(self) -> Future[Any]:
        if self._slot is not None:
            raise SIPCoreError("WaveFile object is already playing")
        slot = self._mixer.take_slot()
        self._id = self._client.new_id()
        command = commands.PlayFile(self._mixer.id, slot, self._id, self._filename, self._volume)
        return self._open(slot, command, commands.StopFile(self._id))

    def stop(self) -> None:
        """Be silent at once."""
        if self._slot is not None:
            self._client.ignore(self._id)
            self._vacate()
            post("WaveFileDidFinishPlaying", self)

    def handle_media_event(self, event: commands.PlaybackEnded) -> None:
        """The engine came to the end of the file, or could not read it to its end."""
        if event.player == self._id and self._slot is not None:
            self._forget()
            post("WaveFileDidFinishPlaying", self)

    def engine_died(self, reason: str) -> Callable[[], object] | None:
        """The file ended before its time."""
        return (lambda: post("WaveFileDidFinishPlaying", self)) if self._lost(self._id) else None


class RecordingWaveFile(_FileOwner):
    """Records what is sent to its slot, 16-bit mono at the rate of the mixer. It starts once.

    With `separate` it records on the left what is sent to the slot that `tap` names, on the right what comes from it.
    """

    def __init__(self, mixer: AudioMixer, filename: str, separate: bool = False) -> None:
        super().__init__(mixer, filename)
        self._separate = separate
        self._was_started = False

    def start(self) -> None:
        """Record; raises SIPCoreError on a second start, PJSIPError when the file cannot be written."""
        future = self._start()
        self._wait_open(future, self._id)

    def start_soon(self) -> Result[None]:
        """As `start` without blocking: the slot is taken at once, the result tells when the file is open."""
        future = self._start()
        return self._opened_soon(future, self._id)

    def _start(self) -> Future[Any]:
        if self._was_started:
            raise SIPCoreError("RecordingWaveFile object can only be started once")
        slot = self._mixer.take_slot()
        self._was_started = True
        self._id = self._client.new_id()
        command = commands.RecordFile(self._mixer.id, slot, self._id, self._filename, self._separate)
        return self._open(slot, command, commands.StopRecording(self._id))

    def tap(self, slot: int | None) -> None:
        """Record both sides of this slot from now on, or silence; for a file with `separate` that is open."""
        if self._slot is not None:
            self._client.dismiss(commands.TapRecording(self._id, slot))

    def stop(self) -> None:
        """Complete the file, some time soon; `stop_soon` tells when."""
        self._client.ignore(self._id)
        self._vacate()

    def stop_soon(self) -> Result[None]:
        """Complete the file; the result tells when it is complete on the disk."""
        result: Result[None] = Result()
        if self._slot is None:
            result.set_result(None)
            return result
        future = self._client.request(commands.StopRecording(self._id))
        self._client.ignore(self._id)
        self._forget()

        def settled(_: Any, error: SIPCoreError | None) -> None:
            if error is None:
                result.set_result(None)
            else:
                result.set_exception(error)

        self._client.settle(future, settled)
        return result

    def handle_media_event(self, event: commands.RecordingFailed) -> None:
        """The disk is full or gone; what was written is kept."""
        if event.recorder == self._id and self._slot is not None:
            self._vacate()
            post("RecordingWaveFileDidFail", self, error=str(event.error))

    def engine_died(self, reason: str) -> Callable[[], object] | None:
        """What was written is kept."""
        return (lambda: post("RecordingWaveFileDidFail", self, error=reason)) if self._lost(self._id) else None
