"""Values that pass between the media engine and its client: immutable, comparable, picklable, and cheap to define.

A dataclass costs about a millisecond at import, since its methods are compiled for each class; there are some sixty of
these, and most programs that import the package place a call within seconds. Here the methods are shared.
"""

from __future__ import annotations

from typing import Any, ClassVar, TypeVar, dataclass_transform

V = TypeVar("V", bound="Value")


def field(*, default: Any, kw_only: bool) -> Any:
    """A field that is given by its keyword; tells type checkers so."""
    return default


@dataclass_transform(frozen_default=True, eq_default=True, field_specifiers=(field,))
class Value:
    """Base of values; a subclass names its fields by annotations, with defaults where it likes.

    Fields of a base class that have defaults come after those of the subclass, and are for keywords.
    """

    _fields: ClassVar[tuple[str, ...]] = ()
    _defaults: ClassVar[dict[str, Any]] = {}
    _least: ClassVar[int] = 0  # how many values at the least make one

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        own = [name for name in cls.__annotations__ if not name.startswith("_")]
        cls._defaults = {**cls._defaults, **{name: cls.__dict__[name] for name in own if name in cls.__dict__}}
        cls._fields = (*own, *cls._fields)
        required = [name for name in cls._fields if name not in cls._defaults]
        # Where a field with a default comes before one without, the general way finds out what is missing.
        leading = tuple(required) == cls._fields[: len(required)]
        cls._least = len(required) if leading else len(cls._fields)

    def __init__(self, *args: Any, **named: Any) -> None:
        fields = self._fields
        if not named and self._least <= len(args) <= len(fields):
            # What a call makes a dozen of.
            held = self.__dict__
            held.update(self._defaults)
            held.update(zip(fields, args, strict=False))
            return
        if len(args) > len(fields):
            raise TypeError(f"{type(self).__name__} takes {len(fields)} values, {len(args)} were given")
        values = {**self._defaults, **dict(zip(fields, args, strict=False)), **named}
        if len(values) != len(fields) or not named.keys().isdisjoint(fields[: len(args)]):
            raise TypeError(self._mistake(args, named))
        self.__dict__.update(values)

    def _mistake(self, args: tuple[Any, ...], named: dict[str, Any]) -> str:
        given = {*self._fields[: len(args)], *named, *self._defaults}
        missing = [name for name in self._fields if name not in given]
        unknown = [name for name in named if name not in self._fields]
        twice = [name for name in named if name in self._fields[: len(args)]]
        return f"{type(self).__name__}: missing {missing}, unknown {unknown}, given twice {twice}"

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} does not change: make another one with a different {name}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} does not change: {name} stays")

    def __eq__(self, other: object) -> bool:
        return self.__dict__ == other.__dict__ if type(other) is type(self) else NotImplemented

    def __hash__(self) -> int:
        return hash((type(self), *(self.__dict__[name] for name in self._fields)))

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={self.__dict__[name]!r}" for name in self._fields if name != "reply_to")
        return f"{type(self).__name__}({shown})"

    def __reduce__(self) -> tuple[Any, ...]:
        # Without the names of the fields: a call takes a dozen commands, and each goes through a pipe.
        return _restore, (type(self), tuple(self.__dict__[name] for name in self._fields))


def _restore(kind: type[V], values: tuple[Any, ...]) -> V:
    value = object.__new__(kind)
    value.__dict__.update(zip(kind._fields, values, strict=True))
    return value


def replace(value: V, **changes: Any) -> V:
    """A copy with other values for some fields; raises TypeError for a field that there is not."""
    unknown = changes.keys() - set(value._fields)
    if unknown:
        raise TypeError(f"{type(value).__name__} has no {', '.join(sorted(unknown))}")
    copy = object.__new__(type(value))
    copy.__dict__.update(value.__dict__, **changes)
    return copy
