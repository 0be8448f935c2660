"""MSRP URIs and the paths made of them (RFC 4975 6 and 9): `msrps://host:port/session;tcp`.

Two URIs are equal by the rules of RFC 4975 6.1, not letter by letter: a URI that came from the network finds the
session that it names, however its host is written.
"""

from __future__ import annotations

import ipaddress
import re
import secrets
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from sipsimple.msrp.errors import MalformedURI

__all__ = ["DEFAULT_PORT", "MAX_PATH_URIS", "MAX_URI_LENGTH", "MSRPURI", "new_session_id", "parse_path"]

DEFAULT_PORT: Final = 2855
MAX_URI_LENGTH: Final = 1024
MAX_PATH_URIS: Final = 16
_SESSION_ID_BYTES: Final = 10  # RFC 4975 14.1 wants 80 random bits: whoever knows the URI can take the session

_UNRESERVED: Final = r"A-Za-z0-9\-._~"
_URI: Final = re.compile(
    rf"""(?P<scheme>msrps?)://
    (?:(?P<user>[{_UNRESERVED}%!$&'()*+,;=:]*)@)?
    (?P<host>\[[0-9A-Fa-f:.]+\]|[{_UNRESERVED}%!$&'()*+,=]+)
    (?::(?P<port>[0-9]{{1,5}}))?
    (?:/(?P<session>[{_UNRESERVED}+=/]+))?
    ;(?P<transport>[A-Za-z0-9]+)
    (?P<parameters>(?:;[!#$%&'*+\-.^_`|~0-9A-Za-z]+(?:=[!#$%&'*+\-.^_`|~0-9A-Za-z]+)?)*)""",
    re.VERBOSE | re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, eq=False)
class MSRPURI:
    """Where MSRP for one session is sent to. `host` is without brackets; `port` None is written as no port."""

    host: str
    port: int | None = None
    session_id: str | None = None
    use_tls: bool = False
    transport: str = "tcp"
    user: str | None = None
    parameters: tuple[tuple[str, str | None], ...] = ()
    _key: tuple[object, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.port is not None and not 0 < self.port < 65536:
            raise MalformedURI(f"port {self.port} is outside 1-65535")
        key = (self.use_tls, _comparable_host(self.host), self.port, self.session_id, self.transport.lower())
        object.__setattr__(self, "_key", key)

    @classmethod
    def parse(cls, text: str) -> MSRPURI:
        """Read a URI; raises MalformedURI."""
        if len(text) > MAX_URI_LENGTH:
            raise MalformedURI(f"a URI of {len(text)} characters; at most {MAX_URI_LENGTH} are read")
        match = _URI.fullmatch(text)
        if match is None:
            raise MalformedURI(f"{text[:80]!r} is no MSRP URI")
        host = match["host"]
        if host.startswith("["):
            host = host[1:-1]
            try:
                ipaddress.IPv6Address(host)
            except ValueError as error:
                raise MalformedURI(f"[{host}] is no IPv6 address") from error
        return cls(
            host=host,
            port=int(match["port"]) if match["port"] else None,
            session_id=match["session"],
            use_tls=match["scheme"].lower() == "msrps",
            transport=match["transport"],
            user=match["user"],
            parameters=tuple(_parameter(part) for part in match["parameters"].split(";")[1:]),
        )

    @property
    def scheme(self) -> str:
        """`msrps` over TLS, else `msrp`."""
        return "msrps" if self.use_tls else "msrp"

    @property
    def effective_port(self) -> int:
        """The port to connect to."""
        return DEFAULT_PORT if self.port is None else self.port

    def __str__(self) -> str:
        user = "" if self.user is None else f"{self.user}@"
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port is None else f":{self.port}"
        session = "" if self.session_id is None else f"/{self.session_id}"
        parameters = "".join(f";{name}" if value is None else f";{name}={value}" for name, value in self.parameters)
        return f"{self.scheme}://{user}{host}{port}{session};{self.transport}{parameters}"

    # RFC 4975 6.1: the user and the parameters do not count; a URI with a port never equals one without.
    def __eq__(self, other: object) -> bool:
        return self._key == other._key if isinstance(other, MSRPURI) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key)


@lru_cache(maxsize=256)
def parse_path(text: str) -> tuple[MSRPURI, ...]:
    """Read the URIs of a To-Path, From-Path, Use-Path or `a=path`; raises MalformedURI.

    The same few paths are in every message of a session, so they are remembered.
    """
    words = text.split()
    if not words:
        raise MalformedURI("a path without a URI")
    if len(words) > MAX_PATH_URIS:
        raise MalformedURI(f"a path of {len(words)} URIs; at most {MAX_PATH_URIS} are read")
    return tuple(MSRPURI.parse(word) for word in words)


def new_session_id() -> str:
    """A session id that nobody can guess: 80 random bits in hex."""
    return secrets.token_hex(_SESSION_ID_BYTES)


def _comparable_host(host: str) -> object:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return host.lower()


def _parameter(text: str) -> tuple[str, str | None]:
    name, separator, value = text.partition("=")
    return name, value if separator else None
