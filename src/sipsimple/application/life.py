"""One run of the application: what starts after what, what follows the settings, what ends in which order."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from sipsimple.account import AccountManager
from sipsimple.application.address import watch_address
from sipsimple.application.device_choice import DeviceChoice
from sipsimple.application.options import (
    ALERT_SETTINGS,
    ENGINE_SETTINGS,
    TLS_SETTINGS,
    VOICE_SETTINGS,
    engine_options,
)
from sipsimple.application.sound import (
    close_mixers,
    follow_devices,
    open_mixers,
    reopen_alert,
    reopen_voice,
    save_devices,
)
from sipsimple.configuration import SettingsObject
from sipsimple.configuration.settings import SIPSimpleSettings
from sipsimple.core import PJSIPTLSError, SIPCoreError
from sipsimple.engine import Engine
from sipsimple.loop import LoopThread, Result, TaskOwner
from sipsimple.notification import NotificationCenter
from sipsimple.session import SessionManager

if TYPE_CHECKING:
    from sipsimple.application.application import SIPApplication

log = logging.getLogger(__name__)


class Life:
    """One run of the application, from `start` to `SIPApplicationDidEnd`."""

    def __init__(self, application: SIPApplication) -> None:
        self.application = application
        self.thread: LoopThread | None = None
        self.started: Result[SIPApplication] = Result()
        self.ended: Result[SIPApplication] = Result()
        self.stop_requested = asyncio.Event()
        self.tasks = TaskOwner("application")
        self._device_choice = DeviceChoice()
        self._device_changes = asyncio.Lock()
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
            center.discard_observer(application, name="AudioMixerDidLoseDevices")
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
        NotificationCenter().add_observer(application, name="AudioMixerDidLoseDevices")
        options = engine_options()
        try:
            await engine.start(**options)
        except PJSIPTLSError as error:
            application._post("SIPApplicationFailedToStartTLS", error=error)
            await engine.start(**{**options, "tls_port": None})
        await open_mixers(application)
        save_devices(application)
        await AccountManager().start()
        SessionManager().start()
        self.tasks.spawn(watch_address(application))

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
        close_mixers(application)

    async def _stop_engine(self) -> None:
        if self.application.engine is not None:
            await self.application.engine.stop()

    # Sound

    def follow_devices(self) -> None:
        """Choose among the sound devices again, as some came or went, or others are the default ones."""
        self._change_devices(follow_devices(self.application, self._device_choice))

    def _change_devices(self, change: Coroutine[Any, Any, None]) -> None:
        """Do it after the changes that are under way."""

        async def in_turn() -> None:
            async with self._device_changes:
                await change

        self.tasks.spawn(in_turn())

    # Settings

    def apply_settings(self, changed: SettingsObject, modified: set[str]) -> None:
        """Follow a saved change of the settings."""
        settings = SIPSimpleSettings()
        if changed is settings:
            self._apply_audio(modified)
            if modified & ENGINE_SETTINGS:
                self._apply_engine(modified)
        default_account = AccountManager().default_account
        account_tls = changed is default_account and modified & {"tls.verify_server", "tls.certificate"}
        if account_tls or (changed is settings and modified & TLS_SETTINGS):
            self.tasks.spawn(self._apply_tls())

    def _apply_audio(self, modified: set[str]) -> None:
        audio = SIPSimpleSettings().audio
        if "audio.sample_rate" in modified:
            self.tasks.spawn(open_mixers(self.application))
            return
        if modified & VOICE_SETTINGS:
            self._change_devices(reopen_voice(self.application))
        if modified & ALERT_SETTINGS:
            self._change_devices(reopen_alert(self.application))
        if "audio.silent" in modified:
            self.application.alert_audio_mixer.output_volume = 0 if audio.silent else 100

    def _apply_engine(self, modified: set[str]) -> None:
        options = engine_options()
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
        options = {name.removeprefix("tls_"): value for name, value in engine_options().items() if "tls_" in name}
        try:
            await self.application.engine.set_tls_options(**options)
        except (SIPCoreError, ValueError) as error:
            # A ValueError is about a file that is not there.
            self.application._post("SIPApplicationFailedToStartTLS", error=error)
