"""What the table of streams keeps of each transport and row, and what of a configuration changes what."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .codecs import Codec
from .demux import Take
from .errors import StreamError
from .net import Address
from .stream import StreamConfig, TransportInfo, family_of

IntArray = npt.NDArray[np.int64]

HandOn = Callable[[int, bytes, Address], None]
"""Takes the component (1 for RTP, 2 for RTCP), a STUN message, and where it came from."""


@dataclass(slots=True)
class Transport:
    """A pair of sockets, and who waits for the STUN messages that come while a stream runs."""

    info: TransportInfo
    rtp: socket.socket
    rtcp: socket.socket
    port_range: tuple[int, int]
    row: int | None = None
    stun: HandOn | None = None


@dataclass(slots=True)
class Stream:
    """What runs in a row."""

    transport: Transport
    config: StreamConfig
    codec: Codec


@dataclass(frozen=True, slots=True)
class Part:
    """Rows that are coded and sent alike; `selection` is where they are among the rows of their plan."""

    codec: Codec
    ptime_ms: int
    selection: slice | IntArray
    rows: IntArray


@dataclass(frozen=True, slots=True)
class Plan:
    """Some rows, and how they are split."""

    rows: IntArray
    parts: list[Part]


def payload_format(config: StreamConfig) -> tuple[str, int | None, str, int]:
    """What the codec depends on."""
    return config.codec.upper(), config.clock_rate, config.parameters, config.mixer_rate


def coding(config: StreamConfig) -> tuple[str, int, int]:
    """What the sender of audio depends on."""
    return config.codec.upper(), config.payload_type, config.ptime_ms


def playing(config: StreamConfig) -> tuple[str, int, bool]:
    """What the jitter buffer and the resamplers depend on."""
    return config.codec.upper(), config.mixer_rate, config.receives


def dialling(config: StreamConfig) -> tuple[int | None, int, bool]:
    """What the sending of digits depends on."""
    return config.telephone_event_type, config.telephone_event_rate, config.sends


def check_reachable(config: StreamConfig, transport: Transport) -> None:
    """Raise `StreamError` when the configuration cannot be obeyed with these sockets."""
    config.check()
    if family_of(config.remote_address) != transport.rtp.family:
        raise StreamError(
            f"{config.remote_address!r} cannot be reached from {transport.info.address}: it has to be an address of"
            " the same family"
        )


def taker(stun: HandOn, component: int) -> Take:
    """Whoever takes the STUN messages of one component."""
    return lambda data, source, _: stun(component, data, source)


def checks(config: StreamConfig) -> tuple[float, float]:
    """What the checks for missing media depend on."""
    return config.no_media_timeout, config.media_check_interval
