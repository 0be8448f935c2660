"""Values that come in pairs: a mutable class to build with, a frozen one to hand out and to hash.

A family is a base class that names its fields in the order of the constructor and the rule that each must satisfy.
Its two children differ in nothing else than this:

    class BasePoint(Twin):
        _rules = {"x": number, "y": number}
        def __init__(self, x: int, y: int) -> None:
            self._fill(x=x, y=y)

    class Point(Mutable, BasePoint): ...
    class FrozenPoint(Frozen, BasePoint, normal=Point): ...

The mutable class holds `dict` and `list`, the frozen one `frozendict` and `frozenlist`. Members of a family compare
equal when their fields do; only frozen members have a hash.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, Final, NoReturn, Self, SupportsIndex, TypeVar, cast, overload

__all__ = [
    "EMPTY",
    "Frozen",
    "Mutable",
    "Rule",
    "Twin",
    "freeze",
    "frozendict",
    "frozenlist",
    "integer",
    "mapping",
    "replaced",
    "text",
    "text_or_none",
    "thaw",
    "truth",
]

K = TypeVar("K")
V = TypeVar("V")
F = TypeVar("F", bound="Frozen")
T_co = TypeVar("T_co", covariant=True)

Rule = Callable[[str, Any, bool], Any]
"""Takes a field's name, the value given for it and whether the owner is frozen; returns the value to hold."""


class frozendict(dict[K, V]):
    """A dictionary that cannot be changed, and so has a hash; equal to any dictionary with the same content."""

    __slots__ = ("_hash",)

    _hash: int

    def __hash__(self) -> int:  # type: ignore[override]  # what can be changed has none
        try:
            return self._hash
        except AttributeError:
            self._hash = hash(frozenset(self.items()))
            return self._hash

    def __repr__(self) -> str:
        return f"frozendict({dict.__repr__(self)})"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (dict(self),)

    def copy(self) -> Self:
        """Return the mapping itself, which nobody can change."""
        return self

    def _refuse(self, *args: Any, **items: Any) -> NoReturn:
        raise TypeError("a frozendict cannot be changed: build a new one")

    __setitem__ = __delitem__ = __ior__ = clear = pop = popitem = setdefault = update = _refuse


class frozenlist(tuple[T_co, ...]):
    """A sequence that cannot be changed; equal to a list or a tuple with the same content."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        if isinstance(other, list):
            return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))
        return tuple.__eq__(self, other)

    def __ne__(self, other: object) -> bool:
        equal = self.__eq__(other)
        return equal if equal is NotImplemented else not equal

    def __hash__(self) -> int:
        return tuple.__hash__(self)

    @overload
    def __getitem__(self, index: SupportsIndex) -> T_co: ...
    @overload
    def __getitem__(self, index: slice) -> frozenlist[T_co]: ...
    def __getitem__(self, index: SupportsIndex | slice) -> T_co | frozenlist[T_co]:
        if isinstance(index, slice):
            return type(self)(tuple.__getitem__(self, index))
        return tuple.__getitem__(self, index)

    def __add__(self, other: Iterable[Any]) -> frozenlist[Any]:
        if not isinstance(other, (list, tuple)):
            return NotImplemented
        return type(self)((*self, *other))

    def __radd__(self, other: list[Any]) -> frozenlist[Any]:
        if not isinstance(other, list):
            return NotImplemented
        return type(self)((*other, *self))

    def __mul__(self, count: SupportsIndex) -> frozenlist[T_co]:
        return type(self)(tuple.__mul__(self, count))

    __rmul__ = __mul__

    def __repr__(self) -> str:
        return f"frozenlist({list(self)!r})"


_NO_DEFAULT: Final = object()


class Twin:
    """What the two members of a family share: fields, equality and representation."""

    _rules: ClassVar[dict[str, Rule]] = {}
    _compared: ClassVar[tuple[str, ...]] = ()
    # The fields that hold lists with a rule for their members. A mutable owner's list is changed past the rule.
    _lists: ClassVar[tuple[str, ...]] = ()
    _family: ClassVar[type]
    # What the constructor gives by default, and so needs no check.
    _defaults: ClassVar[dict[str, Any]] = {}

    normal_type: ClassVar[type[Any]]
    frozen_type: ClassVar[type[Any]]

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "_rules" in cls.__dict__:
            cls._family = cls
            if "_compared" not in cls.__dict__:
                cls._compared = tuple(cls._rules)
        if "__init__" in cls.__dict__:
            code, defaults = cls.__init__.__code__, cls.__init__.__defaults__ or ()
            named = code.co_varnames[code.co_argcount - len(defaults) : code.co_argcount]
            cls._defaults = dict(zip(named, defaults, strict=True))

    def _fill(self, **values: Any) -> None:
        raise TypeError(f"{type(self).__name__} cannot be instantiated: use one of its two subclasses")

    @classmethod
    def _adopt(cls, values: dict[str, Any]) -> Self:
        """Build a member from frozen values that are known to be right, such as a parser makes."""
        raise TypeError(f"{cls.__name__} cannot be instantiated: use one of its two subclasses")

    @classmethod
    def new(cls, other: Any) -> Self:
        """Return a member of this class that equals `other`, which may be either member of the family."""
        raise TypeError(f"{cls.__name__} cannot be instantiated: use one of its two subclasses")

    @classmethod
    def _held_by(cls, other: Any) -> dict[str, Any]:
        if not isinstance(other, cls._family):
            raise TypeError(f"{cls.__name__}.new takes a {cls._family.__name__}, not {type(other).__name__}")
        return vars(other)

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, self._family):
            return NotImplemented
        return all(getattr(self, field) == getattr(other, field) for field in self._compared)

    __hash__ = None  # type: ignore[assignment]  # Frozen gives its members one

    def __repr__(self) -> str:
        held = vars(self)
        return f"{type(self).__name__}({', '.join(repr(held[field]) for field in self._rules)})"


class Mutable(Twin):
    """A member of a family whose fields may be written; each is checked as it is."""

    def _fill(self, **values: Any) -> None:
        held, rules, defaults = vars(self), self._rules, self._defaults
        for field, value in values.items():
            held[field] = value if value is defaults.get(field, _NO_DEFAULT) else rules[field](field, value, False)

    @classmethod
    def _adopt(cls, values: dict[str, Any]) -> Self:
        self = object.__new__(cls)
        held = vars(self)
        for field, value in values.items():
            held[field] = thaw(value)
        for field in cls._lists:
            held[field] = cls._rules[field](field, held[field], False)
        return self

    @classmethod
    def new(cls, other: Any) -> Self:
        held = cls._held_by(other)
        return cls._adopt({field: held[field] for field in cls._rules})

    def __setattr__(self, name: str, value: Any) -> None:
        rule = self._rules.get(name)
        if rule is not None:
            vars(self)[name] = rule(name, value, False)
        elif hasattr(getattr(type(self), name, None), "__set__"):
            object.__setattr__(self, name, value)
        else:
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r} that can be set")


class Frozen(Twin):
    """A member of a family that never changes, and so has a hash."""

    def __init_subclass__(cls, *, normal: type[Mutable] | None = None, **options: Any) -> None:
        super().__init_subclass__(**options)
        if normal is not None:
            cls.normal_type = normal.normal_type = normal
            cls.frozen_type = normal.frozen_type = cls

    def _fill(self, **values: Any) -> None:
        held, rules, defaults = vars(self), self._rules, self._defaults
        for field, value in values.items():
            held[field] = value if value is defaults.get(field, _NO_DEFAULT) else rules[field](field, value, True)

    @classmethod
    def _adopt(cls, values: dict[str, Any]) -> Self:
        self = object.__new__(cls)
        object.__setattr__(self, "__dict__", values)
        return self

    @classmethod
    def new(cls, other: Any) -> Self:
        if isinstance(other, cls):
            return other
        held = cls._held_by(other)
        values: dict[str, Any] = {}
        for field in cls._rules:
            value = held[field]
            values[field] = value if type(value) in _PLAIN else freeze(value)
        for field in cls._lists:
            values[field] = cls._rules[field](field, values[field], True)
        return cls._adopt(values)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen: build a new one to change {name!r}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen: build a new one to drop {name!r}")

    def __hash__(self) -> int:  # type: ignore[override]  # mutable members have none
        held = vars(self)
        known = held.get("_hash")
        if known is None:
            known = held["_hash"] = hash(tuple([getattr(self, field) for field in self._compared]))
        return cast(int, known)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self


def text(name: str, value: Any, frozen: bool) -> str:
    """Rule: the field is text."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be str, not {type(value).__name__}")
    return value


def text_or_none(name: str, value: Any, frozen: bool) -> str | None:
    """Rule: the field is text or `None`."""
    return None if value is None else text(name, value, frozen)


def integer(name: str, value: Any, frozen: bool) -> int:
    """Rule: the field is a whole number; what `int` takes is taken."""
    if value is None:
        raise TypeError(f"{name} must be a number, not None")
    return int(value)


def truth(name: str, value: Any, frozen: bool) -> bool:
    """Rule: the field is true or false."""
    return bool(value)


def mapping(name: str, value: Any, frozen: bool) -> Mapping[str, Any]:
    """Rule: a frozen member holds a `frozendict`, a mutable one the very `dict` that it is given."""
    if frozen:
        if isinstance(value, frozendict):
            return value
        raise TypeError(f"{name} must be a frozendict here, not {type(value).__name__}")
    if isinstance(value, dict) and not isinstance(value, frozendict):
        return value
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{name} must be a dict, not {type(value).__name__}")


EMPTY: Final[frozendict[str, Any]] = frozendict()

# What is neither frozen nor thawed, and most fields are.
_PLAIN: Final = frozenset({str, int, bool, type(None)})
_FROZEN: Final = (str, Frozen)


def replaced(value: F, **fields: Any) -> F:
    """Return the value with other fields, which are frozen and are checked; the rest is shared."""
    held, rules = vars(value), value._rules
    values = {field: held[field] for field in rules}
    for field, new in fields.items():
        values[field] = rules[field](field, new, True)
    return type(value)._adopt(values)


def freeze(value: Any) -> Any:
    """Return the frozen form of a value of any depth."""
    if type(value) in _PLAIN:
        return value
    if isinstance(value, Twin):
        return value.frozen_type.new(value)
    if isinstance(value, frozendict):
        return value
    if isinstance(value, dict):
        return frozendict({key: freeze(item) for key, item in value.items()})
    if isinstance(value, list):
        return frozenlist([item if isinstance(item, _FROZEN) else freeze(item) for item in value])
    return value


def thaw(value: Any) -> Any:
    """Return a mutable copy of a value of any depth."""
    if type(value) in _PLAIN:
        return value
    if isinstance(value, Twin):
        return value.normal_type.new(value)
    if isinstance(value, dict):
        return {key: thaw(item) for key, item in value.items()}
    if isinstance(value, (list, frozenlist)):
        return [thaw(item) for item in value]
    return value
