"""The streams of the engine in the slots of its mixers: the client's identifiers here, the rows of the table there.

What arrives goes from the table into the sources of the mixers, what their sinks hear goes to the table, for all
streams of one sample rate at once.
"""

from __future__ import annotations

import random as random_module
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from . import commands as c
from .desk import Desk
from .errors import CommandError, MediaError, StreamError, UnknownObject
from .stream import (
    DigitReceived,
    FirstPacket,
    NoMedia,
    RemoteAddressChanged,
    RemoteBye,
    Secured,
    SecurityFailed,
    StreamConfig,
    StreamEvent,
)
from .streams import IntArray, StreamTable
from .values import replace

if TYPE_CHECKING:
    from .ice.host import Done, ICEHost

MAX_KNOWN_SHARES: Final = 8
"""Two for each sample rate of the mixers; more rates than that cost time, no more."""


@dataclass(frozen=True, slots=True)
class _Stream:
    id: int
    desk: Desk
    slot: int
    transport: int  # the table's
    row: int


class _Share(NamedTuple):
    """Rows of one mixer: which of the rows at hand, and their slots."""

    desk: Desk
    chosen: Any
    slots: IntArray


class StreamSlots:
    """All transports and streams; `emit` takes the events."""

    def __init__(
        self,
        emit: Callable[[c.Event], None],
        random: random_module.Random,
        wall_clock_offset: float,
        capacity: int,
        later: Callable[[Callable[[], None]], object],
    ) -> None:
        """`later` has a function called in the thread of the engine."""
        self._emit = emit
        self._later = later
        self._ice: ICEHost | None = None
        self._table = StreamTable(capacity, random=random, wall_clock_offset=wall_clock_offset)
        self._transports: dict[int, int] = {}  # the client's identifier to the table's
        self._streams: dict[int, _Stream] = {}
        self._stream_at: dict[int, _Stream] = {}  # by row
        self._slot_of_row = np.zeros(capacity, np.int64)
        self._mixer_of_row = np.zeros(capacity, np.int64)
        self._desks_by_rate: dict[int, list[Desk]] = {}
        self._known_shares: deque[tuple[IntArray, list[_Share]]] = deque(maxlen=MAX_KNOWN_SHARES)

    @property
    def count(self) -> int:
        return len(self._streams)

    # --- commands

    def open_transport(self, command: c.OpenTransport, now: float) -> c.LocalAddress:
        """Bind a pair of ports. Raises CommandError, PortsExhausted, StreamError."""
        return self._open(command.transport, command.address, command.port_range, now)

    def open_transports(self, command: c.OpenTransports, now: float) -> tuple[c.LocalAddress, ...]:
        """Bind as many pairs of ports as there are. Raises CommandError, StreamError."""
        opened: list[c.LocalAddress] = []
        for transport in command.transports:
            try:
                opened.append(self._open(transport, command.address, command.port_range, now))
            except StreamError:
                if not opened:
                    raise
                break
        return tuple(opened)

    def _open(self, transport: int, address: str, port_range: tuple[int, int], now: float) -> c.LocalAddress:
        if transport in self._transports:
            raise CommandError(f"transport {transport} is open: choose another identifier")
        info = self._table.open_transport(address, port_range, now)
        self._transports[transport] = info.id
        return c.LocalAddress(info.address, info.rtp_port, info.rtcp_port)

    def close_transport(self, transport: int, now: float) -> None:
        """Close the ports, and stop the stream that uses them; one that is closed is left as it is."""
        id = self._transports.pop(transport, None)
        if id is None:
            return
        for stream in [stream for stream in self._streams.values() if stream.transport == id]:
            self._remove(stream, now)
        if self._ice is not None:
            self._ice.forget(transport)
        self._table.close_transport(id, now)

    def gather(self, command: c.GatherCandidates, done: Done) -> None:
        """Gather candidates for a transport; `done` is called in another thread. Raises UnknownObject."""
        transport = command.transport
        id = self._transport(transport)
        ice = self._ice = self._ice or self._new_ice()
        self._table.hand_on(id, lambda component, data, source: ice.take(transport, component, data, source))
        runs = any(stream.transport == id for stream in self._streams.values())
        ice.open(
            transport,
            self._table.sockets(id),
            command.credentials,
            command.preferred,
            command.stun_server,
            command.turn_server,
            reads=not runs,
            done=done,
        )

    def check(self, command: c.CheckCandidates, done: Done) -> None:
        """Check candidates; `done` is called in another thread. Raises CommandError when none were gathered."""
        if self._ice is None:
            raise CommandError("the candidates of this side have to be gathered first")
        self._ice.check(
            command.transport,
            command.credentials,
            command.remote,
            controlling=command.controlling,
            mux=command.mux,
            done=done,
        )

    def _new_ice(self) -> ICEHost:
        """Hardly any call uses ICE, and its thread needs what the engine does without."""
        from .ice.host import ICEHost

        def tell(transport: int, consents: bool) -> None:
            self._later(lambda: self._emit(c.ConsentChanged(transport, consents)))

        return ICEHost(tell)

    def _transport(self, transport: int) -> int:
        try:
            return self._transports[transport]
        except KeyError:
            raise UnknownObject("transport", transport) from None

    def start(self, command: c.StartStream, desk: Desk, now: float) -> None:
        """Occupy the slot with a stream. Raises CommandError, StreamError; the slot is then free."""
        if command.stream in self._streams:
            raise CommandError(f"stream {command.stream} runs: choose another identifier")
        transport = self._transport(command.transport)
        desk.mixer.add_slot(command.slot)
        try:
            row = self._table.add(transport, _for_mixer(command.config, desk), now)
        except MediaError:
            desk.mixer.remove_slot(command.slot)
            raise
        except ValueError as error:
            desk.mixer.remove_slot(command.slot)
            raise CommandError(str(error)) from error
        if self._ice is not None:
            self._ice.stop_reading(command.transport)
        stream = _Stream(command.stream, desk, command.slot, transport, row)
        self._streams[command.stream] = self._stream_at[row] = stream
        self._slot_of_row[row] = command.slot
        self._mixer_of_row[row] = command.mixer
        desk.stream_count += 1
        self._known_shares.clear()
        if desk.stream_count == 1:
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

    def send_digit(self, id: int, digit: str, *, inband: bool = False) -> None:
        """Queue a digit, with `inband` as sound. Raises UnknownObject, StreamError."""
        self._table.send_digit(self._stream(id).row, digit, inband=inband)

    def statistics(self, id: int) -> dict[str, Any]:
        return self._table.statistics(self._stream(id).row)

    def close(self, now: float) -> None:
        """End all streams and close all ports."""
        self._table.close(now)
        if self._ice is not None:
            self._ice.close()

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
        self._known_shares.clear()
        if stream.desk.stream_count == 0:
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
        for rate in self._desks_by_rate:
            rows, frames = self._table.playout(now, rate)
            for desk, chosen, slots in self._shares(rate, rows):
                desk.mixer.sources[slots] = frames[chosen]

    def send(self, now: float) -> None:
        """Send what the sinks heard and what RTCP has to say, and tell what happened."""
        for rate, desks in self._desks_by_rate.items():
            rows = self._table.sending_rows(rate)
            shares = self._shares(rate, rows)
            if len(shares) == 1:
                frames = desks[0].mixer.sinks[shares[0].slots]
            else:
                frames = np.zeros((len(rows), desks[0].mixer.frame_size), np.int16)
                for desk, chosen, slots in shares:
                    frames[chosen] = desk.mixer.sinks[slots]
            self._table.send(now, rows, frames)
        self._table.rtcp(now)
        for event in self._table.events(now):
            self._pass_on(event)

    def _shares(self, rate: int, rows: IntArray) -> list[_Share]:
        """Split the rows by mixer. The table hands out the same array until something changes, and so does this."""
        for known, shares in self._known_shares:
            if known is rows:
                return shares
        desks, slots, mixers = self._desks_by_rate[rate], self._slot_of_row[rows], self._mixer_of_row[rows]
        if len(desks) == 1:
            shares = [_Share(desks[0], slice(None), slots)]
        else:
            choices = [mixers == desk.mixer.id for desk in desks]
            shares = [_Share(desk, chosen, slots[chosen]) for desk, chosen in zip(desks, choices, strict=True)]
        self._known_shares.append((rows, shares))
        return shares

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
            case DigitReceived(digit=digit, inband=inband):
                self._emit(c.DTMFReceived(stream.id, digit, inband))
            case RemoteBye():
                self._emit(c.RemoteSaidGoodbye(stream.id))
            case Secured(suite=suite):
                self._emit(c.StreamSecured(stream.id, suite))
            case SecurityFailed(reason=reason):
                self._emit(c.StreamSecurityFailed(stream.id, reason))


def _for_mixer(config: StreamConfig, desk: Desk) -> StreamConfig:
    return replace(config, mixer_rate=desk.mixer.sample_rate)
