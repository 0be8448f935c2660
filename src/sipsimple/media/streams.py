"""All RTP streams of an engine, one row each: the table that the engine drives once per tick of 20 ms.

Everything that happens per packet is done for all streams at once with numpy; Python loops only over the socket calls,
over what is rare (new sources, RTCP, holes that cross the end of a ring), and where there are few (`columns`). The
order of a tick is `receive`, `playout`, the engine's mixing, `send`, `rtcp`, `events`.

Left to others: what becomes of packets (`arrivals`), where they come from and go to (`sources`), what sequence numbers
tell (`reception`), when samples are played (`jitter`), packets out (`sending`) and reports (`reports`).
"""

from __future__ import annotations

import heapq
import math
import random as random_module
import socket
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from .arrivals import Arrivals
from .codecs import Codec, Shelf, StreamCodec, read_parameters
from .columns import FEW
from .demux import Demultiplexer
from .dtmf import DigitSender
from .errors import StreamError, UnknownObject
from .inband import InbandDigits
from .keys import DTLSKeying
from .net import Address, DatagramReader, PortAllocator, can_disconnect, discard_pending
from .quality import assess
from .reception import Reception
from .reports import Reporter, SendTo
from .resample import Resampler
from .rows import (
    HandOn,
    IntArray,
    Part,
    Plan,
    Stream,
    Transport,
    check_reachable,
    checks,
    coding,
    dialling,
    payload_format,
    playing,
    taker,
)
from .sending import Sender
from .shield import Shield
from .sources import Sources
from .stream import (
    FRAMES_PER_SECOND,
    DigitReceived,
    FirstPacket,
    NoMedia,
    RemoteAddressChanged,
    RemoteBye,
    StreamConfig,
    StreamEvent,
    TransportInfo,
)
from .values import replace

__all__ = [
    "TICK",
    "DigitReceived",
    "FirstPacket",
    "IntArray",
    "NoMedia",
    "RemoteAddressChanged",
    "RemoteBye",
    "SampleArray",
    "StreamConfig",
    "StreamEvent",
    "StreamTable",
    "TransportInfo",
]

TICK: Final = 0.02
MAX_ROUNDS: Final = 32
"""Datagrams that one socket may have read in one `receive`; a flood waits in the kernel and is dropped there."""

SampleArray = npt.NDArray[np.int16]


class StreamTable:
    """The transports and streams of an engine. `now` is monotonic seconds everywhere; nothing here blocks."""

    def __init__(
        self,
        capacity: int = 2048,
        *,
        random: random_module.Random,
        wall_clock_offset: float = 0.0,
        cname: str = "",
        portable: bool = False,
        few: int = FEW,
    ) -> None:
        """`wall_clock_offset` added to `now` is the time since 1970; an empty `cname` draws one (RFC 7022 4.2).

        `portable` and `few` choose between ways that do the same: see `DatagramReader` and `columns`.
        """
        self._ports: Final = PortAllocator(random)
        self._reader: Final = DatagramReader(portable=portable)
        self._reception: Final = Reception(capacity)
        self._sender: Final = Sender(capacity, random, few=few)
        name = cname or f"{random.getrandbits(96):024x}"
        self._reporter: Final = Reporter(capacity, random, self._reception, self._sender, name, wall_clock_offset)
        lock = can_disconnect() and not portable
        self._sources: Final = Sources(capacity, self._reader, self._sender, self._reporter, lock)
        self._arrivals: Final = Arrivals(capacity, self._reception, self._sources, self._reporter, few=few)
        self._capacity: Final = capacity
        self._transports: Final[dict[int, Transport]] = {}
        self._last_transport_id = 0
        self._streams: Final[dict[int, Stream]] = {}
        self._free: Final = list(range(capacity))
        self._events: Final[list[StreamEvent]] = []
        self._codecs: Final = Shelf()
        self._reporter.on_loss = self._expect_loss
        self._demux: Final = Demultiplexer()
        self._shield: Final = Shield(self._demux, self._events.append)
        self._resamplers: Final[dict[tuple[int, int], Resampler]] = {}
        self._mixer_rate: Final = np.zeros(capacity, np.int64)
        self._receives: Final = np.zeros(capacity, np.bool_)
        self._sends: Final = np.zeros(capacity, np.bool_)
        self._checked_at: Final = np.full(capacity, -np.inf)
        self._check_due: Final = np.full(capacity, np.inf)
        self._first_check = np.inf  # no row is due earlier
        self._diallers: Final[dict[int, DigitSender]] = {}
        self._inband: Final = InbandDigits()
        self._plans: Final[dict[tuple[int, bool], Plan]] = {}

    # --- transports and streams ---------------------------------------------------------------------------------------

    def open_transport(self, address: str, port_range: tuple[int, int], now: float = -math.inf) -> TransportInfo:
        """Bind RTP to a free even port of the range and RTCP to the next; raises `PortsExhausted`, `StreamError`.

        Where `now` is given, the ports of transports that were closed long enough ago are used again.
        """
        rtp, rtcp = self._ports.open_pair(address, port_range, now)
        self._last_transport_id += 1
        info = TransportInfo(self._last_transport_id, address, rtp.getsockname()[1], rtcp.getsockname()[1])
        self._transports[info.id] = Transport(info, rtp, rtcp, port_range)
        return info

    def close_transport(self, transport_id: int, now: float) -> None:
        """Remove the transport with its stream; does nothing when it is gone."""
        transport = self._transports.pop(transport_id, None)
        if transport is not None:
            if transport.row is not None:
                self.remove(transport.row, now)
            self._ports.give_back(transport.info.address, transport.port_range, transport.rtp, transport.rtcp, now)

    def sockets(self, transport_id: int) -> tuple[socket.socket, socket.socket]:
        """Those of RTP and RTCP; the table reads them while a stream runs. Raises KeyError."""
        transport = self._transports[transport_id]
        return transport.rtp, transport.rtcp

    def hand_on(self, transport_id: int, stun: HandOn) -> None:
        """Hand on the STUN messages that come while a stream runs. Raises KeyError."""
        transport = self._transports[transport_id]
        transport.stun = stun
        if transport.row is not None:
            self._listen(transport.row, stun)

    def _listen(self, row: int, stun: HandOn | None) -> None:
        for component, key in ((1, 2 * row), (2, 2 * row + 1)):
            self._demux.post(key).stun = None if stun is None else taker(stun, component)
            self._demux.review(key)

    def add(self, transport_id: int, config: StreamConfig, now: float) -> int:
        """Begin a stream on a transport and return its row; what arrived before is dropped, being too old to be played.

        Raises `UnknownObject`, `CodecUnavailable`, or `StreamError`: the transport is busy, the table is full.
        """
        transport = self._transports.get(transport_id)
        if transport is None:
            raise UnknownObject("transport", transport_id)
        if transport.row is not None:
            raise StreamError(f"transport {transport_id} already carries a stream: remove that first")
        check_reachable(config, transport)
        found = self._codecs.find(config)
        if not self._free:
            raise StreamError(f"all {self._capacity} streams are in use: make the table larger")
        row = heapq.heappop(self._free)
        try:
            self._secure(row, config, transport, now)
        except StreamError:
            heapq.heappush(self._free, row)
            raise
        transport.row = row
        self._streams[row] = Stream(transport, config, found)
        self._reception.open(row, found.clock_rate)
        self._sender.open(row)
        self._reporter.open(row, self._rtcp_sender(row, transport), now)
        self._configure(row, config, found, None)
        self._begin_checks(row, config, now)
        if not isinstance(config.security, DTLSKeying):  # whose remote may have begun already
            discard_pending(transport.rtp)
            discard_pending(transport.rtcp)
        self._sources.open(row, transport_id, transport.rtp, config)
        self._reader.watch(transport.rtcp, 2 * row + 1)
        if transport.stun is not None:
            self._listen(row, transport.stun)
        return row

    def update(self, row: int, config: StreamConfig, now: float) -> None:
        """Apply what was negotiated anew; sequence, SSRC and statistics go on. Raises as `add` does."""
        stream = self._stream(row)
        check_reachable(config, stream.transport)
        before, found = stream.config, self._codecs.find(config)
        self._secure(row, config, stream.transport, now)
        if found is not stream.codec:
            stream.codec.release(row)
            self._reception.change_clock(row, found.clock_rate)
        stream.config, stream.codec = config, found
        self._configure(row, config, found, before)
        self._sources.follow(row, config)
        if checks(config) != checks(before):
            self._begin_checks(row, config, now)
        if config.sends and not before.sends:
            self._sender.resume(row, now)
        if dialling(config) != dialling(before):
            self._diallers.pop(row, None)

    def send_digit(self, row: int, digit: str, *, inband: bool = False) -> None:
        """Queue a digit, as telephone-event or as sound; the audio pauses while it is sent.

        Raises `StreamError` for what is no digit, when too many wait, or when the stream sends nothing or no digits.
        """
        config = self._stream(row).config
        if inband and config.sends:
            self._inband.press(row, digit, config.mixer_rate)
            return
        if config.telephone_event_type is None or not config.sends:
            raise StreamError("the stream sends no digits: they were not agreed on, or it is on hold")
        dialler = self._diallers.get(row) or DigitSender(config.telephone_event_rate)
        dialler.press(digit)
        self._diallers[row] = dialler

    def set_direction(self, row: int, direction: str, now: float) -> None:
        """Change who sends; raises `StreamError` for an unknown direction."""
        self.update(row, replace(self._stream(row).config, direction=direction), now)

    def remove(self, row: int, now: float) -> None:
        """End a stream with an RTCP BYE; its transport can carry another."""
        stream = self._stream(row)
        self._reader.forget(stream.transport.rtcp)
        self._reporter.close(row, now)
        self._shield.close(row)
        if stream.transport.stun is not None:
            self._listen(row, None)
        self._sender.secure(row, None)
        self._sources.close(row)
        del self._streams[row]
        stream.codec.release(row)
        stream.transport.row = None
        self._arrivals.close(row)
        self._diallers.pop(row, None)
        self._inband.forget(row)
        self._receives[row] = self._sends[row] = False
        self._check_due[row] = np.inf
        self._plans.clear()
        heapq.heappush(self._free, row)

    def close(self, now: float) -> None:
        """End all streams and close all sockets."""
        for transport_id in list(self._transports):
            self.close_transport(transport_id, now)
        self._ports.close()
        self._reader.close()

    def _stream(self, row: int) -> Stream:
        try:
            return self._streams[row]
        except KeyError:
            raise UnknownObject("stream", row) from None

    def _secure(self, row: int, config: StreamConfig, transport: Transport, now: float) -> None:
        """Have the row encrypted as the configuration says; raises StreamError and changes nothing."""
        if config.security is None and not self._shield:
            return
        sockets = (transport.rtp, transport.rtcp)
        self._sender.secure(row, self._shield.open(row, transport.info.id, sockets, config, now))

    def _rtcp_sender(self, row: int, transport: Transport) -> SendTo:
        """What sends a report of the row, encrypted if the row is, from the port that was agreed on."""

        def send(packet: bytes, address: Address) -> int:
            sock = transport.rtp if self._streams[row].config.rtcp_mux else transport.rtcp
            return sock.sendto(self._shield.protect_control(row, packet), address)

        return send

    def _configure(self, row: int, config: StreamConfig, found: Codec, before: StreamConfig | None) -> None:
        """Set the arrays of the row; `before` is what they were set by, None for a new stream."""
        new = before is None or payload_format(config) != payload_format(before)
        if new:
            found.configure(row, read_parameters(config.parameters))
        if before is None or coding(config) != coding(before):
            self._sender.configure(row, found, config.payload_type)
        self._arrivals.configure(row, config, found)
        self._mixer_rate[row] = config.mixer_rate
        self._inband.listen(row, config.mixer_rate if config.detect_tones and config.receives else None)
        self._receives[row] = config.receives
        self._sends[row] = config.sends
        self._plans.clear()
        if new or before is None or playing(config) != playing(before):
            self._prepare_playing(row, found, config.mixer_rate)

    def _prepare_playing(self, row: int, codec: Codec, mixer_rate: int) -> None:
        """Empty the jitter buffer and the resamplers of the row; make them where these rates are new."""
        self._arrivals.prepare(row, codec)
        sample_rate = codec.sample_rate
        if sample_rate != mixer_rate:
            for pair in ((sample_rate, mixer_rate), (mixer_rate, sample_rate)):
                if pair not in self._resamplers:
                    self._resamplers[pair] = Resampler(*pair, self._capacity)
                self._resamplers[pair].reset(np.array([row]))

    # --- the tick -----------------------------------------------------------------------------------------------------

    def receive(self, now: float) -> None:
        """Take in all datagrams that have arrived; may be called more often than once per tick."""
        for _ in range(MAX_ROUNDS):
            received = self._reader.round()
            if not received.keys:
                break
            if self._demux:
                received = self._demux.admit(received, now)
                if not received.keys:
                    continue
            self._arrivals.take(received, now)
        if self._shield:
            self._shield.work(now)
        for row in self._arrivals.goodbyes:
            self._events.append(RemoteBye(row, self._streams[row].transport.info.id))
        self._arrivals.goodbyes.clear()
        for row, digit in self._arrivals.digits:
            self._events.append(DigitReceived(row, self._streams[row].transport.info.id, digit))
        self._arrivals.digits.clear()
        self._sources.review(now)

    def playout(self, now: float, mixer_rate: int) -> tuple[IntArray, SampleArray]:
        """Play 20 ms of every stream that receives and has this mixer rate; call once per rate and tick.

        Returns the rows, ascending, and their frames (n, mixer_rate / 50), which belong to the caller.
        """
        plan = self._plan(mixer_rate, sending=False)
        if len(plan.parts) == 1:
            frames = self._play(plan.parts[0], mixer_rate)
        else:
            frames = np.zeros((len(plan.rows), mixer_rate // FRAMES_PER_SECOND), np.int16)
            for part in plan.parts:
                frames[part.selection] = self._play(part, mixer_rate)
        if self._inband.listens:
            for row, digit in self._inband.hear(plan.rows, frames):
                self._events.append(DigitReceived(row, self._streams[row].transport.info.id, digit, inband=True))
        return plan.rows, frames

    def _play(self, part: Part, mixer_rate: int) -> SampleArray:
        rate = part.codec.sample_rate
        if isinstance(part.codec, StreamCodec):
            self._arrivals.lines[rate].prepare(part.rows)
        played = self._arrivals.buffers[rate].read(part.rows)
        if rate != mixer_rate:
            played = self._resamplers[rate, mixer_rate].process(part.rows, played)
        return played

    def send(self, now: float, rows: IntArray, frames: SampleArray) -> None:
        """Send a frame of 20 ms for each of `rows` (no row twice), all of the mixer rate that the frames show."""
        mixer_rate = frames.shape[1] * FRAMES_PER_SECOND
        if self._inband.speaks:
            frames = self._inband.speak(rows, frames)
        if self._diallers:
            rows, frames = self._dial(now, rows, frames)
        plan = self._plan(mixer_rate, sending=True)
        if rows is not plan.rows:
            sends = self._sends[rows]
            rows, frames = rows[sends], frames[sends]
            plan = self._make_plan(rows)
        for part in plan.parts:
            samples = frames[part.selection]
            rate = part.codec.sample_rate
            if rate != mixer_rate:
                samples = self._resamplers[mixer_rate, rate].process(part.rows, samples)
            self._sender.send(now, part.codec, part.ptime_ms, part.rows, samples)

    def _dial(self, now: float, rows: IntArray, frames: SampleArray) -> tuple[IntArray, SampleArray]:
        """Send the digits that are under way, and return what is left for audio."""
        for row, dialler in list(self._diallers.items()):
            others = rows != row
            if others.all():
                continue
            event, payload_type = dialler.next_frame(), self._streams[row].config.telephone_event_type
            if event is not None and payload_type is not None:
                self._sender.send_event(now, row, payload_type, event)
                rows, frames = rows[others], frames[others]
            if not dialler.busy:
                del self._diallers[row]
        return rows, frames

    def rtcp(self, now: float) -> None:
        """Send the RTCP reports that are due."""
        self._reporter.work(now)

    def events(self, now: float) -> list[StreamEvent]:
        """Return what happened since the last call."""
        if now >= self._first_check:
            for row in np.flatnonzero(self._check_due <= now).tolist():
                self._check_media(row, now)
            self._first_check = float(self._check_due.min())
        # An address comes before what came from it.
        events = [*self._sources.events, *self._events]
        self._sources.events.clear()
        self._events.clear()
        return events

    def receiving_rows(self, mixer_rate: int) -> IntArray:
        """Return the rows that `playout` plays at this rate, ascending."""
        return self._plan(mixer_rate, sending=False).rows

    def sending_rows(self, mixer_rate: int) -> IntArray:
        """Return the rows that want a frame in every `send` of this rate, ascending."""
        return self._plan(mixer_rate, sending=True).rows

    def _plan(self, mixer_rate: int, *, sending: bool) -> Plan:
        plan = self._plans.get((mixer_rate, sending))
        if plan is None:
            enabled = self._sends if sending else self._receives
            plan = self._make_plan(np.flatnonzero(enabled & (self._mixer_rate == mixer_rate)))
            self._plans[mixer_rate, sending] = plan
        return plan

    def _make_plan(self, rows: IntArray) -> Plan:
        alike: dict[tuple[Codec, int], list[int]] = {}
        for index, row in enumerate(rows.tolist()):
            stream = self._streams[row]
            alike.setdefault((stream.codec, stream.config.ptime_ms), []).append(index)
        parts = [
            Part(codec, ptime_ms, slice(None) if len(alike) == 1 else np.array(indices), rows[indices])
            for (codec, ptime_ms), indices in alike.items()
        ]
        return Plan(rows, parts)

    def _expect_loss(self, row: int, fraction: float) -> None:
        codec = self._streams[row].codec
        if isinstance(codec, StreamCodec):
            codec.expect_loss(row, fraction)

    # --- what the application asks ------------------------------------------------------------------------------------

    def _begin_checks(self, row: int, config: StreamConfig, now: float) -> None:
        self._checked_at[row] = now
        self._check_due[row] = now + config.no_media_timeout if config.no_media_timeout > 0 else np.inf
        self._first_check = min(self._first_check, float(self._check_due[row]))

    def _check_media(self, row: int, now: float) -> None:
        stream = self._streams[row]
        arrived = float(self._sources.last_arrival[row])
        if arrived < self._checked_at[row] and stream.config.direction == "sendrecv":
            self._events.append(NoMedia(row, stream.transport.info.id, arrived > -np.inf))
        self._checked_at[row] = now
        pause = stream.config.media_check_interval
        self._check_due[row] = now + pause if pause > 0 else np.inf

    @property
    def refused(self) -> int:
        """How many datagrams were not for us: not RTP, of an unknown payload type, or from a stranger."""
        return self._arrivals.refused

    def statistics(self, row: int) -> dict[str, Any]:
        """Return `rtt` in microseconds, `rx`, `tx` and `codec`, and for a secured stream `srtp`.

        See `quality.assess` for what is estimated, and `Shield.statistics`.
        """
        codec = self._stream(row).codec
        security = self._shield.statistics(row)
        values = {
            **({} if security is None else {"srtp": security}),
            "rtt": self._reporter.round_trip.read(row),
            "rx": self._reception.statistics(row),
            "tx": {**self._sender.statistics(row), **self._reporter.statistics(row)},
        }
        delay = self._arrivals.buffers[codec.sample_rate].delay(row) / codec.sample_rate
        assess(self._stream(row).config.codec, values, delay, is_reported=self._reporter.is_reported(row))
        return values

    def local_ssrc(self, row: int) -> int:
        """Return the SSRC of what we send."""
        self._stream(row)
        return int(self._sender.ssrc[row])
