"""A mixer with the players, recorders, tones and sound devices that occupy its slots.

Streams occupy slots too, but belong to the engine, which handles those of all mixers at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .commands import (
    DEVICE_SLOT,
    DeviceFailed,
    Event,
    OpenPCM,
    PCMTicked,
    PlaybackEnded,
    PlayFile,
    RecordFile,
    TonesEnded,
)
from .devices import SoundDevices
from .errors import CommandError, DeviceError, SlotError
from .files import FileWorker, Player, Recorder
from .mixer import Frames, Mixer
from .pcm import PCMSlot
from .tones import ToneSource


@dataclass(slots=True)
class ActivePlayer:
    command: PlayFile
    source: Player
    is_open: bool = False


@dataclass(slots=True)
class ActiveRecorder:
    command: RecordFile
    sink: Recorder
    tap: int | None = None


@dataclass(slots=True)
class ActivePCM:
    slot: int
    samples: PCMSlot


class Desk:
    """One mixer and what runs at its tick; `emit` takes the events."""

    def __init__(self, mixer: Mixer, emit: Callable[[Event], None]) -> None:
        self.mixer = mixer
        self.devices = SoundDevices(mixer.frame_size)
        self.device_request = 0  # which SetDevices was the last one
        self.wants_devices = False  # whether that one asked for any
        self.players: dict[int, ActivePlayer] = {}
        self.recorders: dict[int, ActiveRecorder] = {}
        self.pcm: dict[int, ActivePCM] = {}
        self.stream_count = 0
        self._tones: dict[int, ToneSource] = {}
        self._emit = emit

    @property
    def busy(self) -> bool:
        """Whether anything happens that needs the tick."""
        return bool(
            self.stream_count
            or self.players
            or self.recorders
            or any(source.busy for source in self._tones.values())
            or any(active.samples.busy for active in self.pcm.values())
            or (self.devices.is_open and self.mixer.device_takes_part)
        )

    # --- ports and tones

    def add_tones(self, slot: int) -> None:
        self.mixer.add_slot(slot)
        self._tones[slot] = ToneSource(self.mixer.sample_rate)

    def tones(self, slot: int) -> ToneSource:
        """The tone generator in the slot. Raises SlotError."""
        try:
            return self._tones[slot]
        except KeyError:
            raise SlotError(self.mixer.id, slot, "is no tone generator") from None

    def stop_tones(self, slot: int) -> None:
        """Silence the tone generator in the slot, and tell so if it was playing. Raises SlotError."""
        source = self.tones(slot)
        if source.busy:
            source.stop()
            self.mixer.sources[slot] = 0
            self._emit(TonesEnded(self.mixer.id, slot))

    def remove_slot(self, slot: int) -> None:
        """Free the slot of a port or a tone generator. Raises SlotError when something else is in it."""
        if slot in self._tones:
            self.stop_tones(slot)
            del self._tones[slot]
        elif not self.mixer.is_port(slot):
            raise SlotError(self.mixer.id, slot, "holds no port and no tone generator")
        self.mixer.remove_slot(slot)

    # --- files

    def add_player(self, command: PlayFile, worker: FileWorker) -> Player:
        self.mixer.add_slot(command.slot)
        self.mixer.set_volume(command.slot, command.volume)
        player = Player(command.path, self.mixer.sample_rate, worker)
        self.players[command.player] = ActivePlayer(command, player)
        return player

    def remove_player(self, id: int) -> ActivePlayer:
        active = self.players.pop(id)
        self.mixer.remove_slot(active.command.slot)
        active.source.close()
        return active

    def add_recorder(self, command: RecordFile, worker: FileWorker) -> Recorder:
        self.mixer.add_slot(command.slot)
        recorder = Recorder(command.path, self.mixer.sample_rate, worker, 2 if command.separate else 1)
        self.recorders[command.recorder] = ActiveRecorder(command, recorder)
        return recorder

    def tap(self, id: int, slot: int | None) -> None:
        """Let a recorder of separate sides hear both sides of a slot, or none. Raises CommandError, SlotError."""
        active = self.recorders[id]
        if not active.command.separate:
            raise CommandError(f"recorder {id} does not record sides apart: make it with `separate`")
        if slot is not None and slot >= len(self.mixer.sinks):
            raise SlotError(self.mixer.id, slot, "is out of range: it was never used")
        active.tap = slot

    def _sides(self, active: ActiveRecorder) -> Frames:
        """What goes to the tapped slot and what comes from it, sample by sample."""
        frame = np.zeros((self.mixer.frame_size, 2), np.int16)
        if active.tap is not None:
            frame[:, 0] = self.mixer.sinks[active.tap]
            frame[:, 1] = self.mixer.sources[active.tap]
        return frame.reshape(-1)

    def remove_recorder(self, id: int) -> Recorder:
        active = self.recorders.pop(id)
        self.mixer.remove_slot(active.command.slot)
        return active.sink

    # --- samples of the program

    def add_pcm(self, command: OpenPCM) -> None:
        """Let the program write and hear. Raises CommandError and SlotError."""
        samples = PCMSlot(command.pcm, command.sample_rate, self.mixer.sample_rate, command.capture)
        self.mixer.add_slot(command.slot)
        self.pcm[command.pcm] = ActivePCM(command.slot, samples)

    def remove_pcm(self, id: int) -> None:
        self.mixer.remove_slot(self.pcm.pop(id).slot)

    # --- the tick

    def tick(self, now: float) -> None:
        """Mix one frame; the streams have put theirs into the mixer's sources before."""
        mixer = self.mixer
        self.devices.read(mixer.sources[DEVICE_SLOT])
        for player in self.players.values():
            if player.is_open:
                player.source.fill(mixer.sources[player.command.slot])
        for active in self.pcm.values():
            active.samples.fill(mixer.sources[active.slot])
        playing = [slot for slot, source in self._tones.items() if source.busy]
        for slot in playing:
            self._tones[slot].fill(mixer.sources[slot])
        mixer.mix()
        self.devices.write(mixer.sinks[DEVICE_SLOT])
        for recorder in self.recorders.values():
            separate = recorder.command.separate
            recorder.sink.push(self._sides(recorder) if separate else mixer.sinks[recorder.command.slot])
        if self.pcm:
            self._report_pcm()
        self._end_what_ended(playing, now)

    def _report_pcm(self) -> None:
        reports = [active.samples.report(self.mixer.sinks[active.slot]) for active in self.pcm.values()]
        news = tuple(report for report in reports if report is not None)
        if news:
            self._emit(PCMTicked(news))

    def _end_what_ended(self, playing: list[int], now: float) -> None:
        for slot in playing:
            if not self._tones[slot].busy:
                self.mixer.sources[slot] = 0
                self._emit(TonesEnded(self.mixer.id, slot))
        for id in [id for id, player in self.players.items() if player.is_open and player.source.ended]:
            active = self.remove_player(id)
            self._emit(PlaybackEnded(id, active.source.error))
        if (name := self.devices.stalled(now)) is not None:
            self._emit(DeviceFailed(self.mixer.id, DeviceError(name, "it has stopped working: choose another one")))
