"""Starts and stops every part of a user agent in the right order (the contract's `sipsimple.application`).

Two ways to run it. `SIPApplication().start(backend)` gives the middleware an event loop in a thread of its own and
returns at once; notifications tell the rest. `async with SIPApplication.running(backend) as application:` runs it in
the caller's loop, between `SIPApplicationDidStart` and `SIPApplicationDidEnd`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from zope.interface import implementer

from sipsimple.account import AccountManager
from sipsimple.account.contact import instance_id
from sipsimple.application.attributes import ApplicationAttribute, ApplicationType
from sipsimple.application.life import Life
from sipsimple.configuration import ConfigurationManager
from sipsimple.configuration.backend import ConfigurationBackend
from sipsimple.configuration.settings import SIPSimpleSettings
from sipsimple.loop import LoopThread, Result, bind_loop, run_in_loop, unbind_loop
from sipsimple.notification import (
    IObserver,
    Notification,
    NotificationCenter,
    TimestampedNotificationData,
)


class _Running:
    """`application.running` is a bool; `SIPApplication.running(backend)` is the asyncio way to run one."""

    def __get__(self, instance: SIPApplication | None, owner: type[SIPApplication]) -> Any:
        return _is_running() if instance is not None else _RunningFlag(_is_running(), owner)


class _RunningFlag(int):
    """The value of `running` read on the class: equal to True or False, and callable."""

    _owner: type[SIPApplication]

    def __new__(cls, value: bool, owner: type[SIPApplication]) -> _RunningFlag:
        flag = super().__new__(cls, value)
        flag._owner = owner
        return flag

    def __call__(self, config_backend: ConfigurationBackend) -> Any:
        return _running_in_this_loop(self._owner, config_backend)

    def __repr__(self) -> str:
        return repr(bool(self))


@implementer(IObserver)
class SIPApplication(metaclass=ApplicationType):
    """The user agent as a whole; applications use it as it is or subclass it.

    A subclass may define `_NH_<notification name>(notification)` for every notification of the Engine and for
    `CFGSettingsObjectDidChange`; one that overrides a method of this class calls it too.
    """

    running: Any = _Running()

    state: Any = ApplicationAttribute()
    end_reason: Any = ApplicationAttribute()
    engine: Any = ApplicationAttribute()
    alert_audio_mixer: Any = ApplicationAttribute()
    alert_audio_bridge: Any = ApplicationAttribute()
    alert_audio_device: Any = ApplicationAttribute()
    voice_audio_mixer: Any = ApplicationAttribute()
    voice_audio_bridge: Any = ApplicationAttribute()
    voice_audio_device: Any = ApplicationAttribute()

    _life: Any = ApplicationAttribute()

    def start(self, config_backend: ConfigurationBackend) -> Result[SIPApplication]:
        """Load the configuration and start everything in a thread of its own; returns before `SIPApplicationDidStart`.

        Errors of the configuration are raised here, and `start` may be called again. The result is settled with
        `SIPApplicationDidStart`, or raises SIPCoreError when the application could not start. Raises RuntimeError
        when it was started before.
        """
        life = self._load(config_backend)
        life.thread = LoopThread("sipsimple loop")
        with self._unloaded_on_error():
            life.thread.start()
        run_in_loop(life.begin)
        return life.started

    def stop(self) -> Result[SIPApplication]:
        """Stop everything; returns at once, and the result is settled after `SIPApplicationDidEnd`."""
        life: Life | None = self._life
        if life is None:
            nothing: Result[SIPApplication] = Result()
            nothing.set_result(self)
            return nothing
        if self.state not in (None, "stopping", "stopped"):
            self.state = "stopping"
            self.end_reason = "application request"
            self._post("SIPApplicationWillEnd")
            run_in_loop(life.stop_requested.set)
        return life.ended

    @classmethod
    def forget(cls) -> None:
        """Make the process as if no application had run in it, so that another may; raises RuntimeError while one does.

        `SIPApplication.running` does it by itself; for tests and tools that use `start` and `stop` more than once.
        """
        if cls.state not in (None, "stopped"):
            raise RuntimeError(f"SIPApplication is {cls.state}: stop it first")
        _forget_configuration()
        cls.state = cls.engine = cls._life = None

    def _load(self, config_backend: ConfigurationBackend) -> Life:
        if self.state is not None:
            raise RuntimeError(f"SIPApplication is {self.state}: it can be started once")
        self.state = "starting"
        with self._unloaded_on_error():
            ConfigurationManager().start(config_backend)
            instance_id()
            SIPSimpleSettings().save()
            AccountManager().load_accounts()
        self.end_reason = None
        life = self._life = Life(self)
        return life

    @contextmanager
    def _unloaded_on_error(self) -> Iterator[None]:
        """Whatever goes wrong before anything runs, the application may be started again."""
        try:
            yield
        except BaseException:
            _forget_configuration()
            self.state = self._life = None
            raise

    def _post(self, name: str, **attributes: Any) -> None:
        NotificationCenter().post_notification(name, self, TimestampedNotificationData(**attributes))

    # What the application reacts to

    def handle_notification(self, notification: Notification) -> None:
        handler = getattr(self, f"_NH_{notification.name}", None)
        if handler is not None:
            handler(notification)

    def _NH_SIPEngineDidFail(self, notification: Notification) -> None:
        life: Life | None = self._life
        if life is not None and self.state == "started":
            self.state = "stopping"
            self.end_reason = "engine failed"
            life.stop_requested.set()

    def _NH_SIPEngineDidEnd(self, notification: Notification) -> None:
        """Here for subclasses to override; the end itself is told by `SIPApplicationDidEnd`."""

    def _NH_CFGSettingsObjectDidChange(self, notification: Notification) -> None:
        if self.state == "started":
            run_in_loop(self._life.apply_settings, notification.sender, set(notification.data.modified))

    def _NH_DefaultAudioDeviceDidChange(self, notification: Notification) -> None:
        if self.state == "started":
            run_in_loop(self._life.follow_devices)

    def _NH_AudioMixerDidLoseDevices(self, notification: Notification) -> None:
        if self.state == "started" and notification.sender in (self.voice_audio_mixer, self.alert_audio_mixer):
            run_in_loop(self._life.follow_devices)

    def _NH_AudioDevicesDidChange(self, notification: Notification) -> None:
        if self.state == "started":
            run_in_loop(self._life.follow_devices)


def _is_running() -> bool:
    return SIPApplication.state in ("starting", "started")


def _forget_configuration() -> None:
    AccountManager().forget()
    ConfigurationManager().stop()


@asynccontextmanager
async def _running_in_this_loop(
    application_type: type[SIPApplication], config_backend: ConfigurationBackend
) -> AsyncIterator[SIPApplication]:
    """Run the application in the running loop; everything is forgotten at the end, so that another may follow."""
    application = application_type()
    life = application._load(config_backend)
    loop = asyncio.get_running_loop()
    with application._unloaded_on_error():
        bind_loop(loop)
    life.begin()
    try:
        await life.started
        yield application
    finally:
        application.stop()
        await life.ended
        unbind_loop(loop)
        application.forget()
