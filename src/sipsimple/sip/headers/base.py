"""What all header values share, and the header that has no class of its own.

Every class reads the text after the colon with `parse` and writes it with `body`; the two are inverse.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any, Self, overload

from sipsimple.sip.frozen import Frozen, Mutable, Twin, text

__all__ = ["BaseHeader", "FrozenHeader", "FrozenTextParameter", "Header", "NumberParameter", "TextParameter"]


class BaseHeader(Twin):
    """A header value; `name` is the name it goes by on the wire."""

    name: str

    @property
    def body(self) -> str:
        """The text after the colon."""
        raise NotImplementedError(f"{type(self).__name__} has no wire form")

    @classmethod
    def parse(cls, body: str) -> Self:
        """Read the text after the colon; raises `MalformedMessage`."""
        raise NotImplementedError(f"{cls.__name__} cannot be read without its name")

    def __str__(self) -> str:
        return f"{self.name}: {self.body}"


class _PlainHeader(BaseHeader):
    _rules = {"name": text, "body": text}

    def __init__(self, name: str, body: str) -> None:
        self._fill(name=name, body=body)

    @property
    def body(self) -> str:
        """The text after the colon."""
        return vars(self)["body"]  # type: ignore[no-any-return]  # its rule is `text`


class Header(Mutable, _PlainHeader):
    """Any header, by name and text."""


class FrozenHeader(Frozen, _PlainHeader, normal=Header):
    """Any header, by name and text, that never changes."""


class TextParameter:
    """A view of one parameter as text; `None` when it is absent, and to take it away."""

    def __init__(self, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, header: None, owner: type) -> Self: ...
    @overload
    def __get__(self, header: Twin, owner: type) -> str | None: ...
    def __get__(self, header: Twin | None, owner: type) -> Self | str | None:
        if header is None:
            return self
        value = vars(header)["parameters"].get(self.name)
        return None if value is None else str(value)

    def __set__(self, header: Twin, value: str | None) -> None:
        _store(header, self.name, value)


class FrozenTextParameter:
    """As `TextParameter`, for a header that never changes: read once, and then found in the instance."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __set_name__(self, owner: type, attribute: str) -> None:
        self._attribute = attribute

    @overload
    def __get__(self, header: None, owner: type) -> Self: ...
    @overload
    def __get__(self, header: Twin, owner: type) -> str | None: ...
    def __get__(self, header: Twin | None, owner: type) -> Self | str | None:
        if header is None:
            return self
        held = vars(header)
        value = held["parameters"].get(self.name)
        text = held[self._attribute] = None if value is None else str(value)
        return text


class NumberParameter:
    """A view of one parameter as a whole number; `None` when it is absent or not a number."""

    def __init__(self, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, header: None, owner: type) -> Self: ...
    @overload
    def __get__(self, header: Twin, owner: type) -> int | None: ...
    def __get__(self, header: Twin | None, owner: type) -> Self | int | None:
        if header is None:
            return self
        value = vars(header)["parameters"].get(self.name)
        return int(value) if _is_number(value) else None

    def __set__(self, header: Twin, value: int | None) -> None:
        _store(header, self.name, None if value is None else str(int(value)))


def _store(header: Twin, name: str, value: str | None) -> None:
    parameters: MutableMapping[str, Any] = vars(header)["parameters"]
    if value is None:
        parameters.pop(name, None)
    else:
        parameters[name] = value


def _is_number(value: object) -> bool:
    if isinstance(value, int):
        return True
    return isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 10
