"""Attributes with one value for a class, its subclasses and their instances."""

from __future__ import annotations

from typing import Any

from sipsimple.singleton import Singleton


class ApplicationAttribute:
    """An attribute with one value, through whichever class or instance it is read or written."""

    def __init__(self, value: Any = None) -> None:
        self.value = value

    def __get__(self, instance: object, owner: type) -> Any:
        return self.value

    def __set__(self, instance: object, value: Any) -> None:
        self.value = value


class ApplicationType(Singleton):
    """Metaclass: an assignment on any class reaches the shared attribute instead of hiding it."""

    def __setattr__(cls, name: str, value: Any) -> None:
        for base in cls.__mro__:
            attribute = base.__dict__.get(name)
            if isinstance(attribute, ApplicationAttribute):
                attribute.value = value
                return
        super().__setattr__(name, value)
