"""RTCP: the packets, and when to send them (RFC 3550 6, A.7).

`parse_compound` accepts what a peer sends, `bytes` of the values and `compound` make what we send. Which facts go
into a report is known to `reception` and `reports`. Feedback messages and extended reports of others are passed over.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

VERSION: Final = 2
SENDER_REPORT: Final = 200
RECEIVER_REPORT: Final = 201
SOURCE_DESCRIPTION: Final = 202
BYE: Final = 203
CNAME: Final = 1

MAX_BLOCKS: Final = 31
MAX_TEXT: Final = 255

MINIMUM_INTERVAL: Final = 5.0
"""Seconds, RFC 3550 6.2; half of it before the first report."""
COMPENSATION: Final = 1.21828
"""e - 3/2: makes up for the timer reconsideration that draws intervals longer (RFC 3550 6.3.1)."""
RTCP_SHARE: Final = 0.05
SENDERS_SHARE: Final = 0.25

# Seconds between the epochs of NTP (1900) and Unix.
_NTP_EPOCH: Final = 2208988800


class MalformedRTCP(ValueError):
    """The bytes are not an RTCP compound packet."""


@dataclass(frozen=True, slots=True)
class Report:
    """A reception report block (RFC 3550 6.4.1)."""

    ssrc: int
    fraction_lost: int
    cumulative_lost: int
    highest_sequence: int
    jitter: int
    last_report: int = 0
    """The middle 32 bits of the NTP time of the sender report heard last; 0 when there was none."""
    delay: int = 0
    """Since that report, in 1/65536 s."""

    _LAYOUT = struct.Struct("!IIIIII")

    @classmethod
    def parse(cls, data: bytes) -> Report:
        """Read 24 octets."""
        ssrc, loss, highest, jitter, last, delay = cls._LAYOUT.unpack(data)
        cumulative = loss & 0xFFFFFF
        return cls(ssrc, loss >> 24, cumulative - ((cumulative & 0x800000) << 1), highest, jitter, last, delay)

    def __bytes__(self) -> bytes:
        loss = self.fraction_lost << 24 | self.cumulative_lost & 0xFFFFFF
        return self._LAYOUT.pack(self.ssrc, loss, self.highest_sequence, self.jitter, self.last_report, self.delay)


@dataclass(frozen=True, slots=True)
class SenderInfo:
    """What a sender says of itself: when, and how much so far."""

    ntp: int
    rtp_timestamp: int
    packets: int
    octets: int


@dataclass(frozen=True, slots=True)
class ReportPacket:
    """A sender report, or without `sender` a receiver report (RFC 3550 6.4)."""

    ssrc: int
    reports: tuple[Report, ...] = ()
    sender: SenderInfo | None = None

    def __bytes__(self) -> bytes:
        body = struct.pack("!I", self.ssrc)
        if self.sender is not None:
            info = self.sender
            body += struct.pack("!QIII", info.ntp, info.rtp_timestamp, info.packets, info.octets)
        body += b"".join(map(bytes, self.reports))
        return _packet(SENDER_REPORT if self.sender is not None else RECEIVER_REPORT, len(self.reports), body)


@dataclass(frozen=True, slots=True)
class SourceDescription:
    """The canonical name of one source (RFC 3550 6.5.1); other items of a peer are passed over."""

    ssrc: int
    cname: str

    def __bytes__(self) -> bytes:
        text = self.cname.encode()[:MAX_TEXT]
        chunk = struct.pack("!IBB", self.ssrc, CNAME, len(text)) + text
        return _packet(SOURCE_DESCRIPTION, 1, chunk + bytes(4 - len(chunk) % 4))


@dataclass(frozen=True, slots=True)
class Bye:
    """Sources that end (RFC 3550 6.6)."""

    ssrcs: tuple[int, ...]
    reason: str = ""

    def __bytes__(self) -> bytes:
        body = struct.pack(f"!{len(self.ssrcs)}I", *self.ssrcs)
        if self.reason:
            text = self.reason.encode()[:MAX_TEXT]
            body += bytes([len(text)]) + text
            body += bytes(-len(body) % 4)
        return _packet(BYE, len(self.ssrcs), body)


Packet = ReportPacket | SourceDescription | Bye


def _packet(kind: int, count: int, body: bytes) -> bytes:
    return struct.pack("!BBH", VERSION << 6 | count, kind, len(body) // 4) + body


def compound(packets: Sequence[Packet]) -> bytes:
    """Join packets; the first must be a report (RFC 3550 6.1), which is the caller's to see to."""
    return b"".join(map(bytes, packets))


def parse_compound(data: bytes) -> list[Packet]:
    """Read the packets of a compound that are known here; raises `MalformedRTCP`, whatever the bytes."""
    packets: list[Packet] = []
    start = 0
    while start < len(data):
        if len(data) - start < 4:
            raise MalformedRTCP("the header of a packet is cut off")
        flags, kind, words = struct.unpack_from("!BBH", data, start)
        end = start + 4 + 4 * words
        if flags >> 6 != VERSION or end > len(data):
            raise MalformedRTCP("the version is wrong, or a packet is longer than the datagram")
        body = data[start + 4 : end]
        if flags & 0x20:
            if not body or body[-1] == 0 or body[-1] > len(body):
                raise MalformedRTCP("the padding is longer than the packet")
            body = body[: -body[-1]]
        packets.extend(_parse_packet(kind, flags & 0x1F, body))
        start = end
    if not data:
        raise MalformedRTCP("no packet at all")
    return packets


def _parse_packet(kind: int, count: int, body: bytes) -> list[Packet]:
    try:
        if kind in {SENDER_REPORT, RECEIVER_REPORT}:
            return [_parse_report(kind, count, body)]
        if kind == SOURCE_DESCRIPTION:
            return list(_parse_descriptions(count, body))
        if kind == BYE:
            return [_parse_bye(count, body)]
    except (struct.error, IndexError) as error:
        raise MalformedRTCP(f"a packet of type {kind} is cut off") from error
    return []


def _parse_report(kind: int, count: int, body: bytes) -> ReportPacket:
    (ssrc,) = struct.unpack_from("!I", body)
    sender, start = None, 4
    if kind == SENDER_REPORT:
        sender = SenderInfo(*struct.unpack_from("!QIII", body, 4))
        start = 24
    reports = tuple(Report.parse(body[at : at + 24]) for at in range(start, start + 24 * count, 24))
    return ReportPacket(ssrc, reports, sender)


def _parse_descriptions(count: int, body: bytes) -> list[SourceDescription]:
    found = []
    at = 0
    for _ in range(count):
        (ssrc,) = struct.unpack_from("!I", body, at)
        at += 4
        while body[at]:
            kind, size = body[at], body[at + 1]
            text = body[at + 2 : at + 2 + size]
            if kind == CNAME:
                found.append(SourceDescription(ssrc, text.decode(errors="replace")))
            at += 2 + size
        at += 4 - at % 4
    return found


def _parse_bye(count: int, body: bytes) -> Bye:
    ssrcs = struct.unpack_from(f"!{count}I", body)
    rest = body[4 * count :]
    return Bye(ssrcs, rest[1 : 1 + rest[0]].decode(errors="replace") if rest else "")


def interval(
    chance: float,
    *,
    initial: bool,
    we_sent: bool,
    members: int = 2,
    senders: int = 2,
    bandwidth: float = 8000.0,
    size: float = 100.0,
) -> float:
    """Draw the seconds until the next report (RFC 3550 A.7); `chance` is a random number in 0..1.

    `bandwidth` of the session and average `size` of an RTCP packet are in octets (per second).
    """
    share = bandwidth * RTCP_SHARE
    competitors = members
    if senders <= members * SENDERS_SHARE:
        share *= SENDERS_SHARE if we_sent else 1 - SENDERS_SHARE
        competitors = senders if we_sent else members - senders
    minimum = MINIMUM_INTERVAL / 2 if initial else MINIMUM_INTERVAL
    return max(size * competitors / share, minimum) * (chance + 0.5) / COMPENSATION


def ntp_time(unix_time: float) -> int:
    """Make the 64-bit NTP time (RFC 3550 4) of a time in seconds since 1970."""
    return int((unix_time + _NTP_EPOCH) * (1 << 32)) & 0xFFFFFFFFFFFFFFFF


def middle(ntp: int) -> int:
    """Take the middle 32 bits of an NTP time: 1/65536 s."""
    return ntp >> 16 & 0xFFFFFFFF
