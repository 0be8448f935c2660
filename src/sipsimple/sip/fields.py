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
    "Parsed",
    "all_of",
    "at_most_one",
    "one",
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
Reader = Callable[[Headers, str], T]
"""Takes the headers of a message, and the canonical name of the one to read."""


def remembered(parse: Callable[[str], T]) -> Callable[[str], T]:
    """Parse each short value once: all messages of a dialog hold the same few, and what comes out is frozen."""
    known = lru_cache(maxsize=MAX_REMEMBERED)(parse)

    def look_up(value: str) -> T:
        return known(value) if len(value) <= MAX_REMEMBERED_LENGTH else parse(value)

    return look_up


class HasHeaders(Protocol):
    """A message, as far as this module knows it."""

    headers: Headers


class Parsed(Generic[T]):
    """An attribute that parses its header on first use and keeps the result until the headers change."""

    def __init__(self, name: str, read: Reader[T]) -> None:
        self.name = name
        self.read = read

    def __get__(self, message: HasHeaders, owner: type) -> T:
        headers, name = message.headers, self.name
        if name in headers.cache:
            known: T = headers.cache[name]
            return known
        value = headers.cache[name] = self.read(headers, name)
        return value

    def __set__(self, message: HasHeaders, value: T) -> None:
        raise AttributeError(f"{self.name} is read from the headers: change message.headers instead")


def one(parse: Callable[[str], T]) -> Reader[T]:
    """Read a header that must be there."""

    def read(headers: Headers, name: str) -> T:
        value = headers.get(name)
        if value is None:
            raise MalformedMessage(f"there is no {name}")
        return parse(value)

    return read


def at_most_one(parse: Callable[[str], T]) -> Reader[T | None]:
    """Read a header that may be absent."""

    def read(headers: Headers, name: str) -> T | None:
        value = headers.get(name)
        return None if value is None else parse(value)

    return read


def all_of(parse: Callable[[str], T]) -> Reader[list[T]]:
    """Read a header that may hold a list, over any number of lines."""

    def read(headers: Headers, name: str) -> list[T]:
        elements = [element for value in headers.get_all(name) for element in split_list(value)]
        if len(elements) > MAX_LIST_ELEMENTS:
            raise MalformedMessage(f"there are more than {MAX_LIST_ELEMENTS} values of {name}", status=513)
        return [parse(element) for element in elements]

    return read


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
