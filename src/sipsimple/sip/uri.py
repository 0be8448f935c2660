"""SIP and SIPS URIs (RFC 3261 19.1), and what other URIs look like where a header allows any scheme.

Attributes hold plain text; the characters that the grammar forbids are escaped on the way out and unescaped on the
way in, octets that are not UTF-8 included. URIs compare field by field, not by the folding of RFC 3261 19.1.4.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final, Self
from urllib.parse import quote as percent_quote
from urllib.parse import unquote as percent_unquote

from sipsimple.sip.errors import MalformedURI
from sipsimple.sip.frozen import EMPTY, Frozen, Mutable, Twin, frozendict, mapping, text, text_or_none, truth

__all__ = ["SIPURI", "BaseSIPURI", "ForeignURI", "FrozenForeignURI", "FrozenSIPURI", "parse_any_uri", "parse_sip_uri"]

KNOWN_PARAMETERS: Final = frozenset({"user", "method", "transport", "ttl", "lr", "maddr"})
MAX_URI_LENGTH: Final = 4096
URI_CACHE_SIZE: Final = 512
"""Within a call the same few addresses come in every message, and frozen values can be shared."""

_MARK: Final = "-_.!~*'()"
_USER_SAFE: Final = _MARK + "&=+$,;?/"
_PASSWORD_SAFE: Final = _MARK + "&=+$,"
_PARAMETER_SAFE: Final = _MARK + "[]/:&+$"
_HEADER_SAFE: Final = _MARK + "[]/?:+$"

_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+\-.]*")
_HOST: Final = re.compile(r"[A-Za-z0-9\-._]+")
_IPV6: Final = re.compile(r"[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*")
_ALLOWED: Final = re.compile(r"[^\x00-\x20\x7f<>\"]+")
_BAD_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")


def host_name(name: str, value: Any, frozen: bool) -> str:
    """Rule: a host is text; the brackets of an IPv6 address are not part of it."""
    host = text(name, value, frozen)
    return host[1:-1] if host.startswith("[") and host.endswith("]") else host


def port_number(name: str, value: Any, frozen: bool) -> int | None:
    """Rule: a port is 1 to 65535 or `None`."""
    if value is None:
        return None
    port = int(value)
    if not 1 <= port <= 65535:
        raise ValueError(f"{name} must be between 1 and 65535, not {port}")
    return port


def format_host(host: str, port: int | None) -> str:
    """Write `host:port`, an IPv6 address in brackets."""
    if ":" in host:
        host = f"[{host}]"
    return host if port is None else f"{host}:{port}"


def parse_host(text: str) -> tuple[str, int | None]:
    """Read `host[:port]`; an IPv6 address loses its brackets."""
    if text.startswith("["):
        host, closed, rest = text[1:].partition("]")
        if not closed or _IPV6.fullmatch(host) is None or (rest and not rest.startswith(":")):
            raise MalformedURI(f"not an IPv6 address: {text[:60]!r}")
        colon, digits = rest[:1], rest[1:]
    else:
        host, colon, digits = text.partition(":")
        if _HOST.fullmatch(host) is None:
            raise MalformedURI(f"not a host: {text[:60]!r}")
    if not colon:
        return host, None
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 5 and 1 <= int(digits) <= 65535):
        raise MalformedURI(f"not a port: {digits[:20]!r}")
    return host, int(digits)


class BaseSIPURI(Twin):
    """Where to reach somebody: `sip:user@host;parameters?headers`."""

    _rules = {
        "host": host_name,
        "user": text_or_none,
        "password": text_or_none,
        "port": port_number,
        "secure": truth,
        "parameters": mapping,
        "headers": mapping,
    }

    host: str
    user: str | None
    password: str | None
    port: int | None
    secure: bool
    parameters: Mapping[str, str | None]
    headers: Mapping[str, str | None]

    def __init__(  # the documented signature
        self,
        host: str,
        user: str | None = None,
        password: str | None = None,
        port: int | None = None,
        secure: bool = False,
        parameters: Mapping[str, str | None] | None = None,
        headers: Mapping[str, str | None] | None = None,
    ) -> None:
        self._fill(
            host=host,
            user=user,
            password=password,
            port=port,
            secure=secure,
            parameters=EMPTY if parameters is None else parameters,
            headers=EMPTY if headers is None else headers,
        )

    @classmethod
    def parse(cls, uri: str) -> Self:
        """Read a SIP or SIPS URI; raises `MalformedURI`, a `SIPCoreError`, for anything else."""
        if not isinstance(uri, str):
            raise TypeError(f"a URI must be str, not {type(uri).__name__}")
        return cls._adopt(_parse(uri))

    def __str__(self) -> str:
        result = "sips:" if self.secure else "sip:"
        if self.user is not None:
            result += _escape(self.user, _USER_SAFE)
            if self.password is not None:
                result += f":{_escape(self.password, _PASSWORD_SAFE)}"
            result += "@"
        result += format_host(self.host, self.port)
        for name, value in self.parameters.items():
            result += ";" + _pair(name, value, _PARAMETER_SAFE)
        if self.headers:
            result += "?" + "&".join(_pair(name, value, _HEADER_SAFE) for name, value in self.headers.items())
        return result


class SIPURI(Mutable, BaseSIPURI):
    """A SIP URI that may be changed."""

    parameters: dict[str, str | None]
    headers: dict[str, str | None]


class FrozenSIPURI(Frozen, BaseSIPURI, normal=SIPURI):
    """A SIP URI that never changes."""

    parameters: frozendict[str, str | None]
    headers: frozendict[str, str | None]


class _Foreign(BaseSIPURI):
    """A URI of another scheme (`tel:`, `mailto:`), kept as it came."""

    _rules = {**BaseSIPURI._rules, "scheme": text, "raw": text}
    _compared = ("raw",)

    scheme: str
    raw: str

    def __init__(self, uri: str) -> None:
        self._fill(**_foreign_values(uri))

    def __str__(self) -> str:
        return self.raw

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.raw!r})"


class ForeignURI(_Foreign, SIPURI):
    """A URI of another scheme, in a header that may be changed; `user` is what follows the scheme, `host` is empty."""


class FrozenForeignURI(_Foreign, FrozenSIPURI, normal=ForeignURI):
    """A URI of another scheme; `user` is what follows the scheme, `host` is empty."""


@lru_cache(maxsize=URI_CACHE_SIZE)
def parse_any_uri(uri: str) -> FrozenSIPURI:
    """Read the URI of a header that allows every scheme (RFC 3261 20.10, 20.20, 20.39)."""
    scheme = uri.partition(":")[0].lower()
    if scheme in {"sip", "sips"}:
        return parse_sip_uri(uri)
    return FrozenForeignURI._adopt(_foreign_values(uri))


@lru_cache(maxsize=URI_CACHE_SIZE)
def parse_sip_uri(uri: str) -> FrozenSIPURI:
    """As `FrozenSIPURI.parse`, for what comes again and again."""
    return FrozenSIPURI.parse(uri)


def _parse(uri: str) -> dict[str, Any]:
    scheme, colon, rest = uri.partition(":")
    if not colon or _SCHEME.fullmatch(scheme) is None:
        raise MalformedURI(f"not a URI: {uri[:60]!r}")
    scheme = scheme.lower()
    if scheme not in {"sip", "sips"}:
        raise MalformedURI(f"not a SIP URI: {uri[:60]!r}", status=416)
    _check_characters(uri)
    userinfo, at, rest = rest.rpartition("@")
    user, password = _parse_userinfo(userinfo) if at else (None, None)
    rest, question, header_text = rest.partition("?")
    address, semicolon, parameter_text = rest.partition(";")
    host, port = parse_host(address)
    return {
        "host": host,
        "user": user,
        "password": password,
        "port": port,
        "secure": scheme == "sips",
        "parameters": frozendict(_parse_parameters(parameter_text)) if semicolon else EMPTY,
        "headers": frozendict(_parse_pairs(header_text, "&")) if question else EMPTY,
    }


def _parse_userinfo(userinfo: str) -> tuple[str, str | None]:
    if "@" in userinfo:
        raise MalformedURI(f"an at sign in a user name must be escaped: {userinfo[:60]!r}")
    user, colon, password = userinfo.partition(":")
    if not user:
        raise MalformedURI("the user name is empty")
    return _unescape(user), _unescape(password) if colon else None


def _parse_parameters(parameters: str) -> dict[str, str | None]:
    pairs = _parse_pairs(parameters, ";")
    if pairs.keys() <= KNOWN_PARAMETERS:
        return pairs
    return {name.lower() if name.lower() in KNOWN_PARAMETERS else name: value for name, value in pairs.items()}


def _parse_pairs(pairs: str, separator: str) -> dict[str, str | None]:
    result: dict[str, str | None] = {}
    for pair in pairs.split(separator):
        name, equals, value = pair.partition("=")
        if not name:
            raise MalformedURI("a URI parameter or header has no name")
        result.setdefault(_unescape(name), _unescape(value) if equals else None)
    return result


def _foreign_values(uri: str) -> dict[str, Any]:
    scheme, colon, rest = text("uri", uri, True).partition(":")
    if not colon or not rest or _SCHEME.fullmatch(scheme) is None:
        raise MalformedURI(f"not a URI: {uri[:60]!r}")
    _check_characters(uri)
    return {
        "host": "",
        "user": rest.partition(";")[0],
        "password": None,
        "port": None,
        "secure": False,
        "parameters": EMPTY,
        "headers": EMPTY,
        "scheme": scheme.lower(),
        "raw": uri,
    }


def _check_characters(uri: str) -> None:
    if len(uri) > MAX_URI_LENGTH:
        raise MalformedURI(f"a URI is longer than {MAX_URI_LENGTH} characters", status=414)
    if _ALLOWED.fullmatch(uri) is None:
        raise MalformedURI(f"a URI has a character that must be escaped: {uri[:60]!r}")
    if "%" in uri and _BAD_ESCAPE.search(uri) is not None:
        raise MalformedURI(f"a URI has a broken escape: {uri[:60]!r}")


def _pair(name: str, value: str | None, safe: str) -> str:
    return _escape(name, safe) if value is None else f"{_escape(name, safe)}={_escape(value, safe)}"


def _escape(plain: str, safe: str) -> str:
    if plain.isascii() and plain.isalnum():
        return plain
    return percent_quote(plain, safe=safe, errors="surrogateescape")


def _unescape(escaped: str) -> str:
    if "%" not in escaped:
        return escaped
    plain = percent_unquote(escaped, errors="surrogateescape")
    # Octets that came plain and octets that came escaped may be one letter together.
    return plain if plain.isascii() else plain.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")
