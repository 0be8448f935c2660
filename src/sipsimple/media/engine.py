"""The media engine: obeys commands, mixes a frame of everything at each tick, tells events.

Whoever hosts it calls `handle` with each command, `tick` every 20 ms while it is `busy`, and `settle` after `wake` was
called: slow work (files, devices) is done in threads of its own, and its outcome waits for the engine's thread.
Time comes in as monotonic seconds; everything but `wake` happens in the thread of the host.
"""

from __future__ import annotations

import logging
import random as random_module
from collections import deque
from collections.abc import Callable
from typing import Any, Final, TypeVar

from . import commands as c
from .desk import Desk
from .device_watch import DeviceWatch
from .devices import SoundDevices, list_devices
from .errors import CommandError, DeviceError, MediaError, UnknownObject
from .files import FileWorker, Recorder
from .mixer import Mixer
from .pcm import PCMSlot
from .shield import load_soon
from .stream_slots import StreamSlots
from .values import replace

log = logging.getLogger(__name__)

CLOSE_TIMEOUT: Final = 1.0  # seconds for each kind of slow work that is under way at the end
_PENDING: Final = object()

C = TypeVar("C", bound=c.Command)


class Engine:
    """All mixers and streams of one host."""

    def __init__(
        self,
        emit: Callable[[c.Event], None],
        wake: Callable[[], None],
        *,
        random: random_module.Random,
        wall_clock_offset: float = 0.0,
        capacity: int = 2048,
        audio_backend: str | None = None,
    ) -> None:
        """`wake` is called in any thread; `audio_backend` is one of miniaudio's, None lets it choose."""
        self.streams = StreamSlots(emit, random, wall_clock_offset, capacity, self._later)
        self.now = 0.0
        self.statistics: dict[str, Any] = {"ticks": 0, "skipped": 0, "late_max": 0.0, "load": 0.0, "late_counts": ()}
        self._emit = emit
        self._wake = wake
        self._audio_backend = audio_backend
        self._desks: dict[int, Desk] = {}
        self._settled: deque[Callable[[], None]] = deque()
        self._readers = FileWorker("media-file-reader")
        self._writers = FileWorker("media-file-writer")
        self._device_worker = FileWorker("media-devices")
        self._watch = DeviceWatch(lambda: list_devices(audio_backend), self._devices_changed)

    # --- what the host calls

    @property
    def mixer_count(self) -> int:
        return len(self._desks)

    @property
    def busy(self) -> bool:
        """Whether the tick has anything to do."""
        return any(desk.busy for desk in self._desks.values())

    def handle(self, command: c.Command, now: float) -> None:
        """Obey a command; the reply, or the failure, is told as an event, now or later."""
        self.now = now
        try:
            value = self._handler(command)(self, command)
        except MediaError as error:
            if isinstance(command, _RELEASING) and isinstance(error, UnknownObject) and error.kind == "mixer":
                self._succeed(command)
            else:
                self._fail(command, error)
        except Exception as error:  # a defect in one command must not end the calls of all others
            log.exception("media command %r failed", command)
            self._fail(command, MediaError(f"defect in the media engine: {error!r}"))
        else:
            if value is not _PENDING:
                self._succeed(command, value)

    def _handler(self, command: c.Command) -> Callable[[Engine, Any], object]:
        try:
            return _HANDLERS[type(command)]
        except KeyError:
            raise CommandError(f"{type(command).__name__} is no command that this engine knows") from None

    def settle(self) -> None:
        """Take over what other threads have finished."""
        while self._settled:
            self._settled.popleft()()

    def tick(self, now: float) -> None:
        """Receive, mix and send one frame of everything."""
        self.now = now
        self.settle()
        self.statistics["ticks"] += 1
        self.streams.receive(now)
        for desk in self._desks.values():
            if desk.busy:
                desk.tick(now)
        self.streams.send(now)

    def close(self) -> None:
        """End everything: recordings are completed, sockets and devices closed; bounded by `CLOSE_TIMEOUT`."""
        for mixer in list(self._desks):
            self._destroy_mixer(c.DestroyMixer(mixer))
        self.streams.close(self.now)
        self._watch.close()
        for worker in (self._device_worker, self._readers, self._writers):
            worker.close(CLOSE_TIMEOUT)
        self.settle()

    # --- outcomes

    def _succeed(self, command: c.Command, value: object = None) -> None:
        if command.reply_to:
            self._emit(c.Reply(command.reply_to, value, can_wait=command.can_wait))

    def _fail(self, command: c.Command, error: MediaError) -> None:
        if command.reply_to:
            self._emit(c.Reply(command.reply_to, error=error))
        else:
            self._emit(c.CommandFailed(command, error))

    def _later(self, function: Callable[[], None]) -> None:
        """Call the function in the engine's thread; for use in other threads."""
        self._settled.append(function)
        self._wake()

    # --- mixers

    def desk(self, mixer: int) -> Desk:
        """The mixer with this identifier, and what runs at its tick. Raises UnknownObject."""
        try:
            return self._desks[mixer]
        except KeyError:
            raise UnknownObject("mixer", mixer) from None

    def _create_mixer(self, command: c.CreateMixer) -> None:
        if command.mixer in self._desks:
            raise CommandError(f"mixer {command.mixer} exists: choose another identifier")
        try:
            mixer = Mixer(command.mixer, command.sample_rate, command.slot_count)
        except ValueError as error:
            raise CommandError(str(error)) from error
        self._desks[command.mixer] = Desk(mixer, self._emit_from_desk)

    def _emit_from_desk(self, event: c.Event) -> None:
        if isinstance(event, c.DeviceFailed):
            self._replace_devices(self._desks[event.mixer], SoundDevices(1))
        self._emit(event)

    def _destroy_mixer(self, command: c.DestroyMixer) -> None:
        desk = self.desk(command.mixer)
        self.streams.stop_all(desk, self.now)
        for player in list(desk.players):
            self._stop_player(desk, player)
        for id in list(desk.recorders):
            recording = desk.recorders[id].command
            self._complete_recording(desk.remove_recorder(id), replace(recording, reply_to=0))
        desk.device_request += 1
        self._replace_devices(desk, SoundDevices(1))
        del self._desks[command.mixer]
        self._watch_if_wanted()

    def _set_devices(self, command: c.SetDevices) -> object:
        desk = self.desk(command.mixer)
        desk.device_request += 1
        request = desk.device_request
        devices = SoundDevices(desk.mixer.frame_size)
        self._replace_devices(desk, SoundDevices(1))
        desk.wants_devices = command.input is not None or command.output is not None
        self._watch_if_wanted()
        if not desk.wants_devices:
            return c.RealDevices(None, None)

        def job() -> None:
            error: DeviceError | None = None
            try:
                devices.open(
                    command.input,
                    command.output,
                    desk.mixer.sample_rate,
                    self._audio_backend,
                    command.ec_tail,
                    command.gain_control,
                )
            except DeviceError as failure:
                error = failure
            self._later(lambda: done(error))

        def done(error: DeviceError | None) -> None:
            if error is not None:
                self._fail(command, error)
                return
            real = devices.real
            if desk.device_request == request:
                self._replace_devices(desk, devices)
            else:
                self._device_worker.submit(devices.close)
            self._succeed(command, real)

        self._device_worker.submit(job)
        return _PENDING

    def _replace_devices(self, desk: Desk, devices: SoundDevices) -> None:
        old, desk.devices = desk.devices, devices
        desk.mixer.sources[c.DEVICE_SLOT] = 0
        if old.is_open:
            self._device_worker.submit(old.close)

    def _watch_if_wanted(self) -> None:
        """Watch over the devices while a mixer wants any, be it that there are none."""
        self._watch.want(any(desk.wants_devices for desk in self._desks.values()))

    def _devices_changed(self, old: c.DeviceNames | None, new: c.DeviceNames) -> None:
        """Tell it; for use in the watch's thread."""
        self._later(lambda: self._emit(c.DevicesChanged(old, new)))

    def _list_devices(self, command: c.ListDevices) -> object:
        def job() -> None:
            names = list_devices(self._audio_backend)
            self._later(lambda: self._succeed(command, names))

        self._device_worker.submit(job)
        return _PENDING

    # --- connectivity

    def _gather_candidates(self, command: c.GatherCandidates) -> object:
        self.streams.gather(command, lambda local, error: self._settle(command, local, error))
        return _PENDING

    def _check_candidates(self, command: c.CheckCandidates) -> object:
        self.streams.check(command, lambda outcome, error: self._settle(command, outcome, error))
        return _PENDING

    def _settle(self, command: c.Command, value: object, error: MediaError | None) -> None:
        """Tell the outcome of a command; for use in other threads."""
        self._later(lambda: self._succeed(command, value) if error is None else self._fail(command, error))

    # --- tones

    def _play_tones(self, command: c.PlayTones) -> None:
        source = self.desk(command.mixer).tones(command.slot)
        try:
            source.play(command.tones)
        except ValueError as error:
            raise CommandError(str(error)) from error

    # --- files

    def _play_file(self, command: c.PlayFile) -> object:
        desk = self.desk(command.mixer)
        if any(command.player in other.players for other in self._desks.values()):
            raise CommandError(f"player {command.player} plays: choose another identifier")
        player = desk.add_player(command, self._readers)

        def done(error: MediaError | None) -> None:
            active = desk.players.get(command.player)
            if active is None or active.source is not player:
                return  # stopped meanwhile, and told so
            if error is not None:
                desk.remove_player(command.player)
                self._fail(command, error)
                return
            active.is_open = True
            self._succeed(command)

        player.open(lambda error: self._later(lambda: done(error)))
        return _PENDING

    def _stop_file(self, command: c.StopFile) -> None:
        for desk in self._desks.values():
            if command.player in desk.players:
                self._stop_player(desk, command.player)

    def _stop_player(self, desk: Desk, id: int) -> None:
        active = desk.remove_player(id)
        if not active.is_open:
            self._succeed(active.command)
        self._emit(c.PlaybackEnded(id, active.source.error))

    def _record_file(self, command: c.RecordFile) -> object:
        desk = self.desk(command.mixer)
        if any(command.recorder in other.recorders for other in self._desks.values()):
            raise CommandError(f"recorder {command.recorder} records: choose another identifier")
        recorder = desk.add_recorder(command, self._writers)

        def opened(error: MediaError | None) -> None:
            if error is None:
                self._succeed(command)
                return
            active = desk.recorders.get(command.recorder)
            if active is not None and active.sink is recorder:
                desk.remove_recorder(command.recorder)
            self._fail(command, error)

        recorder.open(
            lambda error: self._later(lambda: opened(error)),
            lambda error: self._later(lambda: self._emit(c.RecordingFailed(command.recorder, error))),
        )
        return _PENDING

    def _tap_recording(self, command: c.TapRecording) -> None:
        for desk in self._desks.values():
            if command.recorder in desk.recorders:
                desk.tap(command.recorder, command.slot)
                return
        raise UnknownObject("recorder", command.recorder)

    def _stop_recording(self, command: c.StopRecording) -> object:
        for desk in self._desks.values():
            if command.recorder in desk.recorders:
                self._complete_recording(desk.remove_recorder(command.recorder), command)
                return _PENDING
        raise UnknownObject("recorder", command.recorder)

    def _complete_recording(self, recorder: Recorder, command: c.Command) -> None:
        def done(recording: c.Recording | None, error: MediaError | None) -> None:
            if error is not None:
                self._fail(command, error)
            else:
                self._succeed(command, recording)

        recorder.close(lambda recording, error: self._later(lambda: done(recording, error)))

    # --- samples of the program

    def _open_pcm(self, command: c.OpenPCM) -> None:
        if any(command.pcm in desk.pcm for desk in self._desks.values()):
            raise CommandError(f"samples {command.pcm} are open: choose another identifier")
        self.desk(command.mixer).add_pcm(command)

    def _pcm(self, pcm: int) -> PCMSlot:
        for desk in self._desks.values():
            if pcm in desk.pcm:
                return desk.pcm[pcm].samples
        raise UnknownObject("samples", pcm)

    def _close_pcm(self, command: c.ClosePCM) -> None:
        for desk in self._desks.values():
            if command.pcm in desk.pcm:
                desk.remove_pcm(command.pcm)


def _mixer(engine: Engine, command: Any) -> Mixer:
    return engine.desk(command.mixer).mixer


# What they free has gone with its mixer; a garbage collector, too, sends them, and in any order.
_RELEASING: Final = (c.BridgeDestroy, c.BridgeRemove, c.Disconnect, c.RemoveSlot)

# Whatever needs more than one line is a method.
_HANDLERS: Final[dict[type[c.Command], Callable[[Engine, Any], object]]] = {
    c.CreateMixer: Engine._create_mixer,
    c.DestroyMixer: Engine._destroy_mixer,
    c.SetDevices: Engine._set_devices,
    c.ListDevices: Engine._list_devices,
    c.Connect: lambda engine, it: _mixer(engine, it).connect(it.src, it.dst),
    c.Disconnect: lambda engine, it: _mixer(engine, it).disconnect(it.src, it.dst),
    c.SetVolume: lambda engine, it: _mixer(engine, it).set_volume(it.slot, it.volume),
    c.SetSinkVolume: lambda engine, it: _mixer(engine, it).set_sink_volume(it.slot, it.volume),
    c.SetMuted: lambda engine, it: _mixer(engine, it).set_muted(it.slot, it.muted),
    c.AddPort: lambda engine, it: _mixer(engine, it).add_slot(it.slot, port=True),
    c.RemoveSlot: lambda engine, it: engine.desk(it.mixer).remove_slot(it.slot),
    c.BridgeCreate: lambda engine, it: _mixer(engine, it).create_bridge(it.bridge, it.members),
    c.BridgeDestroy: lambda engine, it: _mixer(engine, it).destroy_bridge(it.bridge),
    c.BridgeAdd: lambda engine, it: _mixer(engine, it).add_member(it.bridge, it.member, it.producer, it.consumer),
    c.BridgeRemove: lambda engine, it: _mixer(engine, it).remove_member(it.bridge, it.member),
    c.AddToneGenerator: lambda engine, it: engine.desk(it.mixer).add_tones(it.slot),
    c.PlayTones: Engine._play_tones,
    c.StopTones: lambda engine, it: engine.desk(it.mixer).stop_tones(it.slot),
    c.OpenTransport: lambda engine, it: engine.streams.open_transport(it, engine.now),
    c.OpenTransports: lambda engine, it: engine.streams.open_transports(it, engine.now),
    c.CloseTransport: lambda engine, it: engine.streams.close_transport(it.transport, engine.now),
    c.GatherCandidates: Engine._gather_candidates,
    c.CheckCandidates: Engine._check_candidates,
    c.StartStream: lambda engine, it: engine.streams.start(it, engine.desk(it.mixer), engine.now),
    c.UpdateStream: lambda engine, it: engine.streams.update(it.stream, it.config, engine.now),
    c.StopStream: lambda engine, it: engine.streams.stop(it.stream, engine.now),
    c.SendDTMF: lambda engine, it: engine.streams.send_digit(it.stream, it.digit, inband=it.inband),
    c.LoadSecurity: lambda _, it: load_soon(handshakes=it.handshakes),
    c.StreamStatistics: lambda engine, it: engine.streams.statistics(it.stream),
    c.PlayFile: Engine._play_file,
    c.StopFile: Engine._stop_file,
    c.RecordFile: Engine._record_file,
    c.TapRecording: Engine._tap_recording,
    c.StopRecording: Engine._stop_recording,
    c.OpenPCM: Engine._open_pcm,
    c.WritePCM: lambda engine, it: engine._pcm(it.pcm).write(it.samples),
    c.FlushPCM: lambda engine, it: engine._pcm(it.pcm).flush(),
    c.ClosePCM: Engine._close_pcm,
    c.EngineStatistics: lambda engine, it: {
        **engine.statistics,
        "mixers": engine.mixer_count,
        "streams": engine.streams.count,
    },
}
