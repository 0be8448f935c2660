"""RTP packets (RFC 3550 5.1), one by one and in batches.

`RTPPacket` is the value, for tests, tools and the slow paths. The engine works on batches: `parse_batch` reads the
headers of many datagrams that lie in one array, `write_headers` writes many. Both forms accept the same bytes. What
the payload means is left to the codecs; whether a packet is welcome is left to `reception`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

VERSION: Final = 2
HEADER_SIZE: Final = 12
MAX_PAYLOAD_TYPE: Final = 127
MAX_PACKET_SIZE: Final = 1500
"""Octets of a datagram that are looked at; a longer one is damaged, because nothing that we negotiate needs it."""

# RFC 5761 4: a second octet in this range is RTCP, even when it arrives on the RTP port.
FIRST_RTCP_TYPE: Final = 192
LAST_RTCP_TYPE: Final = 223

ByteArray = npt.NDArray[np.uint8]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

_HEADER: Final = struct.Struct("!BBHII")
_PLAIN: Final = VERSION << 6
_HEADER_TYPE: Final = np.dtype(
    [("flags", "u1"), ("type", "u1"), ("sequence", ">u2"), ("timestamp", ">u4"), ("ssrc", ">u4")]
)


class MalformedRTP(ValueError):
    """The bytes are not an RTP packet."""


@dataclass(frozen=True, slots=True)
class RTPPacket:
    """One RTP packet; padding is taken off when parsing and never written."""

    payload_type: int
    sequence: int
    timestamp: int
    ssrc: int
    payload: bytes = b""
    marker: bool = False
    csrcs: tuple[int, ...] = ()
    extension: tuple[int, bytes] | None = None
    """The profile's 16 bits and the data, a multiple of four octets."""

    @classmethod
    def parse(cls, data: bytes) -> RTPPacket:
        """Read a packet; raises `MalformedRTP`, whatever the bytes."""
        if len(data) < HEADER_SIZE:
            raise MalformedRTP(f"{len(data)} octets are too few for an RTP header")
        flags, second, sequence, timestamp, ssrc = _HEADER.unpack_from(data)
        if flags >> 6 != VERSION:
            raise MalformedRTP(f"RTP version {flags >> 6} is not {VERSION}")
        start, end = HEADER_SIZE + 4 * (flags & 0x0F), len(data)
        if start > end:
            raise MalformedRTP("the list of contributing sources is cut off")
        csrcs = struct.unpack_from(f"!{flags & 0x0F}I", data, HEADER_SIZE)
        extension = None
        if flags & 0x10:
            if start + 4 > end:
                raise MalformedRTP("the header extension is cut off")
            profile, words = struct.unpack_from("!HH", data, start)
            extension = (profile, bytes(data[start + 4 : start + 4 + 4 * words]))
            start += 4 + 4 * words
        if flags & 0x20 and start < end:
            end -= data[-1]
        if start > end or (flags & 0x20 and end == len(data)):
            raise MalformedRTP("the header extension or the padding is longer than the packet")
        return cls(
            second & 0x7F, sequence, timestamp, ssrc, bytes(data[start:end]), bool(second & 0x80), csrcs, extension
        )

    def __bytes__(self) -> bytes:
        flags = _PLAIN | len(self.csrcs) | (0x10 if self.extension is not None else 0)
        second = self.payload_type | (0x80 if self.marker else 0)
        parts = [_HEADER.pack(flags, second, self.sequence, self.timestamp, self.ssrc)]
        parts.extend(struct.pack("!I", csrc) for csrc in self.csrcs)
        if self.extension is not None:
            profile, data = self.extension
            parts.append(struct.pack("!HH", profile, len(data) // 4) + data)
        return b"".join((*parts, self.payload))


def parse_plain(data: memoryview, size: int) -> tuple[int, int, int, int] | None:
    """Read payload type, sequence, timestamp and SSRC of a packet that has a plain header and no marker; else None."""
    if size < HEADER_SIZE:
        return None
    flags, payload_type, sequence, timestamp, ssrc = _HEADER.unpack_from(data)
    if flags != _PLAIN or payload_type > MAX_PAYLOAD_TYPE:
        return None
    return payload_type, sequence, timestamp, ssrc


def plain_header(payload_type: int, marker: bool, sequence: int, timestamp: int, ssrc: int) -> bytes:
    """Make the header of a packet; numbers wrap as on the wire."""
    second = payload_type | (0x80 if marker else 0)
    return _HEADER.pack(_PLAIN, second, sequence & 0xFFFF, timestamp & 0xFFFFFFFF, ssrc)


@dataclass(frozen=True, slots=True)
class ParsedBatch:
    """The headers of a batch; where `valid` is False the other fields mean nothing."""

    valid: BoolArray
    payload_type: npt.NDArray[np.uint8]
    marker: BoolArray
    sequence: IntArray
    timestamp: IntArray
    ssrc: IntArray
    start: IntArray
    """Where the payload begins."""
    length: IntArray
    """Octets of payload, padding taken off."""


def parse_batch(datagrams: ByteArray, sizes: IntArray) -> ParsedBatch:
    """Read the headers of `datagrams` (n, width), of which row i holds `sizes[i]` octets.

    `width` is at least `HEADER_SIZE`; what is in a row past its size does not matter.
    """
    header = np.ascontiguousarray(datagrams[:, :HEADER_SIZE]).view(_HEADER_TYPE).reshape(-1)
    flags = header["flags"]
    valid = (sizes >= HEADER_SIZE) & (flags >> 6 == VERSION)
    start = np.full(len(sizes), HEADER_SIZE, np.int64)
    end = sizes
    unusual = np.flatnonzero(valid & (flags != _PLAIN))
    if unusual.size:
        end = sizes.copy()
        _find_payload(datagrams, unusual, flags, start, end)
        valid &= start <= end
    return ParsedBatch(
        valid,
        (header["type"] & 0x7F).astype(np.uint8),
        header["type"] >= 0x80,
        header["sequence"].astype(np.int64),
        header["timestamp"].astype(np.int64),
        header["ssrc"].astype(np.int64),
        start,
        end - start,
    )


def _find_payload(datagrams: ByteArray, rows: IntArray, flags: ByteArray, start: IntArray, end: IntArray) -> None:
    """Correct `start` and `end` for contributing sources, header extensions and padding; `start > end` when cut off."""
    width = datagrams.shape[1]
    start[rows] += 4 * (flags[rows] & 0x0F).astype(np.int64)
    extended = rows[flags[rows] & 0x10 != 0]
    # A length field outside the datagram reads as something; the sum is then past the end anyway.
    field = np.minimum(start[extended] + 2, width - 2)
    words = datagrams[extended, field].astype(np.int64) << 8 | datagrams[extended, field + 1]
    start[extended] += 4 + 4 * words
    padded = rows[flags[rows] & 0x20 != 0]
    padding = datagrams[padded, np.minimum(end[padded], width) - 1].astype(np.int64)
    end[padded] -= np.where((padding == 0) | (start[padded] >= end[padded]), width + end[padded], padding)


def write_headers(
    packets: ByteArray,
    payload_type: npt.NDArray[np.uint8],
    marker: BoolArray,
    sequence: IntArray,
    timestamp: IntArray,
    ssrc: IntArray,
) -> None:
    """Write plain headers into the first `HEADER_SIZE` octets of each row of `packets`; numbers wrap as on the wire."""
    header = np.empty(len(packets), _HEADER_TYPE)
    header["flags"] = _PLAIN
    header["type"] = payload_type | (marker.astype(np.uint8) << 7)
    header["sequence"] = sequence & 0xFFFF
    header["timestamp"] = timestamp & 0xFFFFFFFF
    header["ssrc"] = ssrc
    packets[:, :HEADER_SIZE] = header.view(np.uint8).reshape(-1, HEADER_SIZE)
