"""The stream classes that incoming media is offered to, the one with the highest priority first."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sipsimple.singleton import Singleton


class MediaStreamRegistry(metaclass=Singleton):
    """An ordered set of classes that implement `IMediaStream`."""

    def __init__(self) -> None:
        self._classes: list[type] = []

    def __iter__(self) -> Iterator[Any]:
        """The classes by falling priority, those of equal priority in the order in which they were added."""
        return iter(list(self._classes))

    def add(self, cls: Any) -> None:
        """Register the class; ignored when it is known already, or its `priority` is None."""
        if cls.priority is None or cls in self._classes:
            return
        place = sum(other.priority >= cls.priority for other in self)
        self._classes.insert(place, cls)


class MediaStreamRegistrar(type):
    """Metaclass: a class that is made with it is in the registry at once, when it has a `priority`."""

    def __init__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **kw: Any) -> None:
        super().__init__(name, bases, namespace, **kw)
        if getattr(cls, "priority", None) is not None:
            MediaStreamRegistry().add(cls)
