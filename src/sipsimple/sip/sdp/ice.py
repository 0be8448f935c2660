"""What a session description says of ICE: credentials, candidates, and whether the remote only listens (RFC 8839 5).

Candidates of other transports than UDP, with names instead of addresses, or of components beyond RTP and RTCP are left
out, as are those beyond `MAX_CANDIDATES`; a description whose default destination is no candidate is a mismatch
(RFC 8839 4.2.5). Checking candidates is left to others.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Any, Final

from sipsimple.sip.sdp.attributes import MalformedSDP

__all__ = ["MAX_CANDIDATES", "TYPES", "ICECandidate", "ICEDescription"]

MAX_CANDIDATES: Final = 24
"""Candidates of one media that are read, of both components: every one is another destination of our checks."""
TYPES: Final = ("host", "srflx", "prflx", "relay")
NOWHERE: Final = frozenset({"0.0.0.0", "::"})

_CANDIDATE: Final = re.compile(
    r"([A-Za-z0-9+/]{1,32}) ([0-9]{1,3}) ([A-Za-z]{1,16}) ([0-9]{1,10}) "
    r"([0-9A-Fa-f.:]{2,45}) ([0-9]{1,5}) typ ([a-z]{1,16})"
    r"(?: raddr ([0-9A-Fa-f.:]{2,45}) rport ([0-9]{1,5}))?(?: .*)?",
    re.ASCII | re.DOTALL,
)
_UFRAG: Final = re.compile(r"[A-Za-z0-9+/]{4,256}")
_PASSWORD: Final = re.compile(r"[A-Za-z0-9+/]{22,256}")


@dataclass(frozen=True, slots=True)
class ICECandidate:
    """A transport address that may be reached, as in `a=candidate:1 1 UDP 2130706431 192.0.2.1 4000 typ host`."""

    foundation: str
    component: int
    """1 for RTP, 2 for RTCP."""
    priority: int
    address: str
    port: int
    type: str
    related_address: str | None = None
    related_port: int | None = None

    @classmethod
    def parse(cls, value: str) -> ICECandidate:
        """Read the value of an attribute. Raises MalformedSDP, also for candidates that cannot be used here."""
        match = _CANDIDATE.fullmatch(value.strip())
        if match is None:
            raise MalformedSDP("a candidate needs foundation, component, transport, priority, address, port and type")
        foundation, component, transport, priority, address, port, kind, related, related_port = match.groups()
        if transport.lower() != "udp" or kind not in TYPES or int(component) not in (1, 2):
            raise MalformedSDP(f"a candidate of {transport}, type {kind}, component {component} is of no use for RTP")
        if not 0 < int(port) < 65536 or not 0 < int(priority) < 2**31 or int(related_port or 0) > 65535:
            raise MalformedSDP("a candidate with a port or a priority that there is not")
        try:
            place = str(ipaddress.ip_address(address))
            related_place = None if related is None else str(ipaddress.ip_address(related))
        except ValueError:
            raise MalformedSDP(f"a candidate whose address is none: {address}") from None
        if ipaddress.ip_address(place).is_unspecified or ipaddress.ip_address(place).is_multicast:
            raise MalformedSDP(f"a candidate at {place}, where nobody is")
        related_number = None if related_port is None else int(related_port)
        return cls(foundation, int(component), int(priority), place, int(port), kind, related_place, related_number)

    def __str__(self) -> str:
        text = f"{self.foundation} {self.component} UDP {self.priority} {self.address} {self.port} typ {self.type}"
        if self.related_address is not None:
            text += f" raddr {self.related_address} rport {self.related_port}"
        return text


@dataclass(frozen=True, slots=True)
class ICEDescription:
    """What one side says of ICE for one media. The password never shows in `repr`."""

    username: str
    password: str
    candidates: tuple[ICECandidate, ...]
    lite: bool = False
    mismatch: bool = False
    """Whether the default destination is none of the candidates, so that ICE must not be used."""

    @classmethod
    def of(cls, sdp: Any, index: int) -> ICEDescription | None:
        """That of the media at `index`; None without usable credentials or candidates, or where ICE was given up."""
        media = sdp.media[index]
        username, password = (_inherited(sdp, media, name) for name in ("ice-ufrag", "ice-pwd"))
        if _UFRAG.fullmatch(username) is None or _PASSWORD.fullmatch(password) is None:
            return None
        if "ice-mismatch" in media.attributes:
            return None
        values = media.attributes.getall("candidate") or sdp.attributes.getall("candidate")
        candidates = _usable(values)
        if not candidates:
            return None
        mismatch = not _has_default(sdp, media, candidates)
        return cls(username, password, candidates, "ice-lite" in sdp.attributes, mismatch)

    def __repr__(self) -> str:
        return f"ICEDescription({self.username!r}, {len(self.candidates)} candidates, lite={self.lite})"


def _inherited(sdp: Any, media: Any, name: str) -> str:
    value: str = media.attributes.getfirst(name, "") or sdp.attributes.getfirst(name, "")
    return value.strip()


def _usable(values: list[str]) -> tuple[ICECandidate, ...]:
    candidates: dict[tuple[int, str, int], ICECandidate] = {}
    for value in values[: 4 * MAX_CANDIDATES]:
        try:
            candidate = ICECandidate.parse(value)
        except MalformedSDP:
            continue
        candidates.setdefault((candidate.component, candidate.address, candidate.port), candidate)
        if len(candidates) == MAX_CANDIDATES:
            break
    return tuple(candidates.values())


def _has_default(sdp: Any, media: Any, candidates: tuple[ICECandidate, ...]) -> bool:
    connection = media.connection or sdp.connection
    address = str(connection.address if connection is not None else sdp.address)
    # RFC 8840 4.3.1: nowhere on the discard port is for candidates alone. It also is how a call was held once.
    if address in NOWHERE:
        return True
    return any(it.component == 1 and (it.address, it.port) == (address, media.port) for it in candidates)
