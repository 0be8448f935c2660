"""The codecs that an RTP media lists: payload types, `rtpmap` and `fmtp` (RFC 4566 6, RFC 3551 6)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, TypeAlias

from sipsimple.sip.errors import SDPNegotiationError
from sipsimple.sip.sdp.session import BaseSDPMediaStream

__all__ = ["Agreement", "Codec", "agreed_codecs", "codecs_of"]

TELEPHONE_EVENT: Final = "telephone-event"
MAX_REMEMBERED: Final = 128
"""Lists of codecs that are known without being read again; each is bounded as a media section is."""

# RFC 3551 6, tables 4 and 5: what a payload type means without an rtpmap. Name, clock rate, channels.
STATIC_TYPES: Final = {
    0: ("PCMU", 8000, 1),
    3: ("GSM", 8000, 1),
    4: ("G723", 8000, 1),
    5: ("DVI4", 8000, 1),
    6: ("DVI4", 16000, 1),
    7: ("LPC", 8000, 1),
    8: ("PCMA", 8000, 1),
    9: ("G722", 8000, 1),
    10: ("L16", 44100, 2),
    11: ("L16", 44100, 1),
    12: ("QCELP", 8000, 1),
    13: ("CN", 8000, 1),
    14: ("MPA", 90000, 1),
    15: ("G728", 8000, 1),
    16: ("DVI4", 11025, 1),
    17: ("DVI4", 22050, 1),
    18: ("G729", 8000, 1),
    25: ("CelB", 90000, 1),
    26: ("JPEG", 90000, 1),
    28: ("nv", 90000, 1),
    31: ("H261", 90000, 1),
    32: ("MPV", 90000, 1),
    33: ("MP2T", 90000, 1),
    34: ("H263", 90000, 1),
}

# Companions of a codec, never chosen as the codec of a stream.
_COMPANIONS: Final = frozenset({TELEPHONE_EVENT, "cn", "red", "ulpfec", "rtx"})

_Listed: TypeAlias = tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]
"""What a media says of its codecs: formats, values of `rtpmap`, values of `fmtp`."""

_PAYLOAD_TYPE: Final = re.compile(r"[0-9]{1,3}")
_RTPMAP: Final = re.compile(r"([0-9]{1,3})\s+([^\s/]+)/([0-9]{1,9})(?:/([0-9]{1,3}))?\s*")
_FMTP: Final = re.compile(r"([0-9]{1,3})\s+(\S.*)")


@dataclass(frozen=True, slots=True)
class Codec:
    """One format of an RTP media. `rate` is the RTP clock in Hz; `fmtp` is the text of the parameters, or empty."""

    payload_type: int
    name: str
    rate: int
    channels: int = 1
    fmtp: str = ""

    @property
    def is_companion(self) -> bool:
        """Whether this goes along with a codec (telephone events, comfort noise) instead of being one."""
        return self.name.lower() in _COMPANIONS

    @property
    def is_telephone_event(self) -> bool:
        """Whether this carries DTMF (RFC 4733)."""
        return self.name.lower() == TELEPHONE_EVENT

    def matches(self, other: Codec) -> bool:
        """Whether both speak of the same encoding: by static number, or by name, rate and channels."""
        # The number decides where it has a fixed meaning: some write G722/16000 behind the static type 9.
        if self.payload_type == other.payload_type and self.payload_type in STATIC_TYPES:
            return True
        return (self.name.lower(), self.rate, self.channels) == (other.name.lower(), other.rate, other.channels)

    @property
    def rtpmap(self) -> str:
        """The value of the `rtpmap` attribute."""
        channels = f"/{self.channels}" if self.channels != 1 else ""
        return f"{self.payload_type} {self.name}/{self.rate}{channels}"


@dataclass(frozen=True, slots=True)
class Agreement:
    """What both sides of an RTP media can do. Each side numbers the payload types of what it wants to receive."""

    send: Codec
    receive: Codec
    send_event: Codec | None = None
    receive_event: Codec | None = None


def codecs_of(media: BaseSDPMediaStream) -> list[Codec]:
    """The codecs of a media in the order of its formats.

    A format is left out when nobody says what it means: no number, or dynamic and without a readable `rtpmap`.
    """
    return list(_codecs(_listed(media)))


def _listed(media: BaseSDPMediaStream) -> _Listed:
    rtpmaps, fmtps = [], []
    for attribute in media.attributes:
        if attribute.name == "rtpmap":
            rtpmaps.append(attribute.value)
        elif attribute.name == "fmtp":
            fmtps.append(attribute.value)
    return tuple(media.formats), tuple(rtpmaps), tuple(fmtps)


@lru_cache(maxsize=MAX_REMEMBERED)
def _codecs(listed: _Listed) -> tuple[Codec, ...]:
    # A user agent lists the same few codecs in every call.
    formats, rtpmaps, fmtps = listed
    maps = {found[1]: found for found in map(_RTPMAP.fullmatch, rtpmaps) if found}
    parameters = {found[1]: found[2].rstrip() for found in map(_FMTP.fullmatch, fmtps) if found}
    codecs = []
    for format in formats:
        if _PAYLOAD_TYPE.fullmatch(format) is None or int(format) > 127:
            continue
        if found := maps.get(format):
            name, rate, channels = found[2], int(found[3]), int(found[4] or 1)
        elif int(format) in STATIC_TYPES:
            name, rate, channels = STATIC_TYPES[int(format)]
        else:
            continue
        codecs.append(Codec(int(format), name, rate, channels, parameters.get(format, "")))
    return tuple(codecs)


def agreed_codecs(local: BaseSDPMediaStream, remote: BaseSDPMediaStream) -> Agreement:
    """The codec that both sides know, the remote's favourite first, and the telephone events to go with it.

    Raises SDPNegotiationError when there is none.
    """
    agreement = _agreed(_listed(local), _listed(remote))
    if agreement is None:
        raise SDPNegotiationError(f"no common codec for {remote.media}")
    return agreement


@lru_cache(maxsize=MAX_REMEMBERED)
def _agreed(local: _Listed, remote: _Listed) -> Agreement | None:
    ours = _codecs(local)
    common = [(theirs, own) for theirs in _codecs(remote) for own in ours if theirs.matches(own)]
    choice = next(((theirs, own) for theirs, own in common if not theirs.is_companion), None)
    if choice is None:
        return None
    events = [(theirs, own) for theirs, own in common if theirs.is_telephone_event]
    # RFC 4733 2.1 wants the clock of the codec; many only know 8000 Hz, and that is better than no DTMF.
    events.sort(key=lambda pair: pair[0].rate != choice[0].rate)
    send_event, receive_event = events[0] if events else (None, None)
    return Agreement(*choice, send_event, receive_event)
