"""The small parts of a session description: attributes, lists of them, and connections (RFC 4566 5.7, 5.13).

Also the rules that every field of a description obeys: what could not be read back from its line is refused when it
is set.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cached_property, lru_cache
from typing import Any, Final, TypeVar, overload

from sipsimple.sip.errors import MalformedMessage, SIPCoreError
from sipsimple.sip.frozen import Frozen, Mutable, Rule, Twin, frozenlist, text

__all__ = [
    "AttributeList",
    "BaseSDPAttribute",
    "BaseSDPConnection",
    "FrozenAttributeList",
    "FrozenSDPAttribute",
    "FrozenSDPConnection",
    "MalformedSDP",
    "SDPAttribute",
    "SDPConnection",
]

MAX_ATTRIBUTES: Final = 68  # of a session, and of each media
MAX_REMEMBERED: Final = 512  # lines that are known without being read again
MAX_REMEMBERED_LENGTH: Final = 128
MAX_NUMBER: Final = 2**64 - 1  # we write 32 bits, but others fill an o= line with 64

D = TypeVar("D")

# Line ends would forge other lines; lone surrogates that stand for no octet cannot be written at all.
_UNWRITABLE: Final = re.compile("[\r\n\0\ud800-\udc7f\udd00-\udfff]")
_SPACE: Final = re.compile(r"\s")
_PLAIN_WORD: Final = re.compile(r"[\w./+-]+", re.ASCII)
_ATTRIBUTE_NAME: Final = re.compile(r"[^\s:]+")


class MalformedSDP(MalformedMessage):
    """The octets are not a session description, or exceed a bound of this library."""


def line_text(name: str, value: Any, frozen: bool) -> str:
    """Rule: text that fits on one line."""
    line = text(name, value, frozen)
    if _UNWRITABLE.search(line):
        raise ValueError(f"{name} must fit on one line of text: {line[:60]!r}")
    return line


def line_text_or_none(name: str, value: Any, frozen: bool) -> str | None:
    """Rule: text that fits on one line, or `None`."""
    return None if value is None else line_text(name, value, frozen)


def word(name: str, value: Any, frozen: bool) -> str:
    """Rule: text without any space, and at least one character of it."""
    if isinstance(value, str) and _PLAIN_WORD.fullmatch(value):
        return value
    token = line_text(name, value, frozen)
    if not token or _SPACE.search(token):
        raise ValueError(f"{name} must be one word: {token[:60]!r}")
    return token


def attribute_name(name: str, value: Any, frozen: bool) -> str:
    """Rule: one word without a colon."""
    token = word(name, value, frozen)
    if ":" in token:
        raise ValueError(f"{name} must not hold a colon, the value is an argument of its own: {token[:60]!r}")
    return token


def unsigned(name: str, value: Any, frozen: bool) -> int:
    """Rule: a whole number of at most 64 bits, not negative."""
    if value is None:
        raise TypeError(f"{name} must be a number, not None")
    number = int(value)
    if not 0 <= number <= MAX_NUMBER:
        raise ValueError(f"{name} must be between 0 and {MAX_NUMBER}, not {number}")
    return number


def _bounded_list(name: str, value: Any, frozen: bool, limit: int) -> Any:
    if not isinstance(value, frozenlist if frozen else (list, frozenlist)):
        raise TypeError(f"{name} must be a {'frozenlist' if frozen else 'list'}, not {type(value).__name__}")
    if len(value) > limit:
        raise SIPCoreError(f"no more than {limit} {name}, not {len(value)}")
    return value if frozen or isinstance(value, list) else list(value)


def members(family: type[Twin], limit: int) -> Rule:
    """Make the rule for a list of at most `limit` members of a family; a frozen owner wants them frozen too."""

    def rule(name: str, value: Any, frozen: bool) -> Any:
        held = _bounded_list(name, value, frozen, limit)
        for kind in set(map(type, held)):
            if not issubclass(kind, family) or (frozen and not issubclass(kind, Frozen)):
                wanted = f"frozen {family.__name__}" if frozen else family.__name__
                raise TypeError(f"{name} must hold {wanted} objects, not {kind.__name__}")
        return held

    return rule


def words(limit: int) -> Rule:
    """Make the rule for a list of at most `limit` words."""

    def rule(name: str, value: Any, frozen: bool) -> Any:
        held = _bounded_list(name, value, frozen, limit)
        for member in held:
            if not (isinstance(member, str) and _PLAIN_WORD.fullmatch(member)):
                word(name, member, frozen)
        return held

    return rule


class BaseSDPAttribute(Twin):
    """One `a=` line; the value of a flag is empty."""

    _rules = {"name": attribute_name, "value": line_text}

    name: str
    value: str

    def __init__(self, name: str, value: str) -> None:
        self._fill(name=name, value=value)

    def __str__(self) -> str:
        return f"{self.name}:{self.value}" if self.value else self.name


class SDPAttribute(Mutable, BaseSDPAttribute):
    """An attribute that may be changed."""


class FrozenSDPAttribute(Frozen, BaseSDPAttribute, normal=SDPAttribute):
    """An attribute that never changes."""

    @classmethod
    def parse(cls, line: str) -> FrozenSDPAttribute:
        """Read what follows `a=`. Raises MalformedSDP."""
        # A key is told once, and is not kept longer than the call.
        once = len(line) > MAX_REMEMBERED_LENGTH or line.startswith("crypto:")
        return _read_attribute(line) if once else _known_attribute(line)


def _read_attribute(line: str) -> FrozenSDPAttribute:
    name, _, value = line.partition(":")
    if _ATTRIBUTE_NAME.fullmatch(name) is None:
        raise MalformedSDP(f"an attribute without a name: {line[:60]!r}")
    return FrozenSDPAttribute._adopt({"name": name, "value": value})


# The same few codecs are described in every call.
_known_attribute: Final = lru_cache(maxsize=MAX_REMEMBERED)(_read_attribute)


class _ByName:
    """What both lists of attributes can do with a name."""

    def getall(self, name: str) -> list[str]:
        """The values of all attributes of that name, in their order."""
        return [attribute.value for attribute in self if attribute.name == name]  # type: ignore[attr-defined]

    @overload
    def getfirst(self, name: str) -> str | None: ...
    @overload
    def getfirst(self, name: str, default: D) -> str | D: ...
    def getfirst(self, name: str, default: D | None = None) -> str | D | None:
        """The value of the first attribute of that name."""
        values = self.getall(name)
        return values[0] if values else default


class AttributeList(_ByName, list[BaseSDPAttribute]):
    """The attributes of a mutable owner; `"name" in attributes` looks for a name."""

    def __contains__(self, item: object) -> bool:
        return bool(self.getall(item)) if isinstance(item, str) else list.__contains__(self, item)


class FrozenAttributeList(_ByName, frozenlist[FrozenSDPAttribute]):
    """The attributes of a frozen owner; `"name" in attributes` looks for a name."""

    @cached_property
    def _named(self) -> dict[str, list[str]]:
        # Descriptions of the same user agent are remembered, and asked for many names that they do not have.
        named: dict[str, list[str]] = {}
        for attribute in self:
            named.setdefault(attribute.name, []).append(attribute.value)
        return named

    def getall(self, name: str) -> list[str]:
        """The values of all attributes of that name, in their order."""
        return list(self._named.get(name, ()))

    def __contains__(self, item: object) -> bool:
        return item in self._named if isinstance(item, str) else tuple.__contains__(self, item)


_attribute_members: Final = members(BaseSDPAttribute, MAX_ATTRIBUTES)


def attribute_list(name: str, value: Any, frozen: bool) -> AttributeList | FrozenAttributeList:
    """Rule: a list of attributes; a plain list becomes one that can be asked by name."""
    checked: Iterable[Any] = _attribute_members(name, value, frozen)
    if frozen:
        return checked if isinstance(checked, FrozenAttributeList) else FrozenAttributeList(checked)
    return checked if isinstance(checked, AttributeList) else AttributeList(checked)


class BaseSDPConnection(Twin):
    """A `c=` line: the address that media is sent to."""

    _rules = {"address": word, "net_type": word, "address_type": word}

    address: str
    net_type: str
    address_type: str

    def __init__(self, address: str, net_type: str = "IN", address_type: str = "IP4") -> None:
        self._fill(address=address, net_type=net_type, address_type=address_type)

    def __str__(self) -> str:
        return f"{self.net_type} {self.address_type} {self.address}"


class SDPConnection(Mutable, BaseSDPConnection):
    """A connection that may be changed."""


class FrozenSDPConnection(Frozen, BaseSDPConnection, normal=SDPConnection):
    """A connection that never changes."""

    @classmethod
    def parse(cls, line: str) -> FrozenSDPConnection:
        """Read what follows `c=`. Raises MalformedSDP."""
        parts = line.split()
        if len(parts) != 3:
            raise MalformedSDP(f"a connection line needs network type, address type and address: {line[:60]!r}")
        net_type, address_type, address = parts
        return cls._adopt({"address": address, "net_type": net_type, "address_type": address_type})
