"""How each header of a message becomes a value: one, at most one, or a list, parsed when it is touched.

Every parser here takes raw values and raises `MalformedMessage` alone.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Final, Generic, Protocol, TypeVar

from sipsimple.sip.errors import MalformedMessage
from sipsimple.sip.header_list import Headers
from sipsimple.sip.lexer import LWS, MAX_INTEGER, check_token, parse_integer, parse_parameters, split_list

__all__ = [
    "MAX_LIST_ELEMENTS",
    "MAX_REMEMBERED_LENGTH",
    "AllOf",
    "AtMostOne",
    "FirstOf",
    "One",
    "Parsed",
    "parse_call_id",
    "parse_content_length",
    "parse_content_type",
    "parse_cseq",
    "parse_max_forwards",
    "parse_seconds",
    "remembered",
]

MAX_LIST_ELEMENTS: Final = 64
"""The most Via, Contact or Route values that one message may hold, however they are spread over header lines."""

MAX_CSEQ: Final = 2**31 - 1
MAX_CALL_ID_LENGTH: Final = 1024
MAX_REMEMBERED: Final = 1024
MAX_REMEMBERED_LENGTH: Final = 256

T = TypeVar("T")
V = TypeVar("V")


def remembered(parse: Callable[[str], T]) -> Callable[[str], T]:
    """Parse each value once: all messages of a dialog hold the same few, and what comes out is frozen."""
    return lru_cache(maxsize=MAX_REMEMBERED)(parse)


class HasHeaders(Protocol):
    """A message, as far as this module knows it."""

    headers: Headers


class Parsed(Generic[V, T]):
    """An attribute that parses its header on first use.

    The result goes into the cache of the headers, which is the `__dict__` of the message: Python finds it there by
    itself from then on, until the headers change. Nothing is to be assigned to it: change the headers.
    """

    attribute: str

    def __init__(self, header: str, parse: Callable[[str], V]) -> None:
        """`parse` reads one value; when it is a `remembered` one, values that are too long for that go past it."""
        self.header = header
        self.parse = parse
        self.parse_long = getattr(parse, "__wrapped__", parse)

    def __set_name__(self, owner: type, name: str) -> None:
        self.attribute = name

    def __get__(self, message: HasHeaders, owner: type) -> T:
        value = message.headers.cache[self.attribute] = self.read(message.headers)
        return value

    def read(self, headers: Headers) -> T:
        """Read the header; raises MalformedMessage."""
        raise NotImplementedError(f"{type(self).__name__} does not say how many there are of {self.header}")

    def _parse_one(self, value: str) -> V:
        return self.parse(value) if len(value) <= MAX_REMEMBERED_LENGTH else self.parse_long(value)


class One(Parsed[V, V]):
    """A header that must be there."""

    def read(self, headers: Headers) -> V:
        value = headers.get(self.header)
        if value is None:
            raise MalformedMessage(f"there is no {self.header}")
        return self._parse_one(value)


class AtMostOne(Parsed[V, V | None]):
    """A header that may be absent."""

    def read(self, headers: Headers) -> V | None:
        value = headers.get(self.header)
        return None if value is None else self._parse_one(value)


class AllOf(Parsed[V, list[V]]):
    """A header that may hold a list, over any number of lines."""

    def read(self, headers: Headers) -> list[V]:
        values = headers.get_all(self.header)
        if len(values) == 1 and "," not in values[0]:
            return [self._parse_one(values[0])]
        elements = [element for value in values for element in split_list(value)]
        if len(elements) > MAX_LIST_ELEMENTS:
            raise MalformedMessage(f"there are more than {MAX_LIST_ELEMENTS} values of {self.header}", status=513)
        return [self._parse_one(element) for element in elements]


class FirstOf(Parsed[V, V]):
    """The first of a list, which must not be empty."""

    def __init__(self, values: AllOf[V]) -> None:
        super().__init__(values.header, values.parse)
        self._values = values

    def read(self, headers: Headers) -> V:
        held = headers.cache
        if self._values.attribute not in held:
            held[self._values.attribute] = self._values.read(headers)
        if not held[self._values.attribute]:
            raise MalformedMessage(f"there is no {self.header}")
        first: V = held[self._values.attribute][0]
        return first


def parse_call_id(value: str) -> str:
    """Read a Call-ID: one word."""
    if not value or " " in value or "\t" in value or len(value) > MAX_CALL_ID_LENGTH:
        raise MalformedMessage(f"not a Call-ID: {value[:40]!r}")
    return value


def parse_cseq(value: str) -> tuple[int, str]:
    """Read a CSeq: a number below 2**31 (RFC 3261 8.1.1.5) and a method."""
    parts = value.split()
    if len(parts) != 2:
        raise MalformedMessage(f"not a CSeq: {value[:40]!r}")
    method = parts[1]
    if not (method.isascii() and method.isalpha()):
        check_token(method, "the method of CSeq")
    return parse_integer(parts[0], "CSeq", MAX_CSEQ), method


def parse_max_forwards(value: str) -> int:
    """Read a Max-Forwards: 0 to 255 (RFC 3261 20.22)."""
    return parse_integer(value, "Max-Forwards", 255)


def parse_content_length(value: str) -> int:
    """Read a Content-Length, in bytes."""
    return parse_integer(value, "Content-Length")


def parse_seconds(value: str) -> int:
    """Read a number of seconds; one above 2**32 - 1 counts as that (RFC 3261 20.19)."""
    if value.isascii() and value.isdigit() and len(value.lstrip("0")) > 9:
        return min(int(value.lstrip("0")[:11]), MAX_INTEGER)
    return parse_integer(value, "a number of seconds")


def parse_content_type(value: str) -> tuple[str, dict[str, str | None]]:
    """Read a Content-Type: the MIME type in lower case, and its parameters."""
    media, semicolon, parameters = value.partition(";")
    return _media_type(media), parse_parameters(parameters) if semicolon else {}


@lru_cache(maxsize=64)
def _media_type(media: str) -> str:
    kind, slash, subtype = media.partition("/")
    if not slash:
        raise MalformedMessage(f"not a Content-Type: {media[:40]!r}")
    kind = check_token(kind.strip(LWS), "a MIME type")
    subtype = check_token(subtype.strip(LWS), "a MIME subtype")
    return f"{kind}/{subtype}".lower()
