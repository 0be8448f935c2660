"""The headers of one message: an ordered list of names and raw values, as they came (RFC 3261 7.3)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from sipsimple.sip.headers import BaseHeader

__all__ = ["CANONICAL", "COMPACT", "Headers", "canonical_name"]

COMPACT: Final = {
    "a": "Accept-Contact",
    "b": "Referred-By",
    "c": "Content-Type",
    "d": "Request-Disposition",
    "e": "Content-Encoding",
    "f": "From",
    "i": "Call-ID",
    "j": "Reject-Contact",
    "k": "Supported",
    "l": "Content-Length",
    "m": "Contact",
    "n": "Identity-Info",
    "o": "Event",
    "r": "Refer-To",
    "s": "Subject",
    "t": "To",
    "u": "Allow-Events",
    "v": "Via",
    "x": "Session-Expires",
    "y": "Identity",
}

KNOWN: Final = (
    *COMPACT.values(),
    *("Accept", "Accept-Encoding", "Accept-Language", "Alert-Info", "Allow", "Authentication-Info", "Authorization"),
    *("Call-Info", "Content-Disposition", "Content-ID", "Content-Language", "CSeq", "Date", "Error-Info", "Expires"),
    *("Flow-Timer", "History-Info", "In-Reply-To", "Info-Package", "Join", "Max-Forwards", "MIME-Version"),
    *("Min-Expires", "Min-SE", "Organization", "P-Access-Network-Info", "P-Asserted-Identity", "P-Associated-URI"),
    *("P-Preferred-Identity", "Path", "Priority", "Privacy", "Proxy-Authenticate", "Proxy-Authorization"),
    *("Proxy-Require", "RAck", "Reason", "Record-Route", "Recv-Info", "Refer-Sub", "Replaces", "Reply-To", "Require"),
    *("Retry-After", "Route", "RSeq", "Server", "Service-Route", "SIP-ETag", "SIP-If-Match", "Subscription-State"),
    *("Target-Dialog", "Timestamp", "Unsupported", "User-Agent", "Warning", "WWW-Authenticate"),
)

CANONICAL: Final[dict[str, str]] = {
    **{name: name for name in KNOWN},
    **{name.lower(): name for name in KNOWN},
    **{name.upper(): name for name in KNOWN},
    **COMPACT,
    **{letter.upper(): name for letter, name in COMPACT.items()},
}
"""The long name for each usual spelling of a known header."""


def canonical_name(name: str) -> str:
    """Return the long form of a known name; other names stay as they are."""
    return CANONICAL.get(name) or CANONICAL.get(name.lower()) or name


class Headers:
    """Names and raw values in the order of the message; names are found in any case and in their compact form.

    `first` holds the first raw value of each name, and is not to be changed from outside. `cache` holds what `Message`
    has parsed; every change empties it.
    """

    __slots__ = ("_items", "cache", "first")

    first: dict[str, str]

    def __init__(self, items: Iterable[tuple[str, str]] = ()) -> None:
        self._items: list[tuple[str, str]] = []
        self.first = {}
        self.cache: dict[str, Any] = {}
        self.extend(items)

    @classmethod
    def wrap(cls, items: list[tuple[str, str]]) -> Headers:
        """Take over a list whose names are canonical already, without copying it."""
        self = object.__new__(cls)
        self._items = items
        self.first = dict(reversed(items))
        self.cache = {}
        return self

    def get(self, name: str) -> str | None:
        """Return the first raw value, or `None`."""
        value = self.first.get(name)
        if value is not None:
            return value
        key = CANONICAL.get(name) or CANONICAL.get(name.lower())
        if key is not None:
            return self.first.get(key)
        values = self.get_all(name)
        return values[0] if values else None

    def get_all(self, name: str) -> list[str]:
        """Return the raw values of all lines with this name; lists in commas are not split."""
        key = CANONICAL.get(name) or CANONICAL.get(name.lower())
        if key is None:
            key = name.lower()
            return [value for held, value in self._items if held.lower() == key]
        first = self.first
        if key not in first:
            return []
        if len(first) == len(self._items):
            return [first[key]]
        return [value for held, value in self._items if held == key]

    def add(self, name: str, value: str) -> None:
        """Append a header."""
        if "\r" in value or "\n" in value:
            raise _many_lines(value)
        name = CANONICAL.get(name) or canonical_name(name)
        self._items.append((name, value))
        self.first.setdefault(name, value)
        if self.cache:
            self.cache.clear()

    def extend(self, items: Iterable[tuple[str, str]]) -> None:
        """Append headers."""
        for name, value in items:
            self.add(name, value)

    def add_header(self, header: BaseHeader) -> None:
        """Append a header value under its own name."""
        self.add(header.name, header.body)

    def insert(self, index: int, name: str, value: str) -> None:
        """Insert a header before the one at `index`."""
        self._items.insert(index, (canonical_name(name), _one_line(value)))
        self._changed()

    def set(self, name: str, value: str) -> None:
        """Put one header in the place of all that have this name; append it when there is none."""
        positions = self._positions(name)
        if not positions:
            self.add(name, value)
            return
        self.replace_first(name, value)
        for position in reversed(positions[1:]):
            del self._items[position]

    def replace_first(self, name: str, value: str) -> None:
        """Put another value in the place of the first header with this name, which must exist."""
        self._items[self._positions(name)[0]] = (canonical_name(name), _one_line(value))
        self._changed()

    def remove(self, name: str) -> None:
        """Take away every header with this name; there need not be any."""
        for position in reversed(self._positions(name)):
            del self._items[position]
        self._changed()

    def copy(self) -> Headers:
        """Return headers that may be changed without changing these."""
        return Headers.wrap(self._items.copy())

    def __contains__(self, name: str) -> bool:
        return name in self.first or self.get(name) is not None

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __eq__(self, other: object) -> bool:
        return self._items == other._items if isinstance(other, Headers) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # headers change

    def __repr__(self) -> str:
        return f"Headers({self._items!r})"

    def _changed(self) -> None:
        self.first = dict(reversed(self._items))
        self.cache.clear()

    def _positions(self, name: str) -> list[int]:
        key = CANONICAL.get(name)
        if key is not None:
            return [position for position, (held, _) in enumerate(self._items) if held == key]
        key = canonical_name(name).lower()
        return [position for position, (held, _) in enumerate(self._items) if held.lower() == key]


def _one_line(value: str) -> str:
    if "\r" in value or "\n" in value:
        raise _many_lines(value)
    return value


def _many_lines(value: str) -> ValueError:
    # A line end inside a value would let whoever chose the value write headers of their own.
    return ValueError(f"a header value must be one line: {value[:60]!r}")
