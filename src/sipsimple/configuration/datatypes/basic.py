"""Types that belong to no field: lists, choices, numbers, paths, content types."""

from __future__ import annotations

import builtins
import os
import re
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar, Self

from sipsimple.configuration.storage import from_stored, to_stored


class List:
    """A list whose items are all of the class attribute `type`; what is put into it is converted.

    It equals any list (or `List`) of equal items. It is stored as a list of text.
    """

    type: ClassVar[builtins.type[Any]] = str

    def __init__(self, values: Iterable[Any] = ()) -> None:
        self.values: list[Any] = [self._convert(value) for value in values]

    @classmethod
    def _convert(cls, value: Any) -> Any:
        return value if isinstance(value, cls.type) else cls.type(value)

    def __getstate__(self) -> list[str]:
        return [to_stored(value) for value in self.values]

    def __setstate__(self, state: list[str] | str | None) -> None:
        if state is None:
            state = []
        elif isinstance(state, str):
            state = [state]
        elif not isinstance(state, list):
            raise ValueError("a list is needed here, not a group")
        self.values = [from_stored(self.type, item) for item in state]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.values)

    def __reversed__(self) -> Iterator[Any]:
        yield from reversed(self.values)

    def __len__(self) -> int:
        return len(self.values)

    def __contains__(self, value: object) -> bool:
        return value in self.values

    def __getitem__(self, index: Any) -> Any:
        return self.values[index]

    def index(self, value: Any) -> int:
        return self.values.index(value)

    def count(self, value: Any) -> int:
        return self.values.count(value)

    def __add__(self, other: Iterable[Any]) -> Self:
        if not isinstance(other, List | list | tuple):
            return NotImplemented
        return type(self)([*self.values, *other])

    def __radd__(self, other: Iterable[Any]) -> Self:
        if not isinstance(other, list | tuple):
            return NotImplemented
        return type(self)([*other, *self.values])

    def __mul__(self, count: int) -> Self:
        return type(self)(self.values * count)

    __rmul__ = __mul__

    def __eq__(self, other: object) -> bool:
        if isinstance(other, List):
            return self.values == other.values
        return self.values == other if isinstance(other, list) else NotImplemented

    def __hash__(self) -> int:
        return hash(tuple(self.values))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.values!r})"

    def __str__(self) -> str:
        return ", ".join(map(str, self.values))


class Choice(str):
    """Text that is one of the class attribute `values`; `aliases` are other spellings of them."""

    __slots__ = ()

    values: ClassVar[tuple[str, ...]] = ()
    aliases: ClassVar[dict[str, str]] = {}

    def __new__(cls, value: object) -> Self:
        text = cls.aliases.get(str(value), str(value))
        if text not in cls.values:
            raise ValueError(f"{str(value)!r} is no {cls.__name__}: it has to be one of {', '.join(cls.values)}")
        return super().__new__(cls, text)


class NonNegativeInteger(int):
    """A whole number, zero or more."""

    __slots__ = ()

    def __new__(cls, value: Any) -> Self:
        number = super().__new__(cls, value)
        if number < 0:
            raise ValueError(f"{int(number)} is negative")
        return number


class Path(str):
    """The path of a file or directory; `normalized` has `~` expanded."""

    __slots__ = ()

    def __new__(cls, value: object) -> Self:
        return super().__new__(cls, os.path.normpath(str(value)))

    @property
    def normalized(self) -> str:
        return os.path.expanduser(self)


class ContentType(str):
    """A media type, `text/plain` or `text/*`; or `*` for all of them."""

    __slots__ = ()

    def __new__(cls, value: object) -> Self:
        text = str(value)
        type, _, subtype = text.partition("/")
        if text != "*" and (not type or type == "*" or not subtype or "/" in subtype):
            raise ValueError(f"{text!r} is no content type: it has to be * or type/subtype")
        return super().__new__(cls, text)


class ContentTypeList(List):
    """A list of content types."""

    type = ContentType


class CountryCode(str):
    """A telephone country code: digits, of which the first is not 0."""

    __slots__ = ()

    def __new__(cls, value: object) -> Self:
        text = str(value)
        if re.fullmatch(r"[1-9][0-9]*", text) is None:
            raise ValueError(f"{text!r} is no country code: it has to be digits, the first of them not 0")
        return super().__new__(cls, text)
