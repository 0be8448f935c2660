"""The stream classes that incoming media is offered to, the one with the highest priority first."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from importlib import import_module
from typing import Any

from sipsimple.singleton import Singleton


class MediaStreamRegistry(metaclass=Singleton):
    """An ordered set of classes that implement `IMediaStream`."""

    def __init__(self) -> None:
        self._classes: list[Any] = []
        self._unloaded: dict[str, frozenset[str]] = {}

    def __iter__(self) -> Iterator[Any]:
        """The classes by falling priority, those of equal priority in the order in which they were added."""
        self.load()
        return iter(list(self._classes))

    def classes_for(self, media: str) -> Iterator[Any]:
        """As iterating, but classes that were announced for other media types alone are not loaded for it."""
        self.load(media)
        return iter(list(self._classes))

    def add(self, cls: Any) -> None:
        """Register the class; ignored when it is known already, or its `priority` is None."""
        if cls.priority is None or cls in self._classes:
            return
        place = sum(other.priority >= cls.priority for other in self._classes)
        self._classes.insert(place, cls)

    def announce(self, module: str, *media: str) -> None:
        """Have a module imported, which registers its classes, when media of these types or all classes are wanted."""
        self._unloaded[module] = frozenset(media)

    def is_loaded(self, *media: str) -> bool:
        """Whether the classes for media of these types are at hand; without a type: all classes."""
        return not self._wanted(media)

    def load(self, *media: str) -> None:
        """Import the modules of the classes for media of these types, or of all; best in a thread, as it takes time."""
        for module in self._wanted(media):
            self._load(module)

    def _wanted(self, media: Collection[str]) -> list[str]:
        return [name for name, known in list(self._unloaded.items()) if not media or not known.isdisjoint(media)]

    def _load(self, module: str) -> None:
        import_module(module)
        self._unloaded.pop(module, None)


class MediaStreamRegistrar(type):
    """Metaclass: a class that is made with it is in the registry at once, when it has a `priority`."""

    def __init__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **kw: Any) -> None:
        super().__init__(name, bases, namespace, **kw)
        if getattr(cls, "priority", None) is not None:
            MediaStreamRegistry().add(cls)
