"""The RTCP conversation of each stream: our reports, theirs, and what they tell (RFC 3550 6).

Reports are seldom, seconds apart, so that they are made one by one. What was heard comes from `Reception`, what was
sent from `Sender`; the round-trip time and the losses on the way out come from the reports of the remote.
"""

from __future__ import annotations

import random as random_module
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from .counters import Extremes
from .net import Address
from .reception import Reception
from .rtcp import (
    Bye,
    Packet,
    Report,
    ReportPacket,
    SenderInfo,
    SourceDescription,
    compound,
    interval,
    middle,
    ntp_time,
)
from .sending import Sender

# RFC 3550 6.3.8 and 6.4: whoever has sent nothing for two intervals is no sender.
SENDER_MEMORY: Final = 10.0
_DELAY_UNIT: Final = 65536

SendTo = Callable[[bytes, Address], int]


class Reporter:
    """The RTCP state of all streams, one row each."""

    def __init__(
        self,
        capacity: int,
        random: random_module.Random,
        reception: Reception,
        sender: Sender,
        cname: str,
        wall_clock_offset: float,
    ) -> None:
        self._random = random
        self._reception = reception
        self._sender = sender
        self._cname = cname
        self._offset = wall_clock_offset
        self.on_loss: Callable[[int, float], None] = lambda row, fraction: None
        """Told which share of our packets, 0 to 1, did not arrive lately, by every report on a row."""
        self.round_trip: Final = Extremes(capacity)
        self.jitter: Final = Extremes(capacity)
        self.loss_period: Final = Extremes(capacity)
        self.lost: Final = np.zeros(capacity, np.int64)
        self.burst_loss: Final = np.zeros(capacity, np.bool_)
        self.random_loss: Final = np.zeros(capacity, np.bool_)
        self._due: Final = np.full(capacity, np.inf)
        self._first_due = np.inf  # no row is due earlier
        self._said: Final = np.zeros(capacity, np.bool_)
        self._heard_report: Final = np.zeros(capacity, np.int64)
        self._heard_at: Final = np.zeros(capacity)
        self._previous: Final[dict[int, Report]] = {}
        self._send: Final[dict[int, SendTo]] = {}
        self._address: Final[dict[int, Address]] = {}

    def open(self, row: int, send: SendTo, now: float) -> None:
        """Begin a stream in this row."""
        for measured in (self.round_trip, self.jitter, self.loss_period):
            measured.clear(row)
        self.lost[row] = self._heard_report[row] = 0
        self.burst_loss[row] = self.random_loss[row] = self._said[row] = False
        self._previous.pop(row, None)
        self._send[row] = send
        self._due[row] = now + interval(self._random.random(), initial=True, we_sent=False)
        self._first_due = min(self._first_due, float(self._due[row]))

    def direct(self, row: int, address: Address) -> None:
        """Send reports to this address from now on."""
        self._address[row] = address

    def close(self, row: int, now: float) -> None:
        """End the stream with a BYE; RFC 3550 6.3.7: not when nothing was ever sent."""
        if self._said[row] or self._sender.packets[row]:
            self._transmit(row, [*self._report(row, now), Bye((int(self._sender.ssrc[row]),))])
        self._due[row] = np.inf
        del self._send[row], self._address[row]

    def work(self, now: float) -> None:
        """Send the reports that are due; costs nothing when none is."""
        if now < self._first_due:
            return
        for row in np.flatnonzero(self._due <= now).tolist():
            self._transmit(row, self._report(row, now))
            self._said[row] = True
            we_sent = self._is_sender(row, now)
            self._due[row] = now + interval(self._random.random(), initial=False, we_sent=we_sent)
        self._first_due = float(self._due.min())

    def hear(self, row: int, packets: list[Packet], now: float) -> bool:
        """Take in what the remote reports; returns whether the source that we hear said BYE."""
        ended = False
        for packet in packets:
            if isinstance(packet, ReportPacket):
                if packet.sender is not None:
                    self._heard_report[row] = middle(packet.sender.ntp)
                    self._heard_at[row] = now
                for report in packet.reports:
                    if report.ssrc == self._sender.ssrc[row]:
                        self._evaluate(row, report, now)
            elif isinstance(packet, Bye):
                ended = ended or int(self._reception.ssrc[row]) in packet.ssrcs
        return ended

    def _evaluate(self, row: int, report: Report, now: float) -> None:
        rows = np.array([row])
        rate = int(self._reception.clock_rate[row])
        self.jitter.add(rows, np.array([report.jitter / rate * 1e6]))
        self.lost[row] = max(report.cumulative_lost, 0)
        self.on_loss(row, report.fraction_lost / 256)
        previous = self._previous.get(row)
        lost_now = report.cumulative_lost - (previous.cumulative_lost if previous is not None else 0)
        if lost_now > 0:
            # A report tells how many were lost, not in which order: an interval counts as one period.
            self.loss_period.add(rows, np.array([lost_now * 20_000.0]))
            self.burst_loss[row] |= lost_now > 1
            self.random_loss[row] |= lost_now == 1
        self._previous[row] = report
        if report.last_report:
            trip = (middle(ntp_time(now + self._offset)) - report.last_report - report.delay) & 0xFFFFFFFF
            # A negative time is a peer's wrong arithmetic, or a packet older than the report it answers.
            if trip < 1 << 31:
                self.round_trip.add(rows, np.array([trip / _DELAY_UNIT * 1e6]))

    def _is_sender(self, row: int, now: float) -> bool:
        return bool(now - self._sender.last_sent[row] < SENDER_MEMORY)

    def _report(self, row: int, now: float) -> list[Packet]:
        ssrc = int(self._sender.ssrc[row])
        sender = None
        if self._is_sender(row, now):
            sender = SenderInfo(
                ntp_time(now + self._offset),
                self._sender.timestamp(row, now),
                int(self._sender.packets[row]) & 0xFFFFFFFF,
                int(self._sender.octets[row]) & 0xFFFFFFFF,
            )
        return [ReportPacket(ssrc, self._blocks(row, now), sender), SourceDescription(ssrc, self._cname)]

    def _blocks(self, row: int, now: float) -> tuple[Report, ...]:
        block = self._reception.report(row)
        if block is None:
            return ()
        last = int(self._heard_report[row])
        delay = int((now - float(self._heard_at[row])) * _DELAY_UNIT) & 0xFFFFFFFF if last else 0
        return (
            Report(
                block.ssrc,
                block.fraction_lost,
                block.cumulative_lost,
                block.highest_sequence,
                block.jitter,
                last,
                delay,
            ),
        )

    def _transmit(self, row: int, packets: list[Packet]) -> None:
        try:
            self._send[row](compound(packets), self._address[row])
        except OSError:  # as with RTP, a lost report is made good by the next one
            self._sender.failed[row] += 1

    def is_reported(self, row: int) -> bool:
        """Whether the remote has told what arrived of what we send."""
        return row in self._previous

    def statistics(self, row: int) -> dict[str, Any]:
        """Return the part of the statistics of what we send that only the remote knows."""
        return {
            "packets_lost": int(self.lost[row]),
            "loss_period": self.loss_period.read(row),
            "burst_loss": bool(self.burst_loss[row]),
            "random_loss": bool(self.random_loss[row]),
            "jitter": self.jitter.read(row),
        }
