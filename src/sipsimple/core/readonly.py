"""Attributes that the documented objects show and applications must not write."""

from __future__ import annotations

from typing import Any, Generic, TypeVar, cast

T = TypeVar("T")


class ReadOnly(Generic[T]):
    """Shows the private attribute of the same name with an underscore in front; assigning raises AttributeError."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._attribute = f"_{name}"

    def __get__(self, instance: Any, owner: type) -> T:
        if instance is None:
            return cast(T, self)
        return getattr(instance, self._attribute)  # type: ignore[no-any-return]

    def __set__(self, instance: object, value: object) -> None:
        raise AttributeError(f"{type(instance).__name__}.{self._attribute[1:]} is read-only")
