"""Groups of settings, and what they share with the settings objects that hold them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any, TypeVar, cast

from sipsimple.configuration.manager import ConfigurationManager
from sipsimple.configuration.setting import Setting
from sipsimple.notification import NotificationCenter, TimestampedNotificationData

G = TypeVar("G", bound="SettingsGroup")

log = logging.getLogger(__name__)


class SettingsGroupMeta(type):
    """The class of all groups: an attribute of a settings object that is one of these classes is a group."""


class GroupSlot:
    """The attribute that holds a group: read on the class it is the group's class, on an instance its own group."""

    def __init__(self, group: SettingsGroupMeta, name: str) -> None:
        self.group = group
        self.name = name

    def __get__(self, obj: object | None, owner: type | None = None) -> Any:
        if obj is None:
            return self.group
        groups: dict[GroupSlot, SettingsGroup] = obj.__dict__.setdefault("_group_objects", {})
        if self not in groups:
            made = self.group()
            made.__dict__["_parent"] = obj
            groups.setdefault(self, made)
        return groups[self]

    def __set__(self, obj: object, value: object) -> None:
        raise AttributeError(f"{self.name!r} is a group of settings: assign to the settings in it")


class Container:
    """What groups and settings objects share: they have settings and groups as attributes."""

    def __init_subclass__(cls, **kw: Any) -> None:
        super().__init_subclass__(**kw)
        for name, value in list(vars(cls).items()):
            if isinstance(value, SettingsGroupMeta):
                setattr(cls, name, GroupSlot(value, name))

    def __getstate__(self) -> dict[str, Any]:
        """The stored form of all explicit values, with `DefaultValue` for the others."""
        state = {name: setting.stored(self) for name, setting in settings_of(type(self))}
        return state | {name: group.__getstate__() for name, group in self._groups()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Load stored values. What cannot be used is reported with `CFGManagerLoadFailed` and left at its default."""
        for name, setting in settings_of(type(self)):
            if name in state:
                try:
                    setting.load(self, state[name])
                except ValueError as error:
                    self._report(name, error)
        for name, group in self._groups():
            stored = state.get(name, {})
            if isinstance(stored, dict):
                group.__setstate__(stored)
            else:
                self._report(name, ValueError("a group of settings is needed here, not a value"))

    def _report(self, attribute: str, error: ValueError) -> None:
        log.warning("the stored value of %r in %r is unusable: %s", attribute, self, error)
        data = TimestampedNotificationData(attribute=attribute, container=self, error=error)
        NotificationCenter().post_notification("CFGManagerLoadFailed", sender=ConfigurationManager(), data=data)

    def _groups(self) -> Iterator[tuple[str, SettingsGroup]]:
        for name, _ in groups_of(type(self)):
            yield name, getattr(self, name)

    def _walk(self, prefix: str = "") -> Iterator[tuple[str, Setting[Any], Container]]:
        """Every setting in this container and its groups: its path, the descriptor, and the container that has it."""
        for name, setting in settings_of(type(self)):
            yield prefix + name, setting, self
        for name, group in self._groups():
            yield from group._walk(f"{prefix}{name}.")


class SettingsGroup(Container, metaclass=SettingsGroupMeta):
    """A named group of settings; groups may hold groups, and subclasses add settings or replace them."""

    def __repr__(self) -> str:
        # Not the values: there may be passwords among them.
        parent = self.__dict__.get("_parent")
        return f"<{type(self).__name__}>" if parent is None else f"<{type(self).__name__} of {parent!r}>"


def group(cls: type[G]) -> G:
    """Declare a group: `audio = group(AudioSettings)` is `audio = AudioSettings`, in a form that type checkers follow.

    On the class, the attribute is the group's class; on an instance it is the instance's own group.
    """
    return cast(G, cls)


def settings_of(cls: type) -> Iterator[tuple[str, Setting[Any]]]:
    """The settings that are attributes of the class, with their names, in the order of their declaration."""
    for name in _names(cls):
        attribute = getattr(cls, name, None)
        if isinstance(attribute, Setting):
            yield name, attribute


def groups_of(cls: type) -> Iterator[tuple[str, SettingsGroupMeta]]:
    """The groups that are attributes of the class, with their names, in the order of their declaration."""
    for name in _names(cls):
        attribute = getattr(cls, name, None)
        if isinstance(attribute, SettingsGroupMeta):
            yield name, attribute


def _names(cls: type) -> Iterator[str]:
    names = dict.fromkeys(name for base in reversed(cls.__mro__) for name in vars(base))
    return (name for name in names if not name.startswith("__"))
