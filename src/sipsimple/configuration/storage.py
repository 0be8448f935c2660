"""The stored form of values: text, lists of text, None and dictionaries.

A type other than whole numbers, text and truth values brings `__getstate__` and `__setstate__`, which give and take
its stored form.
"""

from __future__ import annotations

from typing import Any, Final

TRUE_WORDS: Final = frozenset(("true", "yes", "on", "1"))
FALSE_WORDS: Final = frozenset(("false", "no", "off", "0"))

_UNUSABLE: Final = (ValueError, TypeError, AttributeError, KeyError, IndexError)


def to_stored(value: Any) -> Any:
    """The stored form of a value; raises TypeError for a type without one."""
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | str):
        return str(value)
    # Every object has the method; only a type's own one gives a stored form.
    if not any("__getstate__" in vars(base) for base in type(value).__mro__ if base is not object):
        raise TypeError(f"values of {type(value).__name__} cannot be stored: it defines no __getstate__()")
    return value.__getstate__()


def from_stored(type: Any, stored: Any) -> Any:
    """The value of this type with that stored form; raises ValueError when there is none."""
    try:
        if issubclass(type, int | str):
            if not isinstance(stored, str):
                raise TypeError("a text is needed, not a list, a group or nothing")
            return _bool(stored) if issubclass(type, bool) else type(stored)
        value = type.__new__(type)
        value.__setstate__(stored)
    except _UNUSABLE as error:
        # Types of the application are called here; whatever they stumble over, the stored value is unusable.
        raise error if isinstance(error, ValueError) else ValueError(str(error)) from error
    return value


def _bool(text: str) -> bool:
    word = text.lower()
    if word in TRUE_WORDS:
        return True
    if word in FALSE_WORDS:
        return False
    raise ValueError("not a truth value: write true or false")
