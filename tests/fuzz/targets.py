"""What is fuzzed, and what must hold: a value, or the one documented exception, and nothing else, whatever the bytes.

Each target takes bytes and raises only when the promise is broken.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Final

from sipsimple.payloads.iscomposing import IsComposing
from sipsimple.payloads.xmldoc import MalformedDocument
from sipsimple.sip.digest import parse_answers, parse_challenges
from sipsimple.sip.errors import MalformedMessage, SIPCoreError
from sipsimple.sip.framing import StreamParser
from sipsimple.sip.headers import FrozenContactHeader, FrozenFromHeader, FrozenRouteHeader, FrozenViaHeader
from sipsimple.sip.message import Request, parse_message
from sipsimple.sip.notice import notification_headers
from sipsimple.sip.sdp import FrozenSDPSession, MalformedSDP
from sipsimple.sip.uri import MAX_URI_LENGTH, FrozenSIPURI
from sipsimple.sip.validation import validate
from sipsimple.streams.applications.chat import CPIMMessage, CPIMParserError

PROPERTIES: Final = (
    "via",
    "vias",
    "from_",
    "to",
    "call_id",
    "cseq",
    "contacts",
    "routes",
    "record_routes",
    "max_forwards",
    "expires",
    "content_type",
    "content_length",
)


def message(data: bytes) -> None:
    """A datagram is a message or malformed; a valid message has no property that raises, and survives the wire."""
    try:
        parsed = parse_message(data)
    except MalformedMessage:
        return
    notification_headers(parsed)
    for name in PROPERTIES:
        with suppress(MalformedMessage):
            getattr(parsed, name)
    try:
        validate(parsed)
    except MalformedMessage:
        return
    for name in PROPERTIES:
        getattr(parsed, name)
    again = parse_message(parsed.encode())
    assert again.start_line == parsed.start_line
    assert again.body == parsed.body
    if isinstance(parsed, Request):
        parse_message(parsed.make_response(400, to_tag="x").encode())


def stream(data: bytes) -> None:
    """A stream cut anywhere gives the same messages as a stream in one piece; broken framing is malformed."""
    assert _fed(data, len(data) or 1) == _fed(data, 7)


def _fed(data: bytes, step: int) -> list[str]:
    parser = StreamParser()
    seen: list[str] = []
    try:
        for start in range(0, len(data), step):
            for item in parser.feed(data[start : start + step]):
                seen.append(item.start_line if hasattr(item, "start_line") else "keep-alive")
        parser.feed(b"")
    except MalformedMessage:
        seen.append("malformed")
    assert parser.buffered <= 2 * 65535 + 8192
    return [item for item in seen if item != "keep-alive"]


def description(data: bytes) -> None:
    """A session description is one or malformed; it is the same after a round trip."""
    try:
        session = FrozenSDPSession.parse(data)
    except MalformedSDP:
        return
    assert FrozenSDPSession.parse(session.encode()) == session


def uri(data: bytes) -> None:
    """A text is a URI or malformed; it is the same after a round trip, unless its escapes have made it too long."""
    try:
        parsed = FrozenSIPURI.parse(data.decode("utf-8", "surrogateescape"))
    except SIPCoreError:
        return
    written = str(parsed)
    if len(written) <= MAX_URI_LENGTH:
        assert FrozenSIPURI.parse(written) == parsed


def header(data: bytes) -> None:
    """A header value is one or malformed; it is the same after a round trip, unless escapes have made it too long."""
    text = data.decode("utf-8", "surrogateescape")
    for kind in (FrozenContactHeader, FrozenFromHeader, FrozenRouteHeader, FrozenViaHeader):
        try:
            value = kind.parse(text)
        except MalformedMessage:
            continue
        if len(value.body) <= MAX_URI_LENGTH:
            assert kind.parse(value.body) == value


def challenge(data: bytes) -> None:
    """What asks for credentials, or carries them, is understood or malformed."""
    text = data.decode("utf-8", "surrogateescape")
    for parse in (parse_challenges, parse_answers):
        with suppress(MalformedMessage):
            parse([text])


def cpim(data: bytes) -> None:
    """A message in an envelope, which says the same after a round trip if it can be written, or none."""
    try:
        found = CPIMMessage.parse(data)
    except CPIMParserError:
        return
    with suppress(ValueError):
        again = CPIMMessage.parse(found.encode())
        assert (again.body, again.sender, again.subject) == (found.body, found.sender, found.subject)


def composing(data: bytes) -> None:
    """A composing indication, which says the same after a round trip, or none."""
    try:
        found = IsComposing.parse(data)
    except MalformedDocument:
        return
    if found.last_active is None:
        assert IsComposing.parse(found.encode()) == found


TARGETS: Final[dict[str, Callable[[bytes], None]]] = {
    "message": message,
    "stream": stream,
    "description": description,
    "uri": uri,
    "header": header,
    "challenge": challenge,
    "cpim": cpim,
    "composing": composing,
}
