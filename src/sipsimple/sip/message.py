"""SIP requests and responses (RFC 3261 7), read once and parsed by the header as each is touched.

`parse_message` splits the bytes into start line, raw headers and body, and no more. A property such as `message.via`
parses its header on first use and keeps the result until the headers change; a header that nobody touched leaves as
it came. `validate` parses all that a user agent relies on, so that afterwards no property raises.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar, cast

from sipsimple.sip.errors import MalformedMessage
from sipsimple.sip.header_list import CANONICAL, Headers
from sipsimple.sip.headers import (
    FrozenContactHeader,
    FrozenFromHeader,
    FrozenRecordRouteHeader,
    FrozenRouteHeader,
    FrozenToHeader,
    FrozenViaHeader,
)
from sipsimple.sip.lexer import (
    LWS,
    MAX_INTEGER,
    check_token,
    is_token,
    parse_integer,
    parse_parameters,
    split_list,
)
from sipsimple.sip.status import sip_status_messages
from sipsimple.sip.uri import FrozenSIPURI

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
MAX_LIST_ELEMENTS: Final = 64
"""The most Via, Contact or Route values that one message may hold, however they are spread over header lines."""

SIP_VERSION: Final = "SIP/2.0"

T = TypeVar("T")


class Message:
    """What requests and responses have in common: headers and a body."""

    __slots__ = ("body", "headers", "version")

    def __init__(self, headers: Headers, body: bytes = b"") -> None:
        self.headers = headers
        self.body = body
        self.version = SIP_VERSION

    @property
    def start_line(self) -> str:
        """The first line, without its line end."""
        raise NotImplementedError(f"{type(self).__name__} has no start line")

    @property
    def via(self) -> FrozenViaHeader:
        """The topmost Via: the nearest hop."""
        return self.vias[0]

    @property
    def vias(self) -> list[FrozenViaHeader]:
        """All hops, the nearest first."""
        vias = self._parsed("Via", _list_of(FrozenViaHeader.parse))
        if not vias:
            raise MalformedMessage("there is no Via")
        return vias

    @property
    def from_(self) -> FrozenFromHeader:
        """The From header."""
        return self._parsed("From", _one(FrozenFromHeader.parse))

    @property
    def to(self) -> FrozenToHeader:
        """The To header."""
        return self._parsed("To", _one(FrozenToHeader.parse))

    @property
    def contacts(self) -> list[FrozenContactHeader]:
        """All contacts, in the order they came."""
        return self._parsed("Contact", _list_of(FrozenContactHeader.parse))

    @property
    def routes(self) -> list[FrozenRouteHeader]:
        """The proxies still to be passed."""
        return self._parsed("Route", _list_of(FrozenRouteHeader.parse))

    @property
    def record_routes(self) -> list[FrozenRecordRouteHeader]:
        """The proxies that want to stay on the path, as listed."""
        return self._parsed("Record-Route", _list_of(FrozenRecordRouteHeader.parse))

    @property
    def call_id(self) -> str:
        """The Call-ID."""
        return self._parsed("Call-ID", _one(_parse_call_id))

    @property
    def cseq(self) -> tuple[int, str]:
        """The sequence number and the method it belongs to."""
        return self._parsed("CSeq", _one(_parse_cseq))

    @property
    def max_forwards(self) -> int | None:
        """How many more proxies the request may pass."""
        return self._parsed("Max-Forwards", _optional(_parse_max_forwards))

    @property
    def expires(self) -> int | None:
        """The Expires header, in seconds."""
        return self._parsed("Expires", _optional(_parse_seconds))

    @property
    def content_type(self) -> tuple[str, dict[str, str | None]] | None:
        """The lower-case MIME type and its parameters; `None` without the header."""
        return self._parsed("Content-Type", _optional(_parse_content_type))

    @property
    def content_length(self) -> int | None:
        """The Content-Length header; `None` when it is absent."""
        return self._parsed("Content-Length", _optional(_parse_content_length))

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

    def _parsed(self, name: str, parse: Callable[[list[str], str], T]) -> T:
        cache = self.headers.cache
        try:
            return cast(T, cache[name])
        except KeyError:
            value = parse(self.headers.get_all(name), name)
            cache[name] = value
            return value


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
            self._uri = FrozenSIPURI.parse(self.raw_uri)
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
        headers = Headers()
        for via in self.headers.get_all("Via"):
            headers.add("Via", via)
        for name in ("From", "To", "Call-ID", "CSeq"):
            value = self.headers.get(name)
            if value is not None:
                headers.add(name, value)
        if to_tag is not None and code != 100:
            _add_tag(headers, to_tag)
        if 101 <= code <= 299:
            for route in self.headers.get_all("Record-Route"):
                headers.add("Record-Route", route)
        if code == 100 and (timestamp := self.headers.get("Timestamp")) is not None:
            headers.add("Timestamp", timestamp)
        return Response(code, reason_of(code) if reason is None else reason, headers)

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

    A body longer than its Content-Length is cut (RFC 3261 18.3); a shorter one is for `validate` to refuse. Raises
    `MalformedMessage`, whatever the bytes.
    """
    if len(data) > MAX_MESSAGE_SIZE:
        raise MalformedMessage(f"the message is larger than {MAX_MESSAGE_SIZE} bytes", status=513)
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
    return message


def parse_head(head: bytes) -> Request | Response:
    """Read start line and headers, without the empty line that ends them; line ends in front are skipped."""
    text = head.decode("utf-8", "surrogateescape")
    if text[:1] in {"\r", "\n"}:
        text = text.lstrip("\r\n")
    if "\r\n " in text or "\r\n\t" in text:
        text = _unfold(text)
    lines = text.split("\r\n")
    if len(lines) > MAX_HEADER_LINES + 1:
        raise MalformedMessage(f"the message has more than {MAX_HEADER_LINES} headers", status=513)
    if text.count("\n") != len(lines) - 1 or text.count("\r") != len(lines) - 1:
        raise MalformedMessage("a line end must be CR LF")
    items: list[tuple[str, str]] = []
    append = items.append
    known = CANONICAL.get
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        canonical = known(name) or _header_name(name)
        if not colon or len(value) > MAX_HEADER_LENGTH:
            raise _bad_line(line)
        append((canonical, value.strip(LWS)))
    return _parse_start_line(lines[0], Headers.wrap(items))


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


def _add_tag(headers: Headers, tag: str) -> None:
    to = headers.get("To")
    if to is None:
        return
    try:
        tagged = FrozenToHeader.parse(to).tag is not None
    except MalformedMessage:
        tagged = ";tag=" in to.replace(" ", "").lower()
    if not tagged:
        headers.set("To", f"{to};tag={tag}")


def _one(parse: Callable[[str], T]) -> Callable[[list[str], str], T]:
    def parse_one(values: list[str], name: str) -> T:
        if not values:
            raise MalformedMessage(f"there is no {name}")
        return parse(values[0])

    return parse_one


def _optional(parse: Callable[[str], T]) -> Callable[[list[str], str], T | None]:
    def parse_optional(values: list[str], name: str) -> T | None:
        return parse(values[0]) if values else None

    return parse_optional


def _list_of(parse: Callable[[str], T]) -> Callable[[list[str], str], list[T]]:
    def parse_list(values: list[str], name: str) -> list[T]:
        elements = [element for value in values for element in split_list(value)]
        if len(elements) > MAX_LIST_ELEMENTS:
            raise MalformedMessage(f"more than {MAX_LIST_ELEMENTS} values of {name}", status=513)
        return [parse(element) for element in elements]

    return parse_list


def _parse_call_id(value: str) -> str:
    if not value or " " in value or "\t" in value:
        raise MalformedMessage(f"not a Call-ID: {value[:40]!r}")
    return value


def _parse_cseq(value: str) -> tuple[int, str]:
    parts = value.split()
    if len(parts) != 2:
        raise MalformedMessage(f"not a CSeq: {value[:40]!r}")
    method = parts[1]
    if not (method.isascii() and method.isalpha()):
        check_token(method, "the method of CSeq")
    # RFC 3261 8.1.1.5: sequence numbers stay below 2**31.
    return parse_integer(parts[0], "CSeq", 2**31 - 1), method


def _parse_max_forwards(value: str) -> int:
    return parse_integer(value, "Max-Forwards", 255)


def _parse_content_length(value: str) -> int:
    return parse_integer(value, "Content-Length")


def _parse_seconds(value: str) -> int:
    if value.isascii() and value.isdigit() and len(value) > 10:
        return MAX_INTEGER
    return min(parse_integer(value, "Expires", 10**10), MAX_INTEGER)


def _parse_content_type(value: str) -> tuple[str, dict[str, str | None]]:
    media, semicolon, parameters = value.partition(";")
    kind, slash, subtype = media.partition("/")
    if not slash:
        raise MalformedMessage(f"not a Content-Type: {value[:40]!r}")
    kind = check_token(kind.strip(LWS), "a MIME type")
    subtype = check_token(subtype.strip(LWS), "a MIME subtype")
    return f"{kind}/{subtype}".lower(), parse_parameters(parameters) if semicolon else {}
