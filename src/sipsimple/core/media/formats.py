"""Audio codecs in session descriptions: which lines stand for them, and what two descriptions agree on.

RFC 3551 (static payload types), RFC 4566 section 6 (rtpmap, fmtp, ptime, directions), RFC 4733 (telephone-event),
RFC 7587 (Opus). Whether a codec can be encoded is for the media engine to know.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Final

from sipsimple.media.stream import family_of
from sipsimple.sip.errors import SDPNegotiationError
from sipsimple.sip.negotiation import direction_of as wanted_direction
from sipsimple.sip.negotiation import intersect_direction
from sipsimple.sip.sdp import FrozenSDPAttribute, SDPMediaStream
from sipsimple.sip.sdp.codecs import Codec, agreed_codecs

TELEPHONE_EVENT: Final = "telephone-event"
TELEPHONE_EVENT_TYPES: Final = {8000: 101, 48000: 100, 32000: 99, 16000: 98}
"""The payload type of digits for each clock that a codec has; the clock of 8000 Hz is the one that everybody knows."""
DIRECTIONS: Final = ("sendrecv", "sendonly", "recvonly", "inactive")
MAX_PTIME_MS: Final = 60


@dataclass(frozen=True, slots=True)
class CodecFormat:
    """One payload format; `sample_rate` is that of the audio, `clock_rate` that of the RTP clock, both in Hz."""

    name: str
    payload_type: int
    clock_rate: int
    sample_rate: int
    channels: int = 1
    parameters: str | None = None
    packet_ms: tuple[int, ...] = (10, 20, 30, 40, 50, 60)
    """Durations of the packets that can be made of it."""

    @property
    def encoding(self) -> str:
        """The second part of the rtpmap line."""
        return f"{self.name}/{self.clock_rate}" + (f"/{self.channels}" if self.channels > 1 else "")


# A codec with several rates stands here with the highest one first.
FORMATS: Final = (
    CodecFormat("opus", 96, 48000, 48000, channels=2, parameters="useinbandfec=1", packet_ms=(10, 20, 40, 60)),
    CodecFormat("G722", 9, 8000, 16000),  # RFC 3551 4.5.2: the clock of G.722 is wrong for ever
    CodecFormat("PCMU", 0, 8000, 8000),
    CodecFormat("PCMA", 8, 8000, 8000),
    CodecFormat("speex", 104, 32000, 32000, packet_ms=(20, 40, 60)),
    CodecFormat("speex", 103, 16000, 16000, packet_ms=(20, 40, 60)),
    CodecFormat("speex", 102, 8000, 8000, packet_ms=(20, 40, 60)),
    CodecFormat("iLBC", 117, 8000, 8000, parameters="mode=20", packet_ms=(20, 40, 60)),
    CodecFormat("GSM", 3, 8000, 8000, packet_ms=(20, 40, 60)),
)
OPUS_RATES: Final = (8000, 12000, 16000, 24000, 48000)


@dataclass(frozen=True, slots=True)
class Agreement:
    """What two descriptions of one audio stream have in common; addresses are where the other side receives."""

    codec: CodecFormat
    payload_type: int
    receive_type: int
    parameters: str
    """What the remote wants of what we send."""
    telephone_event_type: int | None
    telephone_event_receive_type: int | None
    telephone_event_rate: int
    direction: str
    ptime_ms: int
    remote_address: str
    remote_rtp_port: int
    remote_rtcp_port: int | None


def formats_for(names: Iterable[str], available: Iterable[str], mixer_rate: int) -> list[CodecFormat]:
    """The formats of the named codecs that are available and need no higher sampling rate than the mixer has.

    Opus is there at any rate, since its decoder runs at the rate that is wanted (RFC 7587 section 4.1).
    """
    return list(_formats_for(tuple(names), tuple(available), mixer_rate))


@lru_cache(maxsize=64)
def _formats_for(names: tuple[str, ...], available: tuple[str, ...], mixer_rate: int) -> list[CodecFormat]:
    usable = {name.lower() for name in available}
    chosen = []
    for name in names:
        if name.lower() == "opus" and "opus" in usable:
            chosen.append(_opus_at(mixer_rate))
        elif name.lower() in usable:
            chosen += [
                format for format in FORMATS if format.name.lower() == name.lower() and format.sample_rate <= mixer_rate
            ]
    return chosen


def _opus_at(mixer_rate: int) -> CodecFormat:
    """Opus for a mixer; a remote that knows our rate sends nothing that we would not play (RFC 7587 section 6.1)."""
    rate = next((rate for rate in OPUS_RATES if rate >= mixer_rate), OPUS_RATES[-1])
    (opus,) = (format for format in FORMATS if format.name == "opus")
    if rate == opus.sample_rate:
        return opus
    parameters = f"{opus.parameters};maxplaybackrate={rate};sprop-maxcapturerate={rate}"
    return replace(opus, sample_rate=rate, parameters=parameters)


def local_media(formats: list[CodecFormat], port: int) -> SDPMediaStream:
    """The audio media of an offer, without direction."""
    types = [str(format.payload_type) for format in formats]
    types += [str(TELEPHONE_EVENT_TYPES[rate]) for rate in _event_rates(tuple(formats))]
    return SDPMediaStream("audio", port, "RTP/AVP", formats=types, attributes=list(_described(tuple(formats))))


@lru_cache(maxsize=64)
def _described(formats: tuple[CodecFormat, ...]) -> tuple[FrozenSDPAttribute, ...]:
    attributes = []
    for format in formats:
        attributes.append(FrozenSDPAttribute("rtpmap", f"{format.payload_type} {format.encoding}"))
        if format.parameters:
            attributes.append(FrozenSDPAttribute("fmtp", f"{format.payload_type} {format.parameters}"))
    for rate in _event_rates(formats):
        attributes.append(FrozenSDPAttribute("rtpmap", f"{TELEPHONE_EVENT_TYPES[rate]} {TELEPHONE_EVENT}/{rate}"))
        attributes.append(FrozenSDPAttribute("fmtp", f"{TELEPHONE_EVENT_TYPES[rate]} 0-15"))
    return tuple(attributes)


def _event_rates(formats: tuple[CodecFormat, ...]) -> list[int]:
    """The clocks of digits that go with the formats (RFC 4733 2.1), 8000 Hz first and always."""
    return list(dict.fromkeys([8000, *(format.clock_rate for format in formats)]))


_DIRECTION_LINES: Final = {direction: FrozenSDPAttribute(direction, "") for direction in DIRECTIONS}


def agree(local_sdp: Any, remote_sdp: Any, index: int) -> Agreement:
    """What the media at `index` of both descriptions have in common; raises SDPNegotiationError for no codec."""
    local, remote = local_sdp.media[index], remote_sdp.media[index]
    codecs = agreed_codecs(local, remote)
    format = _format_of(codecs.send)
    if format is None:
        raise SDPNegotiationError(f"no audio codec that this library knows: {codecs.send.name}")
    send_event, receive_event = codecs.send_event, codecs.receive_event
    return Agreement(
        codec=format,
        payload_type=codecs.send.payload_type,
        receive_type=codecs.receive.payload_type,
        parameters=codecs.send.fmtp,
        telephone_event_type=send_event.payload_type if send_event is not None else None,
        telephone_event_receive_type=receive_event.payload_type if receive_event is not None else None,
        telephone_event_rate=send_event.rate if send_event is not None else 8000,
        direction=intersect_direction(wanted_direction(local_sdp, index), wanted_direction(remote_sdp, index)),
        ptime_ms=_ptime(remote, format),
        remote_address=remote_address(remote_sdp, index),
        remote_rtp_port=remote.port,
        remote_rtcp_port=_rtcp_port(remote),
    )


NOWHERE: Final = frozenset({"0.0.0.0", "::"})
"""What stands for the address in a description that holds the call in the way of RFC 2543 (RFC 3264 8.4)."""


def remote_address(sdp: Any, index: int) -> str:
    """Where the media at `index` wants to receive: the address of its own `c=` line, else of that of the session."""
    connection = sdp.media[index].connection or sdp.connection
    return str(connection.address if connection is not None else sdp.address)


def is_reachable(sdp: Any, index: int, local_address: str | None) -> bool:
    """True when media can be sent from our address, by default any of IPv4, to where the media at `index` wants it."""
    address = remote_address(sdp, index)
    return address in NOWHERE or family_of(address) == family_of(local_address or "0.0.0.0")


def with_direction(media: SDPMediaStream, direction: str) -> SDPMediaStream:
    """A copy of the media whose last line is the direction."""
    attributes = [FrozenSDPAttribute.new(a) for a in media.attributes if a.name not in DIRECTIONS]
    attributes.append(_DIRECTION_LINES[direction])
    return SDPMediaStream(
        media.media,
        media.port,
        media.transport,
        formats=list(media.formats),
        connection=media.connection,
        attributes=attributes,
    )


def direction_of(sends: bool, receives: bool) -> str:
    return DIRECTIONS[0 if sends and receives else 1 if sends else 2 if receives else 3]


def sends(direction: str | None) -> bool:
    return direction in ("sendrecv", "sendonly")


def receives(direction: str | None) -> bool:
    return direction in ("sendrecv", "recvonly")


def _format_of(codec: Codec) -> CodecFormat | None:
    encoding = (codec.name.lower(), codec.rate, codec.channels)
    return next((f for f in FORMATS if (f.name.lower(), f.clock_rate, f.channels) == encoding), None)


def _ptime(media: Any, format: CodecFormat) -> int:
    """The duration that the remote wants, or the longest one below it that the codec can do."""
    wanted = min(_milliseconds(media, "ptime", 20), _milliseconds(media, "maxptime", MAX_PTIME_MS))
    return max((duration for duration in format.packet_ms if duration <= wanted), default=format.packet_ms[0])


def _milliseconds(media: Any, name: str, default: int) -> int:
    value = media.attributes.getfirst(name, "")
    return int(value) if value.isdecimal() and len(value) < 5 else default


def _rtcp_port(media: Any) -> int | None:
    port = media.attributes.getfirst("rtcp", "").partition(" ")[0]
    return int(port) if port.isdecimal() and len(port) < 6 and 0 < int(port) < 65536 else None
