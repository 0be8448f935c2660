"""Reading a session description (RFC 4566): octets in, the fields of the values out, within bounds.

Every function raises MalformedSDP and nothing else.
"""

from __future__ import annotations

import re
from typing import Any, Final

from sipsimple.sip.frozen import frozenlist
from sipsimple.sip.sdp.attributes import (
    MAX_ATTRIBUTES,
    MAX_NUMBER,
    FrozenAttributeList,
    FrozenSDPAttribute,
    FrozenSDPConnection,
    MalformedSDP,
)

__all__ = ["media_fields", "sections", "session_fields"]

MAX_SDP_SIZE: Final = 65536  # octets
MAX_LINES: Final = 2048
MAX_MEDIA: Final = 16
MAX_FORMATS: Final = 32  # of one media

_NUMBER: Final = re.compile(r"[0-9]{1,20}")

Lines = list[tuple[str, str]]


def sections(data: bytes) -> list[Lines]:
    """The (letter, text) lines of the session and of each media. Raises MalformedSDP."""
    if len(data) > MAX_SDP_SIZE:
        raise MalformedSDP(f"a session description of more than {MAX_SDP_SIZE} octets", status=413)
    text = data.decode("utf-8", "surrogateescape")
    raw = [line.removesuffix("\r") for line in text.split("\n")]
    lines = [(line[:1], line[2:]) for line in raw if line]
    if len(lines) > MAX_LINES:
        raise MalformedSDP(f"a session description of more than {MAX_LINES} lines", status=413)
    if any(line[1:2] != "=" or "\r" in line or "\0" in line for line in raw if line):
        raise MalformedSDP("a line of the session description is not `letter=text`")
    if not lines or lines[0] != ("v", "0"):
        raise MalformedSDP("a session description begins with v=0")
    found: list[Lines] = [[]]
    for line in lines:
        if line[0] == "m":
            found.append([])
        found[-1].append(line)
    if len(found) - 1 > MAX_MEDIA:
        raise MalformedSDP(f"a session description with more than {MAX_MEDIA} media", status=413)
    return found


def _first(lines: Lines, letter: str) -> str | None:
    return next((text for other, text in lines if other == letter), None)


def _common_fields(lines: Lines) -> dict[str, Any]:
    attributes = [text for letter, text in lines if letter == "a"]
    if len(attributes) > MAX_ATTRIBUTES:
        raise MalformedSDP(f"more than {MAX_ATTRIBUTES} attributes at one place", status=413)
    connection = _first(lines, "c")
    return {
        "info": _first(lines, "i"),
        "connection": None if connection is None else FrozenSDPConnection.parse(connection),
        "attributes": FrozenAttributeList([FrozenSDPAttribute.parse(text) for text in attributes]),
    }


def session_fields(lines: Lines) -> dict[str, Any]:
    """The fields of a session but its media. Raises MalformedSDP."""
    origin = (_first(lines, "o") or "").split()
    if len(origin) != 6:
        raise MalformedSDP("a session description needs an o= line of six words")
    user, id, version, net_type, address_type, address = origin
    start, stop = [*(_first(lines, "t") or "").split(), "0", "0"][:2]
    name = _first(lines, "s")
    fields = _common_fields(lines)
    fields.update(
        address=address,
        id=_number(id),
        version=_number(version),
        user=user,
        net_type=net_type,
        address_type=address_type,
        name=" " if name is None else name,
        start_time=_number(start),
        stop_time=_number(stop),
    )
    return fields


def media_fields(lines: Lines) -> dict[str, Any]:
    """The fields of one media. Raises MalformedSDP."""
    words = lines[0][1].split()
    if len(words) < 3:
        raise MalformedSDP(f"a media line needs media, port and transport: {lines[0][1][:60]!r}")
    media, ports, transport, *formats = words
    if len(formats) > MAX_FORMATS:
        raise MalformedSDP(f"a media with more than {MAX_FORMATS} formats", status=413)
    port, slash, count = ports.partition("/")
    if _number(port) > 65535:
        raise MalformedSDP(f"a media port above 65535: {port}")
    fields = _common_fields(lines)
    fields.update(
        media=media,
        port=_number(port),
        transport=transport,
        port_count=_number(count) if slash else 1,
        formats=frozenlist(formats),
    )
    return fields


def _number(text: str) -> int:
    if _NUMBER.fullmatch(text) is None or int(text) > MAX_NUMBER:
        raise MalformedSDP(f"not a number: {text[:40]!r}")
    return int(text)
