"""One setting: its type and default, its value in each object, what changed since the last save, its stored form.

`Setting` is a descriptor. The value lives in the group or settings object whose attribute it is
(`sipsimple.configuration.groups`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, Literal, TypeVar, cast, overload

from sipsimple.configuration.manager import DefaultValue
from sipsimple.configuration.storage import from_stored, to_stored

T = TypeVar("T")


class ModifiedValue:
    """What a setting was (`old`) and has become (`new`). Settings marked secret show neither in the repr."""

    __slots__ = ("_new", "_old", "_secret")

    def __init__(self, old: Any, new: Any, *, secret: bool = False) -> None:
        self._old = old
        self._new = new
        self._secret = secret

    @property
    def old(self) -> Any:
        return self._old

    @property
    def new(self) -> Any:
        return self._new

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ModifiedValue):
            return NotImplemented
        return bool(self._old == other._old and self._new == other._new)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        if self._secret:
            return "ModifiedValue(old=***, new=***)"
        return f"ModifiedValue(old={self._old!r}, new={self._new!r})"


class _State:
    """A setting in one object: the explicit value now, and as of the last save or load (DefaultValue: none)."""

    __slots__ = ("announced", "dirty", "saved", "value")

    def __init__(self) -> None:
        self.value: Any = DefaultValue
        self.saved: Any = DefaultValue
        self.dirty = False
        # A save has reported this change and is about to forget it; see `Setting.announce`.
        self.announced = False

    def settle(self) -> None:
        self.saved = self.value
        self.dirty = self.announced = False


class Setting(Generic[T]):
    """A class-level attribute of a SettingsGroup or SettingsObject: `port = Setting(type=Port, default=0)`.

    Reading it gives the explicit value, else the default. Assigning converts with `type` and raises what the
    conversion raises (ValueError, TypeError); assigning `DefaultValue` removes the explicit value. The value of a
    `secret` setting appears in no log and no repr.
    """

    __slots__ = ("default", "name", "nillable", "secret", "type")

    @overload
    def __init__(
        self: Setting[T], type: type[T], default: Any, nillable: Literal[False] = False, *, secret: bool = False
    ) -> None: ...

    @overload
    def __init__(
        self: Setting[T | None], type: type[T], default: Any = None, *, nillable: Literal[True], secret: bool = False
    ) -> None: ...

    def __init__(self, type: type[Any], default: Any = None, nillable: bool = False, *, secret: bool = False) -> None:
        if default is None and not nillable:
            raise TypeError("a setting that is not nillable needs a default other than None")
        self.type = type
        self.default: Any = default if default is None or isinstance(default, type) else type(default)
        self.nillable = nillable
        self.secret = secret
        self.name = "setting"

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, obj: None, owner: type | None = None) -> Setting[T]: ...

    @overload
    def __get__(self, obj: object, owner: type | None = None) -> T: ...

    def __get__(self, obj: object | None, owner: type | None = None) -> Setting[T] | T:
        if obj is None:
            return self
        return self._effective(self._state(obj).value)

    def __set__(self, obj: object, value: Any) -> None:
        state = self._state(obj)
        if value is None and not self.nillable:
            raise ValueError(f"the setting {self.name!r} cannot be None; assign DefaultValue to reset it")
        if value is not None and value is not DefaultValue and not isinstance(value, self.type):
            value = self.type(value)
        if _same(value, state.value):
            return
        if state.announced:
            state.settle()
        state.value = value
        state.dirty = True

    def isset(self, obj: object) -> bool:
        """Whether there is an explicit value."""
        return self._state(obj).value is not DefaultValue

    def isdirty(self, obj: object) -> bool:
        """Whether it changed since the last save or load."""
        return self._state(obj).dirty

    def get_old(self, obj: object) -> T:
        """The value as of the last save or load."""
        return self._effective(self._state(obj).saved)

    def undo(self, obj: object) -> None:
        """Return to the value as of the last save or load."""
        state = self._state(obj)
        state.value = state.saved
        state.dirty = state.announced = False

    def clear_dirty(self, obj: object) -> None:
        """Take the present value for saved."""
        self._state(obj).settle()

    def get_modified(self, obj: object) -> ModifiedValue | None:
        """The change since the last save or load; None without one."""
        if not self.isdirty(obj):
            return None
        return ModifiedValue(self.get_old(obj), self.__get__(obj), secret=self.secret)

    def is_pending(self, obj: object) -> bool:
        """Whether there is a change that no save has reported yet."""
        state = self._state(obj)
        return state.dirty and not state.announced

    def announce(self, obj: object) -> None:
        """Note that a save is going to report the change.

        Its observers still find the setting dirty. What they change on top of it is the matter of the next save.
        """
        state = self._state(obj)
        state.announced = state.dirty

    def settle(self, obj: object) -> None:
        """Take the change that was announced for saved, unless it has been overtaken by another change."""
        state = self._state(obj)
        if state.announced:
            state.settle()

    def stored(self, obj: object) -> Any:
        """The stored form of the explicit value, `DefaultValue` without one; raises TypeError when there is no form."""
        value = self._state(obj).value
        return DefaultValue if value is DefaultValue else to_stored(value)

    def load(self, obj: object, stored: Any) -> None:
        """Take a stored value, which makes no change; raises ValueError for an unusable one."""
        state = self._state(obj)
        state.value = self.from_stored(stored)
        state.settle()

    def from_stored(self, stored: Any) -> T:
        """The value of a stored form; raises ValueError for an unusable one. `Setting` keeps its own value."""
        value: T = None if stored is None and self.nillable else from_stored(self.type, stored)  # type: ignore[assignment]
        return value

    def _state(self, obj: object) -> _State:
        states: dict[Setting[Any], _State] = obj.__dict__.setdefault("_setting_states", {})
        state = states.get(self)
        return state if state is not None else states.setdefault(self, _State())

    def _effective(self, value: Any) -> T:
        effective: T = self.default if value is DefaultValue else value
        return effective

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r} of {self.type.__name__}>"


class SettingAlias(Setting[T]):
    """Another name of a setting elsewhere in the same settings object, found by its path from the object.

    Both names read and write one value, and both are reported as modified. Only the setting itself is stored; a value
    stored under the alias is understood.
    """

    __slots__ = ("path",)

    def __init__(self, setting: Setting[T], path: str) -> None:
        super().__init__(setting.type, setting.default, cast(Any, setting.nillable), secret=setting.secret)
        self.path = path

    def stored(self, obj: object) -> Any:
        return DefaultValue

    def load(self, obj: object, stored: Any) -> None:
        if not self.isset(obj):
            super().load(obj, stored)

    def _state(self, obj: object) -> _State:
        container: Any = obj
        while (parent := container.__dict__.get("_parent")) is not None:
            container = parent
        *groups, name = self.path.split(".")
        for group in groups:
            container = getattr(container, group)
        setting: Setting[T] = getattr(type(container), name)
        return setting._state(container)


class SettingsObjectID(Generic[T]):
    """The `id` of a settings object that is made with one: it is set once, converted with `type`."""

    def __init__(self, type: Callable[[Any], T]) -> None:
        self.type = type

    @overload
    def __get__(self, obj: None, owner: type | None = None) -> SettingsObjectID[T]: ...

    @overload
    def __get__(self, obj: object, owner: type | None = None) -> T: ...

    def __get__(self, obj: object | None, owner: type | None = None) -> SettingsObjectID[T] | T:
        if obj is None:
            return self
        try:
            value: T = obj.__dict__["_id"]
        except KeyError:
            raise AttributeError("the id is not set yet") from None
        return value

    def __set__(self, obj: object, value: Any) -> None:
        value = self.convert(value)
        if obj.__dict__.setdefault("_id", value) != value:
            raise AttributeError(f"the id is {obj.__dict__['_id']!r} and cannot be changed")

    def convert(self, value: Any) -> T:
        """The value as an id; raises ValueError for what cannot be one."""
        if isinstance(self.type, type) and isinstance(value, self.type):
            return cast(T, value)
        return self.type(value)


def _same(one: Any, other: Any) -> bool:
    if one is None or other is None or one is DefaultValue or other is DefaultValue:
        return one is other
    return bool(one == other)
