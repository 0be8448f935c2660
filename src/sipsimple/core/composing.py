"""Builds the requests and responses that the core sends (RFC 3261 8.1.1, 8.2.6, 12.2.1.1)."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from typing import Any, Final

from sipsimple.sip.errors import SIPCoreError
from sipsimple.sip.frozen import frozendict, replaced
from sipsimple.sip.headers import FrozenHeader
from sipsimple.sip.message import Headers, Request, Response
from sipsimple.sip.transport import DEFAULT_PORTS, Destination, Peer, TransportName
from sipsimple.sip.transport.address import bare_host, is_ip_literal
from sipsimple.sip.uri import SIPURI, FrozenSIPURI

MAX_FORWARDS: Final = "70"
ALLOW: Final = "INVITE, ACK, CANCEL, BYE, OPTIONS, PRACK, UPDATE, INFO, MESSAGE, SUBSCRIBE, NOTIFY, REFER"
SUPPORTED: Final = "100rel, timer, replaces, norefersub"
"""Option tags that a Require may name."""
ACCEPT: Final = "application/sdp"
SDP_TYPE: Final = "application/sdp"

_SESSION_HEADERS: Final = (FrozenHeader("Allow", ALLOW), FrozenHeader("Supported", SUPPORTED))
_TRANSPORTS: Final[dict[str, TransportName]] = {"udp": "udp", "tcp": "tcp", "tls": "tls"}
_GENERATED: Final = frozenset(
    name.lower()
    for name in ("Via", "From", "To", "Call-ID", "CSeq", "Contact", "Max-Forwards", "Content-Length", "Route")
)


def token(octets: int = 8) -> str:
    """A fresh tag, Call-ID or branch: lower-case hexadecimal text that nobody can guess."""
    return secrets.token_hex(octets)


def session_headers() -> tuple[FrozenHeader, FrozenHeader]:
    """What requests and responses that make or change a session say of us."""
    return _SESSION_HEADERS


def check_final(code: int, lowest: int = 200) -> None:
    """Raise ValueError unless this code may answer a request other than INVITE, which 408 must not (RFC 4320 4.2)."""
    if not lowest <= code <= 699 or code == 408:
        raise ValueError(f"an answer has a code from {lowest} to 699 other than 408, not {code}")


def first_cseq() -> int:
    """A first CSeq number: below 2**31 with room to count on (RFC 3261 8.1.1.5)."""
    return secrets.randbelow(30000) + 1


def compose_request(
    method: str,
    uri: FrozenSIPURI,
    *,
    from_header: Any,
    to_header: Any,
    call_id: str,
    cseq: int,
    contact: Any = None,
    route: Any = None,
    extra: Iterable[Any] = (),
    content_type: str | None = None,
    body: bytes = b"",
) -> Request:
    """Build a request outside a dialog; the transport layer puts the Via on top."""
    headers = Headers()
    if route is not None:
        headers.add("Route", loose(route))
    headers.add("Max-Forwards", MAX_FORWARDS)
    headers.add("From", from_header.body)
    headers.add("To", to_header.body)
    headers.add("Call-ID", call_id)
    headers.add("CSeq", f"{cseq} {method}")
    if contact is not None:
        headers.add("Contact", contact.body)
    add_extra(headers, extra)
    if content_type is not None:
        headers.add("Content-Type", content_type)
    return Request(method, uri, headers, body)


def tagged(header: Any, tag: str) -> Any:
    """The same From or To, frozen, with this tag."""
    frozen = header.frozen_type.new(header)
    return replaced(frozen, parameters=frozendict({**frozen.parameters, "tag": tag}))


def add_extra(headers: Headers, extra: Iterable[Any]) -> None:
    for header in extra:
        headers.add(header.name, header.body)


def checked_extra(extra_headers: Iterable[Any] | None, forbidden: Iterable[str] = ()) -> tuple[Any, ...]:
    """The application's own headers, frozen; raises ValueError for one that the stack writes itself."""
    if not extra_headers:
        return ()
    refused = _GENERATED.union(name.lower() for name in forbidden)
    frozen = []
    for header in extra_headers:
        if header.name.lower() in refused:
            raise ValueError(f"the header {header.name} is written by the stack; it cannot be an extra header")
        frozen.append(header.frozen_type.new(header) if hasattr(header, "frozen_type") else FrozenHeader.new(header))
    return tuple(frozen)


def loose(route: Any) -> str:
    """The value of a Route header, always with `lr` (RFC 3261 19.1.1), and an address where `maddr` has one."""
    uri = route.uri
    if "lr" in uri.parameters and "maddr" not in uri.parameters:
        return str(route.body)
    written = SIPURI.new(uri)
    written.parameters = {**uri.parameters, "lr": None}
    # The domain with its address beside it is between the lookup and the transports; servers expect one of the two.
    written.host = written.parameters.pop("maddr", None) or uri.host
    return f"<{written}>"


def destination_of(uri: Any) -> Destination:
    """Where a message for this URI goes; raises SIPCoreError when its host is a name, which DNS resolves elsewhere.

    A name with its address in `maddr` (RFC 3261 19.1.1) is fine; for TLS it is then the name that gets verified.
    """
    host = bare_host(uri.parameters.get("maddr") or uri.host)
    if not is_ip_literal(host):
        raise SIPCoreError(f"{uri.host!r} is not an IP address: look it up with DNSLookup and pass a route")
    name = "tls" if uri.secure else str(uri.parameters.get("transport") or "udp").lower()
    transport = _TRANSPORTS.get(name)
    if transport is None:
        raise SIPCoreError(f"the transport {name!r} is unknown: it is one of {', '.join(_TRANSPORTS)}")
    port = uri.port or DEFAULT_PORTS[transport]
    if transport != "tls":
        return Destination(transport, host, port)
    return Destination(transport, host, port, Peer(() if is_ip_literal(uri.host) else (uri.host,)))


def response_to(
    request: Request,
    code: int,
    reason: str | None = None,
    *,
    to_tag: str | None = None,
    contact: Any = None,
    extra: Iterable[Any] = (),
    content_type: str | None = None,
    body: bytes = b"",
) -> Response:
    """Answer a request (RFC 3261 8.2.6)."""
    response = request.make_response(code, reason, to_tag=to_tag)
    headers = response.headers
    if contact is not None:
        headers.add("Contact", contact.body)
    add_extra(headers, extra)
    if content_type is not None:
        headers.add("Content-Type", content_type)
    response.body = body
    return response
