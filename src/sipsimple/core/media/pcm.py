"""The slot of a mixer through which a program plays and hears samples."""

from __future__ import annotations

from collections.abc import Callable

from sipsimple.core.media.mixer import AudioMixer
from sipsimple.core.media.ports import SlotOwner
from sipsimple.media import commands


class SampleSlot(SlotOwner):
    """Samples of a program in a slot of its own, from `start()` to `stop()`.

    `on_report` takes the engine's news, `on_lost` the reason when the engine dies and the slot is gone with it.
    """

    def __init__(
        self,
        mixer: AudioMixer,
        on_report: Callable[[commands.PCMReport], object],
        on_lost: Callable[[str], object],
    ) -> None:
        super().__init__(mixer)
        self._on_report = on_report
        self._on_lost = on_lost
        self._id = 0

    def start(self, sample_rate: int, capture: bool) -> None:
        """Occupy a slot; raises SIPCoreError when none is free. `sample_rate` in Hz, a multiple of 50."""
        slot = self._mixer.take_slot()
        self._id = self._client.new_id()
        self._client.listen(self._id, self)
        self._client.post(commands.OpenPCM(self._mixer.id, slot, self._id, sample_rate, capture))
        self._occupy(slot, commands.ClosePCM(self._id))

    def stop(self) -> None:
        """Be silent and leave the mixer."""
        self._client.ignore(self._id)
        self._vacate()

    def write(self, samples: bytes) -> None:
        """Play these samples, 16 bits each in the order of this machine, after all that were written before."""
        self._client.post(commands.WritePCM(self._id, samples))

    def flush(self) -> None:
        """Throw away what was written and not played."""
        self._client.post(commands.FlushPCM(self._id))

    def handle_media_event(self, event: commands.PCMReport) -> None:
        """The engine tells what it played, and what was heard."""
        if event.pcm == self._id:
            self._on_report(event)

    def engine_died(self, reason: str) -> Callable[[], object] | None:
        """Nothing is played or heard any more."""
        return (lambda: self._on_lost(reason)) if self._lost(self._id) else None
