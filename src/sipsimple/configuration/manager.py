"""The configuration as data: what the backend loaded, and what `save` hands back to it.

It is a store of two levels: an optional group name, then the name of an object, then a dictionary. The settings
objects of `sipsimple.configuration.objects` give the data types and meaning; this module knows text, lists of text,
None and dictionaries of those.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Mapping
from typing import Any, Final

from sipsimple.configuration.backend import ConfigurationBackend
from sipsimple.configuration.errors import ObjectNotFoundError
from sipsimple.singleton import Singleton


class _DefaultValue:
    """Assigned to a setting, it removes the explicit value; in the data of an update, it removes the key."""

    def __repr__(self) -> str:
        return "DefaultValue"

    def __copy__(self) -> _DefaultValue:
        return self

    def __deepcopy__(self, _: object) -> _DefaultValue:
        return self


DefaultValue: Final = _DefaultValue()


class ConfigurationManager(metaclass=Singleton):
    """The stored configuration of the process. Its methods may be called from any thread."""

    def __init__(self) -> None:
        self.backend: ConfigurationBackend | None = None
        self.data: dict[str, Any] | None = None
        self.lock: Final = threading.RLock()
        # Settings objects by class and id: one per identity, for as long as this configuration is the current one.
        self.objects: Final[dict[tuple[type, str], Any]] = {}

    def start(self, backend: ConfigurationBackend) -> None:
        """Load the configuration from the backend, and use this backend from now on.

        Raises RuntimeError when it is started already, TypeError for an object without `load()` and `save(data)`, and
        whatever `backend.load()` raises; it is not started then.
        """
        for method in ("load", "save"):
            if not callable(getattr(backend, method, None)):
                raise TypeError(
                    f"{backend!r} is no configuration backend: it has no {method}() (IConfigurationBackend)"
                )
        with self.lock:
            if self.data is not None:
                raise RuntimeError("ConfigurationManager is started already; stop() it before starting it again")
            data = backend.load()
            if not isinstance(data, dict):
                raise TypeError(f"load() of {backend!r} returned {type(data).__name__}; it has to return a dictionary")
            self.backend, self.data = backend, data

    def stop(self) -> None:
        """Forget the backend, the data and all settings objects, unsaved changes included; stopping twice is fine."""
        with self.lock:
            self.backend = self.data = None
            self.objects.clear()

    def update(self, group: str | None, name: str, data: Mapping[str, Any]) -> None:
        """Merge the data into the stored object, which is created when missing.

        `DefaultValue` removes a key; a dictionary is merged and disappears when that empties it; all else replaces.
        """
        with self.lock:
            objects = self._started()
            if group is not None:
                objects = _child(objects, group)
            _merge(_child(objects, name), data)

    def get(self, group: str | None, name: str) -> dict[str, Any]:
        """The stored dictionary (a copy); raises ObjectNotFoundError when there is none."""
        with self.lock:
            stored = self._objects_of(group).get(name)
            if not isinstance(stored, dict):
                where = "" if group is None else f" in the group {group!r}"
                raise ObjectNotFoundError(f"no object named {name!r} is stored{where}")
            return copy.deepcopy(stored)

    def get_names(self, group: str | None) -> list[str]:
        """The names of the objects of the group; empty when there is no such group."""
        with self.lock:
            return [name for name, value in self._objects_of(group).items() if isinstance(value, dict)]

    def delete(self, group: str | None, name: str) -> None:
        """Remove a stored object, and its group when that empties it; a missing one is fine."""
        with self.lock:
            objects = self._objects_of(group)
            if objects.pop(name, None) is not None and group is not None and not objects:
                self._started().pop(group, None)

    def save(self) -> None:
        """Write everything through the backend; raises what the backend raises."""
        with self.lock:
            data = self._started()
            assert self.backend is not None  # set together with the data
            self.backend.save(data)

    def _started(self) -> dict[str, Any]:
        if self.data is None:
            raise RuntimeError("ConfigurationManager is not started: call start(backend), or start SIPApplication")
        return self.data

    def _objects_of(self, group: str | None) -> dict[str, Any]:
        data = self._started()
        objects = data if group is None else data.get(group, {})
        return objects if isinstance(objects, dict) else {}


def _child(parent: dict[str, Any], name: str) -> dict[str, Any]:
    child = parent.get(name)
    if not isinstance(child, dict):
        child = parent[name] = {}
    return child


def _merge(stored: dict[str, Any], changes: Mapping[str, Any]) -> None:
    for name, value in changes.items():
        if value is DefaultValue:
            stored.pop(name, None)
        elif isinstance(value, Mapping):
            _merge(_child(stored, name), value)
            if not stored[name]:
                del stored[name]
        else:
            stored[name] = copy.deepcopy(value)
