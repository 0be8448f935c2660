"""Settings objects: loaded when made, stored by `save()`, one per identity.

A settings object is declared as a class whose attributes are settings and groups of settings:

    class AudioSettings(SettingsGroup):
        sample_rate = Setting(type=SampleRate, default=16000)

    class Settings(SettingsObject):
        __id__ = "Settings"
        audio = group(AudioSettings)

`Settings().audio.sample_rate = 32000` changes the value in memory; `Settings().save()` stores it and tells the
observers of `CFGSettingsObjectDidChange`.
"""

from __future__ import annotations

import logging
from typing import Any, ClassVar, TypeAlias, cast

from sipsimple.configuration.errors import ObjectNotFoundError
from sipsimple.configuration.groups import Container, GroupSlot, groups_of, settings_of
from sipsimple.configuration.manager import ConfigurationManager
from sipsimple.configuration.setting import ModifiedValue, Setting, SettingsObjectID
from sipsimple.loop import run_in_loop_or_now
from sipsimple.notification import NotificationCenter, TimestampedNotificationData

_Walk: TypeAlias = "list[tuple[str, Setting[Any], Container]]"

log = logging.getLogger(__name__)


class SettingsObjectMeta(type):
    """Makes one object per class and id, until the configuration manager is stopped."""

    def __call__(cls, *args: Any, **kw: Any) -> Any:
        settings_class = cast("type[SettingsObject]", cls)
        id = settings_class._identity(*args, **kw)
        manager = ConfigurationManager()
        with manager.lock:
            known = manager.objects.get((cls, id))
            if known is not None:
                return known
            made = super().__call__(*args, **kw)
            manager.objects[cls, id] = made
        made._created()
        return made


class SettingsObject(Container, metaclass=SettingsObjectMeta):
    """An object that is stored under its id, in the group `__group__` or (None) at the top of the configuration.

    A class with an `__id__` has one object and takes no argument. Others take the id, and declare
    `id = SettingsObjectID(type=...)`. Stored values are loaded before `__init__` runs. Raises RuntimeError while
    ConfigurationManager is not started.
    """

    __group__: ClassVar[str | None] = None
    __id__: Any = None

    def __new__(cls, *args: Any, **kw: Any) -> Any:
        instance = super().__new__(cls)
        id = cls._identity(*args, **kw)
        instance.__dict__.update(__id__=id, _deleted=False)
        if isinstance(getattr(cls, "id", None), SettingsObjectID):
            instance.__dict__["_id"] = id
        try:
            stored = ConfigurationManager().get(cls.__group__, str(id))
        except ObjectNotFoundError:
            return instance
        instance.__setstate__(stored)
        return instance

    def __init__(self, id: str | None = None) -> None:
        pass

    @classmethod
    def _identity(cls, id: Any = None) -> str:
        if cls.__id__ is not None:
            if id is not None:
                raise TypeError(f"{cls.__name__} takes no id: there is only {cls.__id__!r}")
            return cast(str, cls.__id__)
        if id is None:
            raise ValueError(f"{cls.__name__} needs an id")
        if not isinstance(id, str):
            raise TypeError(f"the id of {cls.__name__} has to be text, not {type(id).__name__}")
        descriptor = getattr(cls, "id", None)
        if isinstance(descriptor, SettingsObjectID):
            id = descriptor.convert(id)
        if not id:
            raise ValueError(f"the id of {cls.__name__} cannot be empty")
        return cast(str, id)

    def _created(self) -> None:
        """Take note that this is the object of its identity now; called once, by whoever made it, without a lock."""

    def get_modified(self) -> dict[str, ModifiedValue]:
        """The settings that changed since the last save or load, by their path: `"sip.udp_port"`."""
        changes = ((path, setting.get_modified(container)) for path, setting, container in self._walk())
        return {path: change for path, change in changes if change is not None}

    def save(self) -> None:
        """Store what changed, and post `CFGSettingsObjectDidChange`; nothing happens when nothing changed.

        A failure of the storage is posted first, as `CFGManagerSaveFailed`; the change counts all the same. Raises
        TypeError for a value whose type has no stored form. May be called from any thread; the notifications are
        posted in the loop thread when there is one.
        """
        manager = ConfigurationManager()
        failure: Exception | None = None
        with manager.lock:
            pending = [entry for entry in self._walk() if entry[1].is_pending(entry[2])]
            if not pending or self._is_deleted:
                return
            modified: dict[str, ModifiedValue] = {}
            changes: dict[str, Any] = {}
            for path, setting, container in pending:
                modified[path] = ModifiedValue(
                    setting.get_old(container), setting.__get__(container), secret=setting.secret
                )
                *groups, name = path.split(".")
                branch = changes
                for group_name in groups:
                    branch = branch.setdefault(group_name, {})
                branch[name] = setting.stored(container)
            for _, setting, container in pending:
                setting.announce(container)
            try:
                manager.update(self.__group__, str(self.__id__), changes)
                manager.save()
            except Exception as error:  # noqa: BLE001  # backends are foreign code; the failure is posted
                failure = error
        run_in_loop_or_now(self._report_change, pending, modified, failure)

    def _report_change(self, changes: _Walk, modified: dict[str, ModifiedValue], failure: Exception | None) -> None:
        if failure is not None:
            self._report_failure(failure, modified)
        data = TimestampedNotificationData(modified=modified)
        NotificationCenter().post_notification("CFGSettingsObjectDidChange", sender=self, data=data)
        for _, setting, container in changes:
            setting.settle(container)

    def delete(self) -> Any:
        """Remove the object from the storage; from now on another object may be made with its id.

        Saving a deleted object does nothing. Raises TypeError for the object of a class that has a fixed id. A failure
        of the storage is posted as `CFGManagerSaveFailed`.
        """
        if type(self).__id__ is not None:
            raise TypeError(f"{self!r} cannot be deleted: there is always one")
        manager = ConfigurationManager()
        with manager.lock:
            if self._is_deleted:
                return
            self.__dict__["_deleted"] = True
            manager.objects.pop((type(self), self.__id__), None)
            manager.delete(self.__group__, str(self.__id__))
            try:
                manager.save()
            except Exception as error:  # noqa: BLE001  # as in save()
                failure = error
            else:
                return
        run_in_loop_or_now(self._report_failure, failure, {})

    def clone(self, new_id: str) -> Any:
        raise NotImplementedError("clone() is not part of this API")

    def update(self, object: Any) -> None:
        raise NotImplementedError("update() is not part of this API")

    @classmethod
    def register_extension(cls, extension: type[SettingsObjectExtension]) -> None:
        """Add the settings and groups of the extension to this class, in place of those of the same name.

        Has to be done before the first object is made. Raises TypeError for what is no SettingsObjectExtension.
        """
        if not (isinstance(extension, type) and issubclass(extension, SettingsObjectExtension)):
            raise TypeError(f"{extension!r} is no subclass of SettingsObjectExtension")
        for name, setting in settings_of(extension):
            setattr(cls, name, setting)
        for name, group_class in groups_of(extension):
            setattr(cls, name, GroupSlot(group_class, name))

    @property
    def _is_deleted(self) -> bool:
        return bool(self.__dict__["_deleted"])

    def _report_failure(self, error: Exception, modified: dict[str, ModifiedValue]) -> None:
        log.error("saving %r failed: %s", self, error)
        data = TimestampedNotificationData(object=self, modified=modified, exception=error)
        NotificationCenter().post_notification("CFGManagerSaveFailed", sender=ConfigurationManager(), data=data)

    def __repr__(self) -> str:
        id = "" if type(self).__id__ is not None else repr(str(self.__id__))
        return f"{type(self).__name__}({id})"


class SettingsObjectExtension:
    """Settings and groups to add to a settings object with `register_extension`; never instantiated."""

    def __new__(cls, *_: Any, **__: Any) -> Any:
        raise TypeError(f"{cls.__name__} is not to be instantiated: register_extension() takes the class")
