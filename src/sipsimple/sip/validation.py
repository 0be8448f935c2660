"""Is a message good enough to act on? (RFC 3261 8.1.1, 8.2, 16.3, 18.3, 20)

Parsing a message and judging it are apart, so that a request that is wrong can still be answered with a response that
says so.
"""

from __future__ import annotations

from typing import Final

from sipsimple.sip.errors import MalformedMessage
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

OPTIONAL: Final = {
    "Max-Forwards": "max_forwards",
    "Expires": "expires",
    "Content-Type": "content_type",
    "Content-Length": "content_length",
    "Route": "routes",
    "Record-Route": "record_routes",
}
"""Headers that a message may have or not, and the attribute that reads each."""


def validate(message: Message) -> None:
    """Check all that the layers above rely on; afterwards no property of the message raises.

    Raises `MalformedMessage`, whose `status` is the code to answer a request with: 400, 414, 416, 505 or 513. A
    malformed response is dropped.
    """
    if message.version != SIP_VERSION:
        raise MalformedMessage(f"{message.version} is not spoken here", status=505)
    present = _check_presence(message)
    sequence_number, method = message.cseq
    if isinstance(message, Request):
        if method != message.method:
            raise MalformedMessage(f"CSeq {sequence_number} is for {method}, the request is {message.method}")
        if message.uri.headers:
            raise MalformedMessage("a Request-URI has no headers")
    _touch(message, present)
    if "Content-Length" in present and (message.content_length or 0) > len(message.body):
        raise MalformedMessage(f"the body has {len(message.body)} bytes, not {message.content_length}")


def _check_presence(message: Message) -> set[str]:
    seen: set[str] = set()
    for name, _ in message.headers:
        if name in seen and name in SINGLE:
            raise MalformedMessage(f"there is more than one {name}")
        seen.add(name)
    for name in MANDATORY:
        if name not in seen:
            raise MalformedMessage(f"there is no {name}")
    return seen


def _touch(message: Message, present: set[str]) -> None:
    _ = message.via, message.from_, message.to, message.call_id
    # Asking for what is not there costs a search through all headers, for every message.
    for name, attribute in OPTIONAL.items():
        if name in present:
            getattr(message, attribute)
    if "Contact" in present:
        contacts = message.contacts
        if len(contacts) > 1 and any(contact.uri is None for contact in contacts):
            raise MalformedMessage("the wildcard contact stands alone")
