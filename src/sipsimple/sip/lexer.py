"""The small pieces that header values are made of (RFC 3261 25.1): tokens, quoted strings, lists, parameters.

Everything here takes one unfolded line of text and raises `MalformedMessage` alone. Parameter values are kept as they
stand on the wire, a quoted string with its quotes; so what is read is what is written.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from sipsimple.sip.errors import MalformedMessage

__all__ = [
    "LWS",
    "MAX_INTEGER",
    "check_token",
    "format_parameters",
    "is_token",
    "parse_integer",
    "parse_parameters",
    "quote",
    "split_address",
    "split_list",
    "unquote",
]

LWS: Final = " \t"
MAX_INTEGER: Final = 2**32 - 1
"""The largest number of seconds, and the largest sequence number, that a header can hold."""

_TOKEN: Final = re.compile(r"[A-Za-z0-9\-.!%*_+`'~]+")
_QUOTED: Final = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_UNSAFE_IN_VALUE: Final = re.compile(r'[\s",;=<>?\\]')
_LIST_PIECE: Final = re.compile(r'"(?:[^"\\]|\\.)*"|<[^>]*>|[^",<]+|,', re.DOTALL)
_PARAMETER_PIECE: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[^";]+|;', re.DOTALL)
_USUAL_PARAMETER: Final = re.compile(r"[A-Za-z0-9\-]+=[\w.\-]+")
"""A tag or a branch that stands alone."""
_USUAL_ADDRESS: Final = re.compile(r'(?:"([^"\\]*)"[ \t]*|([^"<>,;\\]*))<([^<>]*)>(?:;(.+))?')
_AMBIGUOUS: Final = frozenset('",;<>\\')
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)


def is_token(text: str) -> bool:
    """Tell whether the text is a token."""
    return _TOKEN.fullmatch(text) is not None


def check_token(text: str, what: str) -> str:
    """Return the text when it is a token."""
    if _TOKEN.fullmatch(text) is None:
        raise MalformedMessage(f"{what} is not a token: {text[:40]!r}")
    return text


def parse_integer(text: str, what: str, limit: int = MAX_INTEGER) -> int:
    """Return the number that the text stands for, which is not above `limit`."""
    if not (text.isascii() and text.isdigit()):
        raise MalformedMessage(f"{what} is not a number: {text[:40]!r}")
    digits = text.lstrip("0") or "0"
    if len(digits) > 10 or (value := int(digits)) > limit:
        raise MalformedMessage(f"{what} is above {limit}: {text[:40]}")
    return value


def quote(text: str) -> str:
    """Return the text as a quoted string."""
    if "\\" in text or '"' in text:
        text = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'


def unquote(text: str) -> str:
    """Return what a quoted string says."""
    if _QUOTED.fullmatch(text) is None:
        raise MalformedMessage(f"not a quoted string: {text[:40]!r}")
    inner = text[1:-1]
    return _ESCAPED.sub(r"\1", inner) if "\\" in inner else inner


def split_list(body: str) -> list[str]:
    """Split a header value at the commas that stand outside quotes and angle brackets."""
    if "," not in body:
        return [body.strip(LWS)]
    elements = [element.strip(LWS) for element in _split(body, _LIST_PIECE, ",")]
    if "" in elements:
        raise MalformedMessage("a list has an empty element")
    return elements


def parse_parameters(text: str) -> dict[str, str | None]:
    """Read `name=value;name` (what follows the first semicolon); of a repeated name the first counts."""
    if _USUAL_PARAMETER.fullmatch(text) is not None:
        name, _, value = text.partition("=")
        return {name: value}
    parameters: dict[str, str | None] = {}
    parts = _split(text, _PARAMETER_PIECE, ";") if '"' in text else text.split(";")
    for part in parts:
        name, equals, value = part.partition("=")
        name = name.strip(LWS)
        if not (name.isascii() and name.isalnum()):
            check_token(name, "a parameter name")
        if name not in parameters:
            parameters[name] = _parameter_value(value.strip(LWS)) if equals else None
    return parameters


def format_parameters(parameters: Mapping[str, object]) -> str:
    """Write `;name=value` for each parameter, and `;name` for one without a value."""
    text = ""
    for name, value in parameters.items():
        text += f";{name}" if value is None else f";{name}={_safe_value(str(value))}"
    return text


def split_address(body: str) -> tuple[str | None, str, str]:
    """Split a name-addr or an addr-spec into display name, URI text and what follows the first semicolon after it.

    In the form without brackets the parameters belong to the header, not to the URI (RFC 3261 20.10).
    """
    body = body.strip(LWS)
    usual = _USUAL_ADDRESS.fullmatch(body)
    if usual is not None:
        quoted_name, plain_name, uri, parameters = usual.groups()
        return plain_name.strip(LWS) or None if quoted_name is None else quoted_name, uri, parameters or ""
    if body.startswith('"'):
        quoted = _QUOTED.match(body)
        if quoted is None:
            raise MalformedMessage("the quotes of a display name do not close")
        name: str | None = unquote(quoted.group())
        rest = body[quoted.end() :].lstrip(LWS)
        if not rest.startswith("<"):
            raise MalformedMessage("a display name is not followed by an address in brackets")
    else:
        start = body.find("<")
        if start < 0:
            return _split_bare_address(body)
        name = _unquoted_name(body[:start])
        rest = body[start:]
    uri, closed, tail = rest[1:].partition(">")
    if not closed:
        raise MalformedMessage("the brackets of an address do not close")
    return name, uri, _after_semicolon(tail.strip(LWS))


def _split_bare_address(body: str) -> tuple[None, str, str]:
    uri, semicolon, parameters = body.partition(";")
    uri = uri.rstrip(LWS)
    if "?" in uri or "," in uri:
        raise MalformedMessage("an address with a comma or a question mark must stand in brackets")
    if semicolon and not parameters:
        raise MalformedMessage("a semicolon is not followed by a parameter")
    return None, uri, parameters


def _unquoted_name(text: str) -> str | None:
    name = text.strip(LWS)
    if not name:
        return None
    # RFC 3261 allows tokens alone; names in other alphabets and with parentheses are common and do no harm.
    if not _AMBIGUOUS.isdisjoint(name):
        raise MalformedMessage(f"a display name must be quoted: {name[:40]!r}")
    return name


def _after_semicolon(tail: str) -> str:
    if not tail:
        return ""
    parameters = tail[1:]
    if tail[0] != ";" or not parameters:
        raise MalformedMessage(f"an address is followed by {tail[:40]!r}")
    return parameters


def _parameter_value(value: str) -> str:
    if value.isalnum():
        return value
    if _UNSAFE_IN_VALUE.search(value) is not None and _QUOTED.fullmatch(value) is None and not _is_lenient(value):
        raise MalformedMessage(f"a parameter value must be quoted: {value[:40]!r}")
    return value


def _is_lenient(value: str) -> bool:
    # Base64 padding, and URIs given as values, are seen from many senders and cut nothing apart.
    return _AMBIGUOUS.isdisjoint(value) and not any(character.isspace() for character in value)


def _safe_value(value: str) -> str:
    if value.isalnum() or _UNSAFE_IN_VALUE.search(value) is None or _QUOTED.fullmatch(value) is not None:
        return value
    return value if _is_lenient(value) else quote(value)


def _split(text: str, piece: re.Pattern[str], separator: str) -> list[str]:
    parts = []
    current = ""
    position = 0
    while position < len(text):
        found = piece.match(text, position)
        if found is None:
            raise MalformedMessage("quotes or brackets do not close")
        position = found.end()
        token = found.group()
        if token == separator:
            parts.append(current)
            current = ""
        else:
            current += token
    parts.append(current)
    return parts
