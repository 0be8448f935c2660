"""Is a message good enough to act on? (RFC 3261 8.1.1, 8.2, 16.3, 18.3, 20)

Parsing a message and judging it are apart, so that a request that is wrong can still be answered with a response that
says so.
"""

from __future__ import annotations

from typing import Final

from sipsimple.sip.errors import MalformedMessage
from sipsimple.sip.fields import MAX_REMEMBERED_LENGTH, AllOf, AtMostOne, One
from sipsimple.sip.message import SIP_VERSION, Message, Request

__all__ = ["validate"]

MANDATORY: Final = ("Via", "From", "To", "Call-ID", "CSeq")

SINGLE: Final = frozenset(
    {
        "Call-ID",
        "Content-Length",
        "Content-Type",
        "CSeq",
        "Event",
        "Expires",
        "From",
        "Max-Forwards",
        "Min-Expires",
        "Refer-To",
        "Replaces",
        "Retry-After",
        "Session-Expires",
        "Subscription-State",
        "To",
    }
)
"""Headers whose grammar has no list: a second one leaves open which is meant."""

_ONCE: Final = {field.header: field for field in vars(Message).values() if isinstance(field, One | AtMostOne)}
_LISTS: Final = {field.header: field.attribute for field in vars(Message).values() if isinstance(field, AllOf)}
"""What reads each header that is relied on."""


def validate(message: Message) -> None:
    """Check all that the layers above rely on; afterwards no property of the message raises.

    Raises `MalformedMessage`, whose `status` is the code to answer a request with: 400, 414, 416, 505 or 513. A
    malformed response is dropped.
    """
    if message.version != SIP_VERSION:
        raise MalformedMessage(f"{message.version} is not spoken here", status=505)
    headers = message.headers
    present = headers.first
    if len(present) < len(headers):
        _check_repeated(message)
    for name in MANDATORY:
        if name not in present:
            raise MalformedMessage(f"there is no {name}")
    _read(message)
    sequence_number, method = message.cseq
    if isinstance(message, Request):
        if method != message.method:
            raise MalformedMessage(f"CSeq {sequence_number} is for {method}, the request is {message.method}")
        if message.uri.headers:
            raise MalformedMessage("a Request-URI has no headers")
    if "Content-Length" in present and (message.content_length or 0) > len(message.body):
        raise MalformedMessage(f"the body has {len(message.body)} bytes, not {message.content_length}")


def _check_repeated(message: Message) -> None:
    seen: set[str] = set()
    for name, _ in message.headers:
        if name in seen and name in SINGLE:
            raise MalformedMessage(f"there is more than one {name}")
        seen.add(name)


def _read(message: Message) -> None:
    """Parse in one pass what the properties of the message would parse one by one."""
    held = message.headers.cache
    for name, value in message.headers:
        field = _ONCE.get(name)
        if field is not None:
            parse = field.parse if len(value) <= MAX_REMEMBERED_LENGTH else field.parse_long
            held[field.attribute] = parse(value)
        elif name in _LISTS:
            getattr(message, _LISTS[name])
    if "contacts" in held and len(message.contacts) > 1 and any(contact.uri is None for contact in message.contacts):
        raise MalformedMessage("the wildcard contact stands alone")
