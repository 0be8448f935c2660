"""SIP requests and responses (RFC 3261 7), read once and parsed by the header as each is touched.

`parse_message` splits the bytes into start line, raw headers and body, and no more. A property such as `message.via`
parses its header on first use and keeps the result until the headers change; a header that nobody touched leaves as
it came. `validation.validate` touches all that a user agent relies on, so that afterwards no property raises.
"""

from __future__ import annotations

from typing import Final

from sipsimple.sip.errors import MalformedMessage
from sipsimple.sip.fields import (
    AllOf,
    AtMostOne,
    FirstOf,
    One,
    parse_call_id,
    parse_content_length,
    parse_content_type,
    parse_cseq,
    parse_max_forwards,
    parse_seconds,
    remembered,
)
from sipsimple.sip.header_list import CANONICAL, Headers
from sipsimple.sip.headers import (
    FrozenContactHeader,
    FrozenFromHeader,
    FrozenRecordRouteHeader,
    FrozenRouteHeader,
    FrozenToHeader,
    FrozenViaHeader,
)
from sipsimple.sip.lexer import LWS, check_token, is_token, split_list
from sipsimple.sip.status import sip_status_messages
from sipsimple.sip.uri import FrozenSIPURI, parse_sip_uri

__all__ = [
    "MAX_HEADER_LENGTH",
    "MAX_HEADER_LINES",
    "MAX_MESSAGE_SIZE",
    "Headers",
    "Message",
    "Request",
    "Response",
    "parse_head",
    "parse_message",
]

MAX_MESSAGE_SIZE: Final = 65535
MAX_HEADER_LINES: Final = 128
MAX_HEADER_LENGTH: Final = 8192

SIP_VERSION: Final = "SIP/2.0"

COPIED: Final = ("From", "To", "Call-ID", "CSeq")
"""What a response has from its request, beside all the Via (RFC 3261 8.2.6.2)."""


class Message:
    """What requests and responses have in common: headers and a body."""

    __slots__ = ("__dict__", "body", "headers", "received_size", "version")

    def __init__(self, headers: Headers, body: bytes = b"") -> None:
        self.headers = headers
        self.__dict__ = headers.cache
        self.body = body
        self.version = SIP_VERSION
        self.received_size = 0
        """Bytes that it took on the wire; 0 for one that did not come from there."""

    @property
    def start_line(self) -> str:
        """The first line, without its line end."""
        raise NotImplementedError(f"{type(self).__name__} has no start line")

    # Each Via has a branch of its own, so that remembering them would push out what comes again.
    vias = AllOf("Via", FrozenViaHeader.parse)
    via = FirstOf(vias)
    """The topmost Via: the nearest hop."""
    from_ = One("From", remembered(FrozenFromHeader.parse))
    to = One("To", remembered(FrozenToHeader.parse))
    call_id = One("Call-ID", parse_call_id)
    cseq = One("CSeq", remembered(parse_cseq))
    contacts = AllOf("Contact", remembered(FrozenContactHeader.parse))
    routes = AllOf("Route", remembered(FrozenRouteHeader.parse))
    record_routes = AllOf("Record-Route", remembered(FrozenRecordRouteHeader.parse))
    max_forwards = AtMostOne("Max-Forwards", remembered(parse_max_forwards))
    expires = AtMostOne("Expires", remembered(parse_seconds))
    content_type = AtMostOne("Content-Type", parse_content_type)
    content_length = AtMostOne("Content-Length", remembered(parse_content_length))

    def replace_top_via(self, via: FrozenViaHeader) -> None:
        """Put another Via in the place of the topmost one, as `received` and `rport` ask for."""
        raw = self.headers.get("Via")
        if raw is None:
            raise MalformedMessage("there is no Via")
        self.headers.replace_first("Via", ", ".join([via.body, *split_list(raw)[1:]]))

    def encode(self) -> bytes:
        """Return the message as it goes to the wire, with the Content-Length that its body has."""
        lines = [self.start_line]
        lines += [f"{name}: {value}" for name, value in self.headers if name != "Content-Length"]
        lines.append(f"Content-Length: {len(self.body)}\r\n\r\n")
        return "\r\n".join(lines).encode("utf-8", "surrogateescape") + self.body


class Request(Message):
    """A request; `raw_uri` is the Request-URI as it came, `uri` the same parsed."""

    __slots__ = ("_uri", "method", "raw_uri")

    def __init__(self, method: str, uri: FrozenSIPURI | str, headers: Headers, body: bytes = b"") -> None:
        super().__init__(headers, body)
        self.method = method
        self._uri: FrozenSIPURI | None
        if isinstance(uri, str):
            self.raw_uri = uri
            self._uri = None
        else:
            self.raw_uri = str(uri)
            self._uri = uri

    @property
    def uri(self) -> FrozenSIPURI:
        """The Request-URI; raises `MalformedURI` with status 416 for a scheme other than SIP and SIPS."""
        if self._uri is None:
            self._uri = parse_sip_uri(self.raw_uri)
        return self._uri

    @uri.setter
    def uri(self, uri: FrozenSIPURI) -> None:
        self._uri = uri
        self.raw_uri = str(uri)

    @property
    def start_line(self) -> str:
        """The request line."""
        return f"{self.method} {self.raw_uri} {self.version}"

    def make_response(self, code: int, reason: str | None = None, to_tag: str | None = None) -> Response:
        """Return a response with the headers that RFC 3261 8.2.6 copies; works on a malformed request too.

        The tag is added when the request has none. Record-Route is copied into responses that make a dialog.
        """
        first = self.headers.first
        items = [item for item in self.headers if item[0] == "Via"]
        items += [(name, first[name]) for name in COPIED if name in first]
        if to_tag is not None and code != 100 and "To" in first and not self._has_to_tag(first["To"]):
            items[items.index(("To", first["To"]))] = ("To", f"{first['To']};tag={to_tag}")
        if 101 <= code <= 299 and "Record-Route" in first:
            items += [item for item in self.headers if item[0] == "Record-Route"]
        if code == 100 and "Timestamp" in first:
            items.append(("Timestamp", first["Timestamp"]))
        return Response(code, reason_of(code) if reason is None else reason, Headers.wrap(items))

    def _has_to_tag(self, raw: str) -> bool:
        try:
            return self.to.tag is not None
        except MalformedMessage:
            return ";tag=" in raw.replace(" ", "").lower()

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.raw_uri}>"


class Response(Message):
    """A response to a request."""

    __slots__ = ("code", "reason")

    def __init__(self, code: int, reason: str, headers: Headers, body: bytes = b"") -> None:
        super().__init__(headers, body)
        self.code = code
        self.reason = reason

    @property
    def start_line(self) -> str:
        """The status line."""
        return f"{self.version} {self.code} {self.reason}"

    def __repr__(self) -> str:
        return f"<Response {self.code} {self.reason}>"


def parse_message(data: bytes) -> Request | Response:
    """Read one message that came in a datagram.

    Line ends in front are skipped. A body longer than its Content-Length is cut (RFC 3261 18.3); a shorter one is for
    `validate` to refuse. Raises `MalformedMessage`, whatever the bytes.
    """
    if len(data) > MAX_MESSAGE_SIZE:
        raise MalformedMessage(f"the message is larger than {MAX_MESSAGE_SIZE} bytes", status=513)
    if data[:1] in {b"\r", b"\n"}:
        data = data.lstrip(b"\r\n")
    head, end, body = data.partition(b"\r\n\r\n")
    if not end:
        # A last header without the empty line after it is common enough, and harmless where the datagram ends.
        head = data.removesuffix(b"\r\n")
    message = parse_head(head)
    if body:
        length = message.headers.get("Content-Length")
        if length is not None and len(length) <= 5 and length.isascii() and length.isdigit():
            body = body[: int(length)]
        message.body = bytes(body)
    message.received_size = len(data)
    return message


def parse_head(head: bytes) -> Request | Response:
    """Read start line and headers, without the empty line that ends them."""
    text = head.decode("utf-8", "surrogateescape")
    if "\r\n " in text or "\r\n\t" in text:
        text = _unfold(text)
    lines = text.split("\r\n")
    if len(lines) > MAX_HEADER_LINES + 1:
        raise MalformedMessage(f"the message has more than {MAX_HEADER_LINES} headers", status=513)
    if text.count("\n") != len(lines) - 1 or text.count("\r") != len(lines) - 1:
        raise MalformedMessage("a line end must be CR LF")
    start_line = lines.pop(0)
    try:
        # What nearly every message is: known names in a usual spelling, and not one very long line.
        if len(text) > MAX_HEADER_LENGTH:
            raise KeyError
        items = [(CANONICAL[name], value.strip(LWS)) for name, value in [line.split(":", 1) for line in lines]]
    except (KeyError, ValueError):
        items = [_read_header(line) for line in lines]
    return _parse_start_line(start_line, Headers.wrap(items))


def reason_of(code: int) -> str:
    """Return the usual reason phrase of a code, that of its class when it has none of its own."""
    if code in sip_status_messages:
        return sip_status_messages[code]
    return sip_status_messages[code // 100 * 100] if code // 100 in {3, 4, 5} else "Unknown"


def _parse_start_line(line: str, headers: Headers) -> Request | Response:
    if len(line) > MAX_HEADER_LENGTH:
        raise MalformedMessage("the start line is too long", status=414)
    first, _, rest = line.partition(" ")
    if "/" in first:
        return _parse_status_line(first, rest, headers)
    uri, _, version = rest.strip(LWS).rpartition(" ")
    if version != SIP_VERSION:
        version = _check_version(version)
    if not (first.isascii() and first.isalpha()):
        check_token(first, "the method")
    request = Request(first, uri.strip(LWS), headers)
    request.version = version
    return request


def _parse_status_line(version: str, rest: str, headers: Headers) -> Response:
    code, _, reason = rest.partition(" ")
    if not (len(code) == 3 and code.isascii() and code.isdigit() and "100" <= code <= "699"):
        raise MalformedMessage(f"not a response code: {code[:20]!r}")
    response = Response(int(code), reason, headers)
    if version != SIP_VERSION:
        response.version = _check_version(version)
    return response


def _check_version(version: str) -> str:
    version = version.upper()
    name, _, number = version.partition("/")
    major, dot, minor = number.partition(".")
    if name != "SIP" or not dot or not (major + minor).isdigit() or not number.isascii():
        raise MalformedMessage(f"not a SIP version: {version[:40]!r}")
    return version


def _unfold(text: str) -> str:
    # RFC 3261 7.3.1: a line that starts with a blank continues the one before; the break is worth one space.
    first, *others = text.split("\r\n")
    lines = [first]
    pieces: list[str] = []
    for line in others:
        if line[:1] in {" ", "\t"}:
            pieces.append(line.strip(LWS))
            continue
        if pieces:
            lines[-1] = " ".join([lines[-1], *pieces])
            pieces = []
        lines.append(line)
    if pieces:
        lines[-1] = " ".join([lines[-1], *pieces])
    return "\r\n".join(lines)


def _read_header(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    canonical = CANONICAL.get(name) or _header_name(name)
    if not colon or len(value) > MAX_HEADER_LENGTH:
        raise _bad_line(line)
    return canonical, value.strip(LWS)


def _header_name(name: str) -> str:
    name = name.rstrip(LWS)
    known = CANONICAL.get(name) or CANONICAL.get(name.lower())
    if known is not None:
        return known
    if not is_token(name):
        raise MalformedMessage(f"not a header name: {name[:40]!r}")
    return name


def _bad_line(line: str) -> MalformedMessage:
    if len(line) > MAX_HEADER_LENGTH:
        return MalformedMessage(f"a header is longer than {MAX_HEADER_LENGTH} characters", status=513)
    return MalformedMessage(f"a header has no colon: {line[:40]!r}")
