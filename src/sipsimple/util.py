"""What applications and the upper floors share: routes, timestamps, texts in several languages, small functions.

The names are those of the contract (`Route`) and those that its clients import from here. The wings never import this
module.
"""

from __future__ import annotations

import ipaddress
import itertools
import math
import os
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final, Generic, TypeVar

from sipsimple.loop import run_in_loop
from sipsimple.notification import TimestampedNotificationData
from sipsimple.sip.uri import SIPURI

__all__ = [
    "MultilingualText",
    "Route",
    "Timestamp",
    "TimestampedNotificationData",
    "classproperty",
    "combinations",
    "limit",
    "makedirs",
    "run_in_loop",
]

T = TypeVar("T")

combinations = itertools.combinations

DEFAULT_SIP_PORTS: Final = {"udp": 5060, "tcp": 5060, "tls": 5061}


class Route:
    """Where a request goes first: address, port and transport of one hop.

    `address` is an IPv4 or IPv6 literal, an IPv6 one also in the brackets of a URI. Each attribute is checked when it
    is set, and raises ValueError. `domain` is what was looked up, where that is known: over TLS the server has to
    prove that it serves it.
    """

    def __init__(
        self, address: str, port: int | str | None = None, transport: str = "udp", domain: str | None = None
    ) -> None:
        self.address = address
        self.port = port
        self.transport = transport
        self.domain = domain

    @property
    def address(self) -> str:
        return self._address

    @address.setter
    def address(self, address: str) -> None:
        try:
            self._address = str(ipaddress.ip_address(address.removeprefix("[").removesuffix("]")))
        except (AttributeError, ValueError):
            raise ValueError(f"{address!r} is no IP address: look the host up with DNSLookup first") from None

    @property
    def port(self) -> int:
        """The port, or the default one of the transport when it was set to None."""
        return DEFAULT_SIP_PORTS[self.transport] if self._port is None else self._port

    @port.setter
    def port(self, port: int | str | None) -> None:
        try:
            number = None if port is None else int(port)
        except (TypeError, ValueError):
            raise ValueError(f"{port!r} is no port number") from None
        if number is not None and not 1 <= number <= 65535:
            raise ValueError(f"port {number} is not within 1 and 65535")
        self._port = number

    @property
    def transport(self) -> str:
        return self._transport

    @transport.setter
    def transport(self, transport: str) -> None:
        name = str(transport).lower()
        if name not in DEFAULT_SIP_PORTS:
            raise ValueError(f"{transport!r} is no transport: use one of {', '.join(DEFAULT_SIP_PORTS)}")
        self._transport = name

    def get_uri(self) -> SIPURI:
        """The route as a URI for a Route header; the default port and `transport=udp` are left out.

        For TLS with a known domain the host is the domain, and `maddr` the address (RFC 3261 19.1.1).
        """
        port = None if self.port == DEFAULT_SIP_PORTS[self.transport] else self.port
        parameters = {} if self.transport == "udp" else {"transport": self.transport}
        if self.transport == "tls" and self.domain is not None:
            parameters["maddr"] = self._uri_host()
            return SIPURI(host=self.domain, port=port, parameters=parameters)
        return SIPURI(host=self._uri_host(), port=port, parameters=parameters)

    def _uri_host(self) -> str:
        return f"[{self.address}]" if ":" in self.address else self.address

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Route):
            return NotImplemented
        return (self.address, self.port, self.transport) == (other.address, other.port, other.transport)

    __hash__ = None  # type: ignore[assignment]  # it can be changed

    def __str__(self) -> str:
        return f"sip:{self._uri_host()}:{self.port};transport={self.transport}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.address!r}, {self.port!r}, {self.transport!r})"


class Timestamp(datetime):
    """A local time without zone, as CPIM and iscomposing documents write it (RFC 3339)."""

    @classmethod
    def parse(cls, text: str) -> Timestamp:
        """Read an RFC 3339 date and time as local time; raises ValueError. Without an offset it is local already."""
        return cls._local(datetime.fromisoformat(text.strip()))

    @classmethod
    def format(cls, moment: datetime) -> str:
        """Write the moment as local time with its offset, without fractions of a second; `Z` when the offset is 0."""
        aware = moment.astimezone()
        text = aware.replace(microsecond=0).isoformat()
        return text if aware.utcoffset() else text.removesuffix("+00:00") + "Z"

    @classmethod
    def utc_offset(cls) -> int:
        """Minutes between local time and UTC, now."""
        return int((datetime.now().astimezone().utcoffset() or timedelta()).total_seconds() // 60)

    @classmethod
    def _local(cls, moment: datetime) -> Timestamp:
        naive = moment.astimezone().replace(tzinfo=None) if moment.tzinfo else moment
        return cls(
            naive.year,
            naive.month,
            naive.day,
            naive.hour,
            naive.minute,
            naive.second,
            naive.microsecond,
            fold=naive.fold,
        )


class MultilingualText(str):
    """A text with translations: `MultilingualText("Room", de="Zimmer")` is `"Room"` to whoever does not ask."""

    translations: dict[str, str]

    def __new__(cls, default: str = "", **translations: str) -> MultilingualText:
        self = super().__new__(cls, default)
        self.translations = translations
        return self

    def get_translation(self, language: str) -> str:
        """The text in this language, or the default text."""
        return self.translations.get(language, self)


class classproperty(Generic[T]):
    """A property of the class itself: `@classproperty def name(cls)`."""

    def __init__(self, function: Callable[[Any], T]) -> None:
        self._function = function
        self.__doc__ = function.__doc__

    def __get__(self, instance: object, owner: type) -> T:
        return self._function(owner)

    def __set__(self, instance: object, value: object) -> None:
        raise AttributeError(f"{self._function.__name__} cannot be set: it is a property of the class")


def limit(value: Any, min: Any = -math.inf, max: Any = math.inf) -> Any:
    """The value, or the limit that it exceeds."""
    if value < min:
        return min
    if value > max:
        return max
    return value


def makedirs(path: str | os.PathLike[str], mode: int = 0o777) -> None:
    """Create the directory and its parents; an existing one is fine. Raises OSError."""
    os.makedirs(path, mode, exist_ok=True)
