"""Sound files as audio ports: a player that repeats a file, and a recorder."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from zope.interface import implementer

from sipsimple.audio.port import IAudioPort, post, slots_changed
from sipsimple.core import AudioMixer, RecordingWaveFile, SIPCoreError, WaveFile
from sipsimple.loop import Result, TaskOwner, run_in_loop
from sipsimple.notification import IObserver, Notification, NotificationCenter
from sipsimple.util import makedirs


@implementer(IAudioPort, IObserver)
class WavePlayer:
    """Plays a WAV file `loop_count` times (0: until stopped) with `pause_time` seconds between; reusable.

    `volume` is in percent, applied at the start of each play. Without `initial_play` a pause comes first. The
    attributes should not be changed while it is active.
    """

    consumer_slot: None = None

    def __init__(
        self,
        mixer: AudioMixer,
        filename: str,
        volume: int = 100,
        loop_count: int = 1,
        pause_time: float = 0,
        initial_play: bool = True,
    ) -> None:
        self.mixer = mixer
        self.filename = filename
        self.volume = volume
        self.loop_count = loop_count
        self.pause_time = pause_time
        self.initial_play = initial_play
        self._tasks = TaskOwner("WavePlayer")
        self._run: object | None = None
        self._started: Result[None] = Result()
        self._file: WaveFile | None = None
        self._playing = False
        self._file_ended = asyncio.Event()

    @property
    def is_active(self) -> bool:
        """True from `start()` to `WavePlayerDidEnd` or `WavePlayerDidFail`, pauses included."""
        return self._run is not None

    @property
    def producer_slot(self) -> int | None:
        """The slot of the file while it plays, None in pauses."""
        return self._file.slot if self._file is not None and self._playing else None

    def start(self) -> Result[None]:
        """Play; ignored while active. The result is settled at `WavePlayerDidStart`, and raises what made it fail."""
        if self._run is not None:
            return self._started
        run, started = object(), Result[None]()
        self._run, self._started = run, started
        try:
            run_in_loop(self._begin, run, started)
        except RuntimeError:
            self._run = None
            raise
        return started

    def stop(self) -> None:
        """Be silent at once, and for good."""
        run = self._run
        if run is not None:
            run_in_loop(self._stop, run)

    def _begin(self, run: object, started: Result[None]) -> None:
        self._tasks.spawn(self._play(run, started))

    def _stop(self, run: object) -> None:
        if self._run is run:
            self._silence()
            self._end(run)

    async def _play(self, run: object, started: Result[None]) -> None:
        try:
            await self._repeat(run, started)
        except (SIPCoreError, ValueError) as error:
            if self._run is run:
                self._run = self._file = None
                post("WavePlayerDidFail", self, error=error)
            started.set_exception(error)
        finally:
            # Stopped before the first play: there is nothing more to wait for.
            started.set_result(None)

    async def _repeat(self, run: object, started: Result[None]) -> None:
        plays = 0
        if not self.initial_play:
            await asyncio.sleep(self.pause_time)
        while self._run is run:
            await self._open()
            if self._run is not run:
                return
            self._playing = True
            if plays == 0:
                post("WavePlayerDidStart", self)
                started.set_result(None)
            if self._run is run:
                slots_changed(self, producer=(None, self.producer_slot))
            await self._file_ended.wait()
            if self._run is not run:
                return
            self._silence()
            plays += 1
            if plays == self.loop_count:
                self._end(run)
            elif self._run is run:
                await asyncio.sleep(self.pause_time)

    async def _open(self) -> None:
        self._file_ended = asyncio.Event()
        self._file = WaveFile(self.mixer, self.filename)
        self._file.volume = self.volume
        NotificationCenter().add_observer(self, name="WaveFileDidFinishPlaying", sender=self._file)
        try:
            await self._file.start_soon()
        except BaseException:
            self._let_go()
            raise

    def handle_notification(self, notification: Notification) -> None:
        if notification.sender is self._file:
            self._file_ended.set()

    def _silence(self) -> None:
        """Close the file and tell the bridges, if it plays."""
        slot = self._last_slot() if self._playing else None
        self._playing = False
        self._let_go()
        if slot is not None:
            slots_changed(self, producer=(slot, None))

    def _last_slot(self) -> int | None:
        return self._file.last_slot if self._file is not None else None

    def _let_go(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            NotificationCenter().discard_observer(self, name="WaveFileDidFinishPlaying", sender=file)
            file.stop()

    def _end(self, run: object) -> None:
        if self._run is run:
            self._run = None
            self._tasks.cancel()
            post("WavePlayerDidEnd", self)


@implementer(IAudioPort, IObserver)
class WaveRecorder:
    """Records what it is sent into a WAV file, 16-bit mono at the rate of the mixer; reusable.

    With `separate` the file is stereo, and it records both sides of the port that `tap` names instead.
    """

    producer_slot: None = None

    def __init__(self, mixer: AudioMixer, filename: str, separate: bool = False) -> None:
        self.mixer = mixer
        self.filename = filename
        self.separate = separate
        self._file: RecordingWaveFile | None = None

    @property
    def is_active(self) -> bool:
        """True between `start()` and `stop()`."""
        return self._file is not None

    @property
    def consumer_slot(self) -> int | None:
        """The slot to record, None when not active, or when both sides of a port are recorded apart."""
        return self._file.slot if self._file is not None and not self.separate else None

    def tap(self, port: Any) -> None:
        """Record on the left what is sent to this port, on the right what comes from it; silence with None.

        Does nothing unless active with `separate`.
        """
        if self._file is not None and self.separate:
            self._file.tap(None if port is None else port.consumer_slot)

    def start(self) -> None:
        """Open the file and record; missing directories are made. Blocks until it is open.

        Raises OSError or SIPCoreError; RuntimeError when it records already.
        """
        file = self._new_file()
        file.start()
        self._started(file)

    async def start_soon(self) -> None:
        """As `start`, without blocking the loop."""
        file = self._new_file()
        await file.start_soon()
        self._started(file)

    def _new_file(self) -> RecordingWaveFile:
        if self._file is not None:
            raise RuntimeError(f"{self.filename} is being recorded already: stop it first")
        directory = os.path.dirname(self.filename)
        if directory:
            makedirs(directory)
        return RecordingWaveFile(self.mixer, self.filename, self.separate)

    def _started(self, file: RecordingWaveFile) -> None:
        self._file = file
        NotificationCenter().add_observer(self, name="RecordingWaveFileDidFail", sender=file)
        slots_changed(self, consumer=(None, self.consumer_slot))

    def stop(self) -> Result[None]:
        """Close the file; the result is settled when it is complete on the disk. Does nothing when not active."""
        file = self._file
        if file is None:
            nothing: Result[None] = Result()
            nothing.set_result(None)
            return nothing
        slot = file.slot
        complete = file.stop_soon()
        self._let_go(file, slot)
        return complete

    def handle_notification(self, notification: Notification) -> None:
        """The file cannot be written any more; what was recorded so far is kept."""
        file = self._file
        if file is not None and notification.sender is file:
            self._let_go(file, file.last_slot)
            post("WaveRecorderDidFail", self, error=notification.data.error)

    def _let_go(self, file: RecordingWaveFile, slot: int | None) -> None:
        self._file = None
        NotificationCenter().discard_observer(self, name="RecordingWaveFileDidFail", sender=file)
        slots_changed(self, consumer=(None if self.separate else slot, None))
