"""A message as notifications show it: headers by name, each as the value that applications expect.

Credentials and challenges are left out: notifications end up in logs. Of a header that may come once, the first counts;
a header that cannot be read is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from sipsimple.sip.errors import MalformedMessage
from sipsimple.sip.fields import parse_content_length, parse_cseq, parse_max_forwards, parse_seconds
from sipsimple.sip.headers import (
    FrozenContactHeader,
    FrozenEventHeader,
    FrozenFromHeader,
    FrozenHeader,
    FrozenRecordRouteHeader,
    FrozenRetryAfterHeader,
    FrozenRouteHeader,
    FrozenSubscriptionStateHeader,
    FrozenToHeader,
    FrozenViaHeader,
    FrozenWarningHeader,
)
from sipsimple.sip.lexer import LWS, split_list
from sipsimple.sip.message import Message, Request, Response

__all__ = ["LazyHeaders", "message_attributes", "notification_headers"]

Convert = Callable[[str], Any]

OMITTED: Final = frozenset({"Authorization", "Proxy-Authenticate", "Proxy-Authorization", "WWW-Authenticate"})


def _word(value: str) -> str:
    return value


def _mime_type(value: str) -> tuple[str, str]:
    mime_type, _, parameters = value.partition(";")
    return mime_type.strip(LWS), parameters.strip(LWS)


def _first_warning(value: str) -> FrozenWarningHeader:
    return FrozenWarningHeader.parse(split_list(value)[0])


LISTS: Final[dict[str, Convert]] = {
    "Accept": _word,
    "Allow": _word,
    "Allow-Events": _word,
    "Contact": FrozenContactHeader.parse,
    "Record-Route": FrozenRecordRouteHeader.parse,
    "Require": _word,
    "Route": FrozenRouteHeader.parse,
    "Supported": _word,
    "Unsupported": _word,
    "Via": FrozenViaHeader.parse,
}

SINGLES: Final[dict[str, Convert]] = {
    "CSeq": parse_cseq,
    "Content-Length": parse_content_length,
    "Content-Type": _mime_type,
    "Event": FrozenEventHeader.parse,
    "Expires": parse_seconds,
    "From": FrozenFromHeader.parse,
    "Max-Forwards": parse_max_forwards,
    "Min-Expires": parse_seconds,
    "Retry-After": FrozenRetryAfterHeader.parse,
    "Subscription-State": FrozenSubscriptionStateHeader.parse,
    "To": FrozenToHeader.parse,
    "Warning": _first_warning,
}


def notification_headers(message: Message, only: str | None = None) -> dict[str, Any]:
    """Return the headers of a message by name, or the one that is asked for, converted as its kind demands."""
    headers: dict[str, Any] = {}
    for name, value in message.headers:
        if only is not None and name != only:
            continue
        if name in OMITTED or (name in headers and name not in LISTS):
            continue
        try:
            if name in LISTS:
                convert = LISTS[name]
                elements = [convert(element) for element in split_list(value)] if value else []
                headers.setdefault(name, []).extend(elements)
            elif name in SINGLES:
                headers[name] = SINGLES[name](value)
            else:
                headers[name] = FrozenHeader(name, value)
        except MalformedMessage:
            continue
    return headers


class LazyHeaders(Mapping[str, Any]):
    """The headers of a message by name, parsed when somebody looks: most notifications are never read that far."""

    __slots__ = ("_headers", "_message")

    def __init__(self, message: Message) -> None:
        self._message = message
        self._headers: dict[str, Any] | None = None

    def _parsed(self) -> dict[str, Any]:
        if self._headers is None:
            self._headers = notification_headers(self._message)
        return self._headers

    def __getitem__(self, name: str) -> Any:
        if self._headers is None:
            return notification_headers(self._message, name)[name]
        return self._headers[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._parsed())

    def __len__(self) -> int:
        return len(self._parsed())

    def __repr__(self) -> str:
        return repr(self._parsed())


def message_attributes(message: Request | Response) -> dict[str, Any]:
    """Return what a notification that carries a message says of it: headers, body, and the parts of its first line.

    `body` is `None` when there is none. `request_uri` is `None` when it is not a SIP URI.
    """
    attributes: dict[str, Any] = {"headers": LazyHeaders(message), "body": message.body or None}
    if isinstance(message, Response):
        attributes.update(code=message.code, reason=message.reason)
        return attributes
    try:
        request_uri = message.uri
    except MalformedMessage:
        request_uri = None
    attributes.update(method=message.method, request_uri=request_uri)
    return attributes
