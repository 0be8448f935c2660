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
from dataclasses import replace
from typing import Any, Final, TypeVar

import numpy as np

from . import commands as c
from .desk import Desk
from .devices import SoundDevices, list_devices
from .errors import CommandError, DeviceError, MediaError, UnknownObject
from .files import FileWorker, Recorder
from .mixer import Mixer
from .streams import FirstPacket, NoMedia, RemoteAddressChanged, RemoteBye, StreamEvent, StreamTable

log = logging.getLogger(__name__)

CLOSE_TIMEOUT: Final = 1.0  # seconds for each kind of slow work that is under way at the end
_PENDING: Final = object()

C = TypeVar("C", bound=c.Command)


class _Stream:
    __slots__ = ("desk", "id", "row", "slot", "transport")

    def __init__(self, id: int, desk: Desk, slot: int, transport: int, row: int) -> None:
        self.id = id
        self.desk = desk
        self.slot = slot
        self.transport = transport
        self.row = row


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
        self.statistics: dict[str, float] = {"ticks": 0, "skipped": 0, "late_max": 0.0, "load": 0.0}
        self._emit = emit
        self._wake = wake
        self._now = 0.0
        self._audio_backend = audio_backend
        self._table = StreamTable(capacity, random=random, wall_clock_offset=wall_clock_offset)
        self._desks: dict[int, Desk] = {}
        self._transports: dict[int, int] = {}  # our identifier to the table's
        self._streams: dict[int, _Stream] = {}
        self._stream_at: dict[int, _Stream] = {}  # by row
        self._slot_of_row = np.zeros(capacity, np.int64)
        self._mixer_of_row = np.zeros(capacity, np.int64)
        self._settled: deque[Callable[[], None]] = deque()
        self._readers = FileWorker("media-file-reader")
        self._writers = FileWorker("media-file-writer")
        self._device_worker = FileWorker("media-devices")

    # --- what the host calls

    @property
    def busy(self) -> bool:
        """Whether the tick has anything to do."""
        return any(desk.busy for desk in self._desks.values())

    def handle(self, command: c.Command, now: float) -> None:
        """Obey a command; the reply, or the failure, is told as an event, now or later."""
        self._now = now
        try:
            value = self._handler(command)(self, command)
        except MediaError as error:
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
        self._now = now
        self.settle()
        self.statistics["ticks"] += 1
        rates = {desk.mixer.sample_rate for desk in self._desks.values() if desk.stream_count}
        self._table.receive(now)
        for rate in rates:
            self._take_in(rate, now)
        for desk in self._desks.values():
            if desk.busy:
                desk.tick(now)
        for rate in rates:
            self._send_out(rate, now)
        self._table.rtcp(now)
        for event in self._table.events(now):
            self._pass_on(event)

    def close(self) -> None:
        """End everything: recordings are completed, sockets and devices closed; bounded by `CLOSE_TIMEOUT`."""
        for mixer in list(self._desks):
            self._destroy_mixer(c.DestroyMixer(mixer))
        self._table.close(self._now)
        for worker in (self._device_worker, self._readers, self._writers):
            worker.close(CLOSE_TIMEOUT)
        self.settle()

    # --- outcomes

    def _succeed(self, command: c.Command, value: object = None) -> None:
        if command.reply_to:
            self._emit(c.Reply(command.reply_to, value))

    def _fail(self, command: c.Command, error: MediaError) -> None:
        if command.reply_to:
            self._emit(c.Reply(command.reply_to, error=error))
        else:
            self._emit(c.CommandFailed(command, error))

    def _later(self, function: Callable[[], None]) -> None:
        """Call the function in the engine's thread; for use in other threads."""
        self._settled.append(function)
        self._wake()

    # --- streams in the tick

    def _take_in(self, rate: int, now: float) -> None:
        rows, frames = self._table.playout(now, rate)
        for desk, chosen in self._by_mixer(rows, rate):
            desk.mixer.sources[self._slot_of_row[rows[chosen]]] = frames[chosen]

    def _send_out(self, rate: int, now: float) -> None:
        rows = self._table.sending_rows(rate)
        frames = np.zeros((len(rows), rate // 50), np.int16)
        for desk, chosen in self._by_mixer(rows, rate):
            frames[chosen] = desk.mixer.sinks[self._slot_of_row[rows[chosen]]]
        self._table.send(now, rows, frames)

    def _by_mixer(self, rows: Any, rate: int) -> list[tuple[Desk, Any]]:
        desks = [desk for desk in self._desks.values() if desk.stream_count and desk.mixer.sample_rate == rate]
        if len(desks) == 1:
            return [(desks[0], slice(None))]
        return [(desk, self._mixer_of_row[rows] == desk.mixer.id) for desk in desks]

    def _pass_on(self, event: StreamEvent) -> None:
        stream = self._stream_at.get(event.row)
        if stream is None or stream.transport != event.transport_id:
            return
        match event:
            case FirstPacket(address=address, port=port):
                self._emit(c.FirstPacketReceived(stream.id, address, port))
            case RemoteAddressChanged(address=address, port=port):
                self._emit(c.RemoteAddressChanged(stream.id, address, port))
            case NoMedia(got_any=got_any):
                self._emit(c.MediaTimeout(stream.id, got_any))
            case RemoteBye():
                self._emit(c.RemoteSaidGoodbye(stream.id))

    # --- mixers

    def _desk(self, mixer: int) -> Desk:
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
        desk = self._desk(command.mixer)
        for stream in [stream for stream in self._streams.values() if stream.desk is desk]:
            self._remove_stream(stream)
        for player in list(desk.players):
            self._stop_player(desk, player)
        for id in list(desk.recorders):
            recording = desk.recorders[id].command
            self._complete_recording(desk.remove_recorder(id), replace(recording, reply_to=0))
        desk.device_request += 1
        self._replace_devices(desk, SoundDevices(1))
        del self._desks[command.mixer]

    def _set_devices(self, command: c.SetDevices) -> object:
        desk = self._desk(command.mixer)
        desk.device_request += 1
        request = desk.device_request
        devices = SoundDevices(desk.mixer.frame_size)
        self._replace_devices(desk, SoundDevices(1))
        if command.input is None and command.output is None:
            return c.RealDevices(None, None)

        def job() -> None:
            error: DeviceError | None = None
            try:
                devices.open(command.input, command.output, desk.mixer.sample_rate, self._audio_backend)
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

    def _list_devices(self, command: c.ListDevices) -> object:
        def job() -> None:
            names = list_devices(self._audio_backend)
            self._later(lambda: self._succeed(command, names))

        self._device_worker.submit(job)
        return _PENDING

    # --- slots and bridges

    def _connect(self, command: c.Connect) -> None:
        self._desk(command.mixer).mixer.connect(command.src, command.dst)

    def _disconnect(self, command: c.Disconnect) -> None:
        self._desk(command.mixer).mixer.disconnect(command.src, command.dst)

    def _set_volume(self, command: c.SetVolume) -> None:
        self._desk(command.mixer).mixer.set_volume(command.slot, command.volume)

    def _set_sink_volume(self, command: c.SetSinkVolume) -> None:
        self._desk(command.mixer).mixer.set_sink_volume(command.slot, command.volume)

    def _set_muted(self, command: c.SetMuted) -> None:
        self._desk(command.mixer).mixer.set_muted(command.slot, command.muted)

    def _add_port(self, command: c.AddPort) -> None:
        self._desk(command.mixer).mixer.add_slot(command.slot, port=True)

    def _remove_slot(self, command: c.RemoveSlot) -> None:
        self._desk(command.mixer).remove_slot(command.slot)

    def _bridge_create(self, command: c.BridgeCreate) -> None:
        self._desk(command.mixer).mixer.create_bridge(command.bridge)

    def _bridge_destroy(self, command: c.BridgeDestroy) -> None:
        self._desk(command.mixer).mixer.destroy_bridge(command.bridge)

    def _bridge_add(self, command: c.BridgeAdd) -> None:
        mixer = self._desk(command.mixer).mixer
        mixer.add_member(command.bridge, command.member, command.producer, command.consumer)

    def _bridge_remove(self, command: c.BridgeRemove) -> None:
        self._desk(command.mixer).mixer.remove_member(command.bridge, command.member)

    def _add_tone_generator(self, command: c.AddToneGenerator) -> None:
        self._desk(command.mixer).add_tones(command.slot)

    def _play_tones(self, command: c.PlayTones) -> None:
        source = self._desk(command.mixer).tones(command.slot)
        try:
            source.play(command.tones)
        except ValueError as error:
            raise CommandError(str(error)) from error

    def _stop_tones(self, command: c.StopTones) -> None:
        self._desk(command.mixer).stop_tones(command.slot)

    # --- transports and streams

    def _open_transport(self, command: c.OpenTransport) -> c.LocalAddress:
        if command.transport in self._transports:
            raise CommandError(f"transport {command.transport} is open: choose another identifier")
        info = self._table.open_transport(command.address, command.port_range)
        self._transports[command.transport] = info.id
        return c.LocalAddress(info.address, info.rtp_port, info.rtcp_port)

    def _close_transport(self, command: c.CloseTransport) -> None:
        id = self._transports.pop(command.transport, None)
        if id is None:
            return
        for stream in [stream for stream in self._streams.values() if stream.transport == id]:
            self._remove_stream(stream)
        self._table.close_transport(id, self._now)

    def _start_stream(self, command: c.StartStream) -> None:
        desk = self._desk(command.mixer)
        if command.stream in self._streams:
            raise CommandError(f"stream {command.stream} runs: choose another identifier")
        transport = self._transports.get(command.transport)
        if transport is None:
            raise UnknownObject("transport", command.transport)
        desk.mixer.add_slot(command.slot)
        try:
            config = replace(command.config, mixer_rate=desk.mixer.sample_rate)
            row = self._table.add(transport, config, self._now)
        except (MediaError, ValueError) as error:
            desk.mixer.remove_slot(command.slot)
            raise error if isinstance(error, MediaError) else CommandError(str(error)) from error
        stream = _Stream(command.stream, desk, command.slot, transport, row)
        self._streams[command.stream] = self._stream_at[row] = stream
        self._slot_of_row[row] = command.slot
        self._mixer_of_row[row] = command.mixer
        desk.stream_count += 1

    def _stream(self, id: int) -> _Stream:
        try:
            return self._streams[id]
        except KeyError:
            raise UnknownObject("stream", id) from None

    def _update_stream(self, command: c.UpdateStream) -> None:
        stream = self._stream(command.stream)
        config = replace(command.config, mixer_rate=stream.desk.mixer.sample_rate)
        self._table.update(stream.row, config, self._now)
        # A stream that does not receive any more puts no frames here.
        stream.desk.mixer.sources[stream.slot] = 0

    def _stop_stream(self, command: c.StopStream) -> dict[str, Any]:
        return self._remove_stream(self._stream(command.stream))

    def _remove_stream(self, stream: _Stream) -> dict[str, Any]:
        statistics = self._table.statistics(stream.row)
        self._table.remove(stream.row, self._now)
        stream.desk.mixer.remove_slot(stream.slot)
        stream.desk.stream_count -= 1
        del self._streams[stream.id], self._stream_at[stream.row]
        return statistics

    def _stream_statistics(self, command: c.StreamStatistics) -> dict[str, Any]:
        return self._table.statistics(self._stream(command.stream).row)

    # --- files

    def _play_file(self, command: c.PlayFile) -> object:
        desk = self._desk(command.mixer)
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
        desk = self._desk(command.mixer)
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

    def _engine_statistics(self, command: c.EngineStatistics) -> dict[str, float]:
        return {**self.statistics, "mixers": len(self._desks), "streams": len(self._streams)}


_HANDLERS: Final[dict[type[c.Command], Callable[[Engine, Any], object]]] = {
    c.CreateMixer: Engine._create_mixer,
    c.DestroyMixer: Engine._destroy_mixer,
    c.SetDevices: Engine._set_devices,
    c.ListDevices: Engine._list_devices,
    c.Connect: Engine._connect,
    c.Disconnect: Engine._disconnect,
    c.SetVolume: Engine._set_volume,
    c.SetSinkVolume: Engine._set_sink_volume,
    c.SetMuted: Engine._set_muted,
    c.AddPort: Engine._add_port,
    c.AddToneGenerator: Engine._add_tone_generator,
    c.RemoveSlot: Engine._remove_slot,
    c.PlayTones: Engine._play_tones,
    c.StopTones: Engine._stop_tones,
    c.BridgeCreate: Engine._bridge_create,
    c.BridgeDestroy: Engine._bridge_destroy,
    c.BridgeAdd: Engine._bridge_add,
    c.BridgeRemove: Engine._bridge_remove,
    c.OpenTransport: Engine._open_transport,
    c.CloseTransport: Engine._close_transport,
    c.StartStream: Engine._start_stream,
    c.UpdateStream: Engine._update_stream,
    c.StopStream: Engine._stop_stream,
    c.StreamStatistics: Engine._stream_statistics,
    c.PlayFile: Engine._play_file,
    c.StopFile: Engine._stop_file,
    c.RecordFile: Engine._record_file,
    c.StopRecording: Engine._stop_recording,
    c.EngineStatistics: Engine._engine_statistics,
}
