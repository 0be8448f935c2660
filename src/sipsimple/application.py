"""Starts and stops every part of a user agent in the right order (the contract's `sipsimple.application`).

Two ways to run it. `SIPApplication().start(backend)` gives the middleware an event loop in a thread of its own and
returns at once; notifications tell the rest. `async with SIPApplication.running(backend) as application:` runs it in
the caller's loop, between `SIPApplicationDidStart` and `SIPApplicationDidEnd`.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, ClassVar, Final

from zope.interface import implementer

from sipsimple.account import AccountManager
from sipsimple.audio import AudioBridge, AudioDevice
from sipsimple.configuration import ConfigurationManager, SettingsObject
from sipsimple.configuration.settings import SIPSimpleSettings
from sipsimple.core import AudioMixer, PJSIPTLSError, SIPCoreError
from sipsimple.core.media import MediaClient
from sipsimple.engine import Engine
from sipsimple.loop import LoopThread, Result, TaskOwner, bind_loop, run_in_loop, unbind_loop
from sipsimple.notification import (
    IObserver,
    Notification,
    NotificationCenter,
    ObserverWeakrefProxy,
    TimestampedNotificationData,
)
from sipsimple.session import SessionManager
from sipsimple.singleton import Singleton

log = logging.getLogger(__name__)

_ENGINE_SETTINGS: Final = {
    "user_agent",
    "sip.udp_port",
    "sip.tcp_port",
    "rtp.port_range",
    "rtp.audio_codec_list",
    "logs.pjsip_level",
}
_TLS_SETTINGS: Final = {"sip.tls_port", "tls.protocol", "tls.ca_list", "tls.timeout", "default_account"}
_VOICE_SETTINGS: Final = {"audio.input_device", "audio.output_device", "audio.tail_length"}
_ALERT_SETTINGS: Final = {"audio.alert_device", "audio.tail_length"}


class ApplicationAttribute:
    """An attribute with one value, through whichever class or instance it is read or written."""

    def __init__(self, value: Any = None) -> None:
        self.value = value

    def __get__(self, instance: object, owner: type) -> Any:
        return self.value

    def __set__(self, instance: object, value: Any) -> None:
        self.value = value


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

    def __call__(self, config_backend: object) -> Any:
        return _running_in_this_loop(self._owner, config_backend)

    def __repr__(self) -> str:
        return repr(bool(self))


class ApplicationType(Singleton):
    """Metaclass: an assignment on any class reaches the shared attribute instead of hiding it."""

    def __setattr__(cls, name: str, value: Any) -> None:
        for base in cls.__mro__:
            attribute = base.__dict__.get(name)
            if isinstance(attribute, ApplicationAttribute):
                attribute.value = value
                return
        super().__setattr__(name, value)


@implementer(IObserver)
class SIPApplication(metaclass=ApplicationType):
    """The user agent as a whole; applications use it as it is or subclass it.

    A subclass may define `_NH_<notification name>(notification)` for every notification of the Engine and for
    `CFGSettingsObjectDidChange`; one that overrides a method of this class calls it too.
    """

    running: ClassVar[Any] = _Running()

    state: ClassVar[Any] = ApplicationAttribute()
    end_reason: ClassVar[Any] = ApplicationAttribute()
    engine: ClassVar[Any] = ApplicationAttribute()
    alert_audio_mixer: ClassVar[Any] = ApplicationAttribute()
    alert_audio_bridge: ClassVar[Any] = ApplicationAttribute()
    alert_audio_device: ClassVar[Any] = ApplicationAttribute()
    voice_audio_mixer: ClassVar[Any] = ApplicationAttribute()
    voice_audio_bridge: ClassVar[Any] = ApplicationAttribute()
    voice_audio_device: ClassVar[Any] = ApplicationAttribute()

    _life: ClassVar[Any] = ApplicationAttribute()

    def __init__(self) -> None:
        self._observer = ObserverWeakrefProxy(self)

    def start(self, config_backend: object) -> Result[SIPApplication]:
        """Load the configuration and start everything in a thread of its own; returns before `SIPApplicationDidStart`.

        Errors of the configuration are raised here, and `start` may be called again. The result is settled with
        `SIPApplicationDidStart`, or raises SIPCoreError when the application could not start. Raises RuntimeError
        when it was started before.
        """
        life = self._load(config_backend)
        life.thread = LoopThread("sipsimple loop")
        life.thread.start()
        run_in_loop(life.begin)
        return life.started

    def stop(self) -> Result[SIPApplication]:
        """Stop everything; returns at once, and the result is settled after `SIPApplicationDidEnd`."""
        life: _Life | None = self._life
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

    def _load(self, config_backend: object) -> _Life:
        if self.state is not None:
            raise RuntimeError(f"SIPApplication is {self.state}: it can be started once")
        self.state = "starting"
        try:
            ConfigurationManager().start(config_backend)
            SIPSimpleSettings()
            AccountManager().load_accounts()
        except BaseException:
            _forget_configuration()
            self.state = None
            raise
        self.end_reason = None
        self._life = _Life(self)
        return self._life

    def _post(self, name: str, **attributes: Any) -> None:
        NotificationCenter().post_notification(name, self, TimestampedNotificationData(**attributes))

    # What the application reacts to

    def handle_notification(self, notification: Notification) -> None:
        handler = getattr(self, f"_NH_{notification.name}", None)
        if handler is not None:
            handler(notification)

    def _NH_SIPEngineDidFail(self, notification: Notification) -> None:
        life: _Life | None = self._life
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
            self._life.reopen_devices()

    def _NH_AudioDevicesDidChange(self, notification: Notification) -> None:
        if self.state == "started":
            self._life.reopen_devices()


class _Life:
    """One run of the application, from `start` to `SIPApplicationDidEnd`."""

    def __init__(self, application: SIPApplication) -> None:
        self.application = application
        self.thread: LoopThread | None = None
        self.started: Result[SIPApplication] = Result()
        self.ended: Result[SIPApplication] = Result()
        self.stop_requested = asyncio.Event()
        self.tasks = TaskOwner("application")
        self._main: asyncio.Task[None] | None = None

    def begin(self) -> None:
        self._main = asyncio.get_running_loop().create_task(self.run(), name="sipsimple application")

    async def run(self) -> None:
        application = self.application
        center = NotificationCenter()
        error: BaseException | None = None
        try:
            application._post("SIPApplicationWillStart")
            if not self.stop_requested.is_set():
                await self.start_components()
                if application.state == "starting":
                    application.state = "started"
                    application._post("SIPApplicationDidStart")
                    self.started.set_result(application)
            await self.stop_requested.wait()
        except SIPCoreError as failure:
            log.error("the SIP engine did not start: %s", failure)
            application.end_reason = "engine failed"
            error = failure
        except Exception as failure:
            log.exception("the application did not start")
            application.end_reason = "internal error"
            error = failure
        finally:
            application.state = "stopping"
            await self.stop_components()
            center.discard_observer(application, sender=Engine())
            center.discard_observer(application, name="CFGSettingsObjectDidChange")
            application.state = "stopped"
            self.started.set_exception(error or SIPCoreError(f"the application ended: {application.end_reason}"))
            application._post("SIPApplicationDidEnd", end_reason=application.end_reason)
            if self.thread is not None:
                self.thread.when_closed(lambda: self.ended.set_result(application))
                self.thread.stop()
            else:
                self.ended.set_result(application)

    async def start_components(self) -> None:
        application = self.application
        engine = application.engine = Engine()
        NotificationCenter().add_observer(application, sender=engine)
        NotificationCenter().add_observer(application, name="CFGSettingsObjectDidChange")
        options = _engine_options()
        try:
            await engine.start(**options)
        except PJSIPTLSError as error:
            application._post("SIPApplicationFailedToStartTLS", error=error)
            await engine.start(**{**options, "tls_port": None})
        await self.open_audio()
        _save_devices(application)
        await AccountManager().start()
        SessionManager().start()

    async def stop_components(self) -> None:
        """End what was started, in the reverse order; every step is bounded in time."""
        application = self.application
        await self.tasks.close()
        for step in (SessionManager().stop, AccountManager().stop, self._stop_engine):
            try:
                await step()
            except Exception:
                # One part that fails to end must not keep the others alive.
                log.exception("%s failed while the application stopped", getattr(step, "__qualname__", step))
        application.voice_audio_device = application.voice_audio_bridge = application.voice_audio_mixer = None
        application.alert_audio_device = application.alert_audio_bridge = application.alert_audio_mixer = None
        MediaClient().voice_mixer = None

    async def _stop_engine(self) -> None:
        if self.application.engine is not None:
            await self.application.engine.stop()

    # Audio

    async def open_audio(self) -> None:
        """Create both mixers with the devices of the settings, or what comes closest to them."""
        application = self.application
        audio = SIPSimpleSettings().audio
        rate = int(audio.sample_rate)
        voice = await asyncio.to_thread(
            _mixer_with_fallback, audio.input_device, audio.output_device, rate, int(audio.tail_length)
        )
        alert = await asyncio.to_thread(_mixer_with_fallback, None, audio.alert_device, rate, 0)
        if audio.silent:
            alert.output_volume = 0
        application.voice_audio_mixer = MediaClient().voice_mixer = voice
        application.voice_audio_device = AudioDevice(voice)
        application.voice_audio_bridge = AudioBridge(voice)
        application.voice_audio_bridge.add(application.voice_audio_device)
        application.alert_audio_mixer = alert
        application.alert_audio_device = AudioDevice(alert)
        application.alert_audio_bridge = AudioBridge(alert)
        application.alert_audio_bridge.add(application.alert_audio_device)

    def reopen_devices(self) -> None:
        self.tasks.spawn(self._reopen_voice())
        self.tasks.spawn(self._reopen_alert())

    async def _reopen_voice(self) -> None:
        audio = SIPSimpleSettings().audio
        wanted = (audio.input_device, audio.output_device)
        mixer = self.application.voice_audio_mixer
        await asyncio.to_thread(_set_devices_with_fallback, mixer, *wanted, int(audio.tail_length))
        _save_devices(self.application)

    async def _reopen_alert(self) -> None:
        audio = SIPSimpleSettings().audio
        mixer = self.application.alert_audio_mixer
        await asyncio.to_thread(_set_devices_with_fallback, mixer, None, audio.alert_device, 0)
        _save_devices(self.application)

    # Settings

    def apply_settings(self, changed: SettingsObject, modified: set[str]) -> None:
        """Follow a saved change of the settings."""
        settings = SIPSimpleSettings()
        if changed is settings:
            self._apply_audio(modified)
            if modified & _ENGINE_SETTINGS:
                self._apply_engine(modified)
        default_account = AccountManager().default_account
        account_tls = changed is default_account and modified & {"tls.verify_server", "tls.certificate"}
        if account_tls or (changed is settings and modified & _TLS_SETTINGS):
            self.tasks.spawn(self._apply_tls())

    def _apply_audio(self, modified: set[str]) -> None:
        audio = SIPSimpleSettings().audio
        if "audio.sample_rate" in modified:
            self.tasks.spawn(self.open_audio())
            return
        if modified & _VOICE_SETTINGS:
            self.tasks.spawn(self._reopen_voice())
        if modified & _ALERT_SETTINGS:
            self.tasks.spawn(self._reopen_alert())
        if "audio.silent" in modified:
            self.application.alert_audio_mixer.output_volume = 0 if audio.silent else 100

    def _apply_engine(self, modified: set[str]) -> None:
        options = _engine_options()
        engine = self.application.engine
        engine.user_agent = options["user_agent"]
        engine.rtp_port_range = options["rtp_port_range"]
        engine.codecs = options["codecs"]
        engine.log_level = options["log_level"]
        if "sip.udp_port" in modified:
            engine.set_udp_port(options["udp_port"])
        if "sip.tcp_port" in modified:
            engine.set_tcp_port(options["tcp_port"])

    async def _apply_tls(self) -> None:
        options = {name.removeprefix("tls_"): value for name, value in _engine_options().items() if "tls_" in name}
        try:
            await self.application.engine.set_tls_options(**options)
        except SIPCoreError as error:
            self.application._post("SIPApplicationFailedToStartTLS", error=error)


def _engine_options() -> dict[str, Any]:
    """The start options of the Engine, from the settings."""
    settings = SIPSimpleSettings()
    account = AccountManager().default_account
    certificate = account.tls.certificate.normalized if account is not None and account.tls.certificate else None
    ports = {
        f"{transport}_port": int(getattr(settings.sip, f"{transport}_port"))
        if transport in settings.sip.transport_list
        else None
        for transport in ("udp", "tcp", "tls")
    }
    return {
        **ports,
        "local_ip": settings.local_ip,
        "user_agent": settings.user_agent,
        "ignore_missing_ack": False,
        "tls_protocol": settings.tls.protocol,
        "tls_verify_server": account.tls.verify_server if account is not None else False,
        "tls_ca_file": os.path.expanduser(settings.tls.ca_list) if settings.tls.ca_list else None,
        "tls_cert_file": certificate,
        "tls_privkey_file": certificate,
        "tls_timeout": int(settings.tls.timeout),
        "rtp_port_range": (int(settings.rtp.port_range.start), int(settings.rtp.port_range.end)),
        "codecs": list(settings.rtp.audio_codec_list),
        "log_level": int(settings.logs.pjsip_level),
        "trace_sip": True,
    }


def _fallbacks(input_device: str | None, output_device: str | None) -> list[tuple[str | None, str | None]]:
    default = ("system_default" if input_device else None, "system_default" if output_device else None)
    return [(input_device, output_device), default, (None, None)]


def _mixer_with_fallback(
    input_device: str | None, output_device: str | None, sample_rate: int, tail_length: int
) -> AudioMixer:
    *attempts, silent = _fallbacks(input_device, output_device)
    for devices in attempts:
        try:
            return AudioMixer(*devices, sample_rate, tail_length)
        except SIPCoreError as error:
            log.warning("sound devices %s cannot be used: %s", devices, error)
    return AudioMixer(*silent, sample_rate, tail_length)


def _set_devices_with_fallback(
    mixer: AudioMixer, input_device: str | None, output_device: str | None, tail_length: int
) -> None:
    *attempts, silent = _fallbacks(input_device, output_device)
    for devices in attempts:
        try:
            mixer.set_sound_devices(*devices, tail_length)
            return
        except SIPCoreError as error:
            log.warning("sound devices %s cannot be used: %s", devices, error)
    mixer.set_sound_devices(*silent, tail_length)


def _save_devices(application: SIPApplication) -> None:
    """Write the devices that are really in use to the settings."""
    settings = SIPSimpleSettings()
    settings.audio.input_device = application.voice_audio_mixer.input_device
    settings.audio.output_device = application.voice_audio_mixer.output_device
    settings.audio.alert_device = application.alert_audio_mixer.output_device
    settings.save()


def _is_running() -> bool:
    return SIPApplication.state in ("starting", "started")


def _forget_configuration() -> None:
    AccountManager().forget()
    ConfigurationManager().stop()


@asynccontextmanager
async def _running_in_this_loop(
    application_type: type[SIPApplication], config_backend: object
) -> AsyncIterator[SIPApplication]:
    """Run the application in the running loop; everything is forgotten at the end, so that another may follow."""
    application = application_type()
    life = application._load(config_backend)
    loop = asyncio.get_running_loop()
    bind_loop(loop)
    life.begin()
    try:
        await life.started
        yield application
    finally:
        application.stop()
        await life.ended
        unbind_loop(loop)
        _reset(application)


def _reset(application: SIPApplication) -> None:
    """Make the process as if no application had run in it."""
    _forget_configuration()
    application.state = None
    application.engine = None
    application._life = None
