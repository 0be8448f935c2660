"""The streams of the engine in the slots of its mixers: the client's identifiers here, the rows of the table there.

What arrives goes from the table into the sources of the mixers, what their sinks hear goes to the table, for all
streams of one sample rate at once.
"""

from __future__ import annotations

import random as random_module
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from . import commands as c
from .desk import Desk
from .errors import CommandError, MediaError, UnknownObject
from .stream import FirstPacket, NoMedia, RemoteAddressChanged, RemoteBye, StreamConfig, StreamEvent
from .streams import StreamTable


@dataclass(frozen=True, slots=True)
class _Stream:
    id: int
    desk: Desk
    slot: int
    transport: int  # the table's
    row: int


class StreamSlots:
    """All transports and streams; `emit` takes the events."""

    def __init__(
        self,
        emit: Callable[[c.Event], None],
        random: random_module.Random,
        wall_clock_offset: float,
        capacity: int,
    ) -> None:
        self._emit = emit
        self._table = StreamTable(capacity, random=random, wall_clock_offset=wall_clock_offset)
        self._transports: dict[int, int] = {}  # the client's identifier to the table's
        self._streams: dict[int, _Stream] = {}
        self._stream_at: dict[int, _Stream] = {}  # by row
        self._slot_of_row = np.zeros(capacity, np.int64)
        self._mixer_of_row = np.zeros(capacity, np.int64)
        self._desks_by_rate: dict[int, list[Desk]] = {}

    @property
    def count(self) -> int:
        return len(self._streams)

    # --- commands

    def open_transport(self, command: c.OpenTransport) -> c.LocalAddress:
        """Bind a pair of ports. Raises CommandError, PortsExhausted, StreamError."""
        if command.transport in self._transports:
            raise CommandError(f"transport {command.transport} is open: choose another identifier")
        info = self._table.open_transport(command.address, command.port_range)
        self._transports[command.transport] = info.id
        return c.LocalAddress(info.address, info.rtp_port, info.rtcp_port)

    def close_transport(self, transport: int, now: float) -> None:
        """Close the ports, and stop the stream that uses them; one that is closed is left as it is."""
        id = self._transports.pop(transport, None)
        if id is None:
            return
        for stream in [stream for stream in self._streams.values() if stream.transport == id]:
            self._remove(stream, now)
        self._table.close_transport(id, now)

    def start(self, command: c.StartStream, desk: Desk, now: float) -> None:
        """Occupy the slot with a stream. Raises CommandError, StreamError; the slot is then free."""
        if command.stream in self._streams:
            raise CommandError(f"stream {command.stream} runs: choose another identifier")
        transport = self._transports.get(command.transport)
        if transport is None:
            raise UnknownObject("transport", command.transport)
        desk.mixer.add_slot(command.slot)
        try:
            row = self._table.add(transport, _for_mixer(command.config, desk), now)
        except MediaError:
            desk.mixer.remove_slot(command.slot)
            raise
        except ValueError as error:
            desk.mixer.remove_slot(command.slot)
            raise CommandError(str(error)) from error
        stream = _Stream(command.stream, desk, command.slot, transport, row)
        self._streams[command.stream] = self._stream_at[row] = stream
        self._slot_of_row[row] = command.slot
        self._mixer_of_row[row] = command.mixer
        desk.stream_count += 1
        self._sort_desks()

    def update(self, id: int, config: StreamConfig, now: float) -> None:
        """Go on with another configuration. Raises UnknownObject, StreamError, CommandError."""
        stream = self._stream(id)
        try:
            self._table.update(stream.row, _for_mixer(config, stream.desk), now)
        except ValueError as error:
            raise CommandError(str(error)) from error
        # A stream that does not receive any more puts no frames here.
        stream.desk.mixer.sources[stream.slot] = 0

    def stop(self, id: int, now: float) -> dict[str, Any]:
        """End a stream and free its slot; returns its last statistics. Raises UnknownObject."""
        return self._remove(self._stream(id), now)

    def stop_all(self, desk: Desk, now: float) -> None:
        """End the streams of one mixer."""
        for stream in [stream for stream in self._streams.values() if stream.desk is desk]:
            self._remove(stream, now)

    def statistics(self, id: int) -> dict[str, Any]:
        return self._table.statistics(self._stream(id).row)

    def close(self, now: float) -> None:
        """End all streams and close all ports."""
        self._table.close(now)

    def _stream(self, id: int) -> _Stream:
        try:
            return self._streams[id]
        except KeyError:
            raise UnknownObject("stream", id) from None

    def _remove(self, stream: _Stream, now: float) -> dict[str, Any]:
        statistics = self._table.statistics(stream.row)
        self._table.remove(stream.row, now)
        stream.desk.mixer.remove_slot(stream.slot)
        stream.desk.stream_count -= 1
        del self._streams[stream.id], self._stream_at[stream.row]
        self._sort_desks()
        return statistics

    def _sort_desks(self) -> None:
        """Remember which mixers have streams, by sample rate."""
        self._desks_by_rate = {}
        for desk in dict.fromkeys(stream.desk for stream in self._streams.values()):
            self._desks_by_rate.setdefault(desk.mixer.sample_rate, []).append(desk)

    # --- the tick

    def receive(self, now: float) -> None:
        """Put a frame of every receiving stream into the sources of its mixer."""
        self._table.receive(now)
        for rate, desks in self._desks_by_rate.items():
            rows, frames = self._table.playout(now, rate)
            for desk, chosen in self._choose(desks, rows):
                desk.mixer.sources[self._slot_of_row[rows[chosen]]] = frames[chosen]

    def send(self, now: float) -> None:
        """Send what the sinks heard and what RTCP has to say, and tell what happened."""
        for rate, desks in self._desks_by_rate.items():
            rows = self._table.sending_rows(rate)
            frames = np.zeros((len(rows), desks[0].mixer.frame_size), np.int16)
            for desk, chosen in self._choose(desks, rows):
                frames[chosen] = desk.mixer.sinks[self._slot_of_row[rows[chosen]]]
            self._table.send(now, rows, frames)
        self._table.rtcp(now)
        for event in self._table.events(now):
            self._pass_on(event)

    def _choose(self, desks: list[Desk], rows: Any) -> list[tuple[Desk, Any]]:
        """Split the rows by mixer: what to index them with for each."""
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


def _for_mixer(config: StreamConfig, desk: Desk) -> StreamConfig:
    return replace(config, mixer_rate=desk.mixer.sample_rate)
