"""What the media engine and its client say about a stream to each other: what was agreed, and what happens to it.

All are plain values that survive pickling, because the engine may live in another process.
"""

from __future__ import annotations

import ipaddress
import socket
from functools import lru_cache
from typing import Final

from .errors import StreamError
from .keys import Security
from .values import Value

KNOWN_CODECS: Final = ("opus", "G722", "PCMU", "PCMA", "speex", "GSM")
"""Names of the codecs that can be had, in the order of preference; `libraries` says which are."""

DIRECTIONS: Final = ("sendrecv", "sendonly", "recvonly", "inactive")
FRAMES_PER_SECOND: Final = 50
MIN_PTIME_MS: Final = 10
MAX_PTIME_MS: Final = 60
DYNAMIC_LIMIT: Final = 128


class TransportInfo(Value):
    """A pair of sockets that is ready to be named in an SDP."""

    id: int
    address: str
    rtp_port: int
    rtcp_port: int


class StreamConfig(Value):
    """What two sides agreed on for a stream."""

    remote_address: str
    """A literal IPv4 or IPv6 address."""
    remote_rtp_port: int
    codec: str
    payload_type: int
    """The number of the codec in what we send, and in what we receive unless `receive_type` says otherwise."""
    mixer_rate: int
    """Sample rate of the frames on the mixer's side, in Hz, a multiple of 50."""
    remote_rtcp_port: int | None = None
    """None is the port after the RTP port."""
    remote_rtcp_address: str | None = None
    """Where RTCP goes to another address than RTP does."""
    rtcp_mux: bool = False
    """Whether RTCP goes, and comes, over the port of RTP (RFC 5761)."""
    direction: str = "sendrecv"
    """`sendrecv`, `sendonly`, `recvonly` or `inactive`, seen from here."""
    ptime_ms: int = 20
    """Duration of the packets we send: 10 to 60, a multiple of 10. Any duration is received."""
    receive_type: int | None = None
    """The number of the codec in what we receive, where each side gave its own."""
    clock_rate: int | None = None
    """The clock of a codec that has several, in Hz: Speex."""
    parameters: str = ""
    """What the remote wants of what we send: the text of its `fmtp` line."""
    telephone_event_type: int | None = None
    """The number of digits (RFC 4733) in what we send; None when they were not agreed on."""
    telephone_event_receive_type: int | None = None
    """The number of digits in what we receive, where each side gave its own."""
    telephone_event_rate: int = 8000
    """The clock in which the durations of digits are counted, in Hz."""
    detect_tones: bool = False
    """Whether to look for digits in what is heard."""
    no_media_timeout: float = 10.0
    """Seconds until the first check for missing media, 0 for none."""
    media_check_interval: float = 30.0
    """Seconds between the checks after the first, 0 for none."""
    latch_source: bool = True
    """Whether to follow packets that come from another address than the signalled one."""
    security: Security | None = None
    """How the packets are kept secret; None for plain RTP."""

    def check(self) -> None:
        """Raise `StreamError` when this cannot be obeyed, and say why."""
        if self.direction not in DIRECTIONS:
            raise StreamError(f"direction {self.direction!r} is none of {', '.join(DIRECTIONS)}")
        if not MIN_PTIME_MS <= self.ptime_ms <= MAX_PTIME_MS or self.ptime_ms % 10:
            raise StreamError(
                f"a ptime of {self.ptime_ms} ms is not a multiple of 10 from {MIN_PTIME_MS} to {MAX_PTIME_MS}"
            )
        if self.mixer_rate <= 0 or self.mixer_rate % FRAMES_PER_SECOND:
            raise StreamError(f"a mixer rate of {self.mixer_rate} Hz is not a multiple of {FRAMES_PER_SECOND}")
        for number in (self.payload_type, self.receive_type, self.telephone_event_type):
            if number is not None and not 0 <= number < DYNAMIC_LIMIT:
                raise StreamError(f"there is no payload type {number}")
        if self.telephone_event_rate <= 0 or self.telephone_event_rate % FRAMES_PER_SECOND:
            raise StreamError(
                f"a clock of {self.telephone_event_rate} Hz for digits is not a multiple of {FRAMES_PER_SECOND}"
            )

    @property
    def sends(self) -> bool:
        """Whether the direction lets us send."""
        return self.direction in {"sendrecv", "sendonly"}

    @property
    def receives(self) -> bool:
        """Whether the direction lets us receive."""
        return self.direction in {"sendrecv", "recvonly"}


class FirstPacket(Value):
    """The first packet of a stream arrived."""

    row: int
    transport_id: int
    address: str
    port: int


class RemoteAddressChanged(Value):
    """Packets now come from, and go to, another address than before; at first than the signalled one."""

    row: int
    transport_id: int
    address: str
    port: int


class NoMedia(Value):
    """Nothing arrived since the last check of a stream that should both send and receive."""

    row: int
    transport_id: int
    got_any: bool


class RemoteBye(Value):
    """The source that we hear said by RTCP that it ends."""

    row: int
    transport_id: int


class DigitReceived(Value):
    """The remote pressed a key; `inband` when that was heard as sound."""

    row: int
    transport_id: int
    digit: str
    inband: bool = False


class Secured(Value):
    """A handshake has made the keys; the stream is encrypted from now on."""

    row: int
    transport_id: int
    suite: str


class SecurityFailed(Value):
    """A handshake has failed; nothing was or will be sent."""

    row: int
    transport_id: int
    reason: str


StreamEvent = FirstPacket | RemoteAddressChanged | NoMedia | RemoteBye | DigitReceived | Secured | SecurityFailed


@lru_cache(maxsize=1024)
def family_of(address: str) -> socket.AddressFamily | None:
    """The family of a literal address; None for anything else, such as a name."""
    try:
        version = ipaddress.ip_address(address).version
    except ValueError:
        return None
    return socket.AF_INET if version == 4 else socket.AF_INET6
