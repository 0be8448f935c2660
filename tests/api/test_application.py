"""The application as a whole: rows 55 to 70."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from sipsimple.account import AccountManager
from sipsimple.application import SIPApplication
from sipsimple.audio import AudioBridge, AudioDevice
from sipsimple.configuration import ConfigurationManager
from sipsimple.configuration.backend import ConfigurationBackendError
from sipsimple.configuration.backend.file import FileBackend, FileParserError
from sipsimple.configuration.backend.memory import MemoryBackend
from sipsimple.configuration.datatypes import PortRange
from sipsimple.configuration.settings import SIPSimpleSettings
from sipsimple.core import AudioMixer, Engine
from sipsimple.loop import bind_loop, unbind_loop
from sipsimple.notification import NotificationCenter
from tests.support.agent import SETTINGS, Agent, Record, running_agent

LIMIT = 10.0


class Ears(Record):
    """A record that other threads can wait for."""

    def __init__(self) -> None:
        super().__init__()
        self.changed = threading.Condition()

    def handle_notification(self, notification: Any) -> None:
        super().handle_notification(notification)
        with self.changed:
            self.changed.notify_all()

    def wait(self, name: str) -> Any:
        def found() -> Any:
            return next((n.data for n in self.all if n.name == name), None)

        with self.changed:
            assert self.changed.wait_for(found, LIMIT), f"{name} did not come, only {[n.name for n in self.all]}"
        return found()


@pytest.fixture
def ears(nothing_left: None):
    ears = Ears()
    NotificationCenter().add_observer(ears)
    yield ears
    NotificationCenter().remove_observer(ears)
    if SIPApplication.state not in (None, "stopped"):
        SIPApplication().stop().wait(LIMIT)
    SIPApplication.forget()


@pytest.mark.spec(55)
def test_it_is_one_object_and_a_subclass_has_one_of_its_own():
    class Mine(SIPApplication):
        def __init__(self) -> None:
            super().__init__()
            self.own = True

    assert SIPApplication() is SIPApplication()
    assert Mine() is Mine()
    assert Mine().own


@pytest.mark.spec(56, 57, 58, 59, 66, 67, 68, 69)
def test_its_life_in_a_thread_of_its_own(ears: Ears):
    application = SIPApplication()
    assert not application.running
    backend = MemoryBackend(SETTINGS)
    application.start(backend)
    assert application.running
    assert SIPApplication.running
    assert ConfigurationManager().backend is backend
    ears.wait("SIPApplicationDidStart")
    with pytest.raises(RuntimeError, match="started"):
        application.start(backend)
    application.stop()
    assert "SIPApplicationWillEnd" in [n.name for n in ears.all]
    assert not application.running
    application.stop()
    assert ears.wait("SIPApplicationDidEnd").end_reason == "application request"
    names = [n.name for n in ears.all]
    assert names.count("SIPApplicationWillEnd") == names.count("SIPApplicationDidEnd") == 1
    order = [
        "SIPAccountManagerDidAddAccount",
        "SIPApplicationWillStart",
        "SIPEngineWillStart",
        "SIPEngineDidStart",
        "SIPAccountManagerWillStart",
        "SIPAccountManagerDidStart",
        "SIPApplicationDidStart",
        "SIPApplicationWillEnd",
        "SIPAccountManagerWillEnd",
        "SIPAccountDidDeactivate",
        "SIPAccountManagerDidEnd",
        "SIPEngineWillEnd",
        "SIPEngineDidEnd",
        "SIPApplicationDidEnd",
    ]
    assert [names.index(name) for name in order] == sorted(names.index(name) for name in order)
    assert names[-1] == "SIPApplicationDidEnd"


@pytest.mark.spec(56)
def test_a_configuration_that_cannot_be_loaded_is_raised_and_start_works_afterwards(ears: Ears, tmp_path: Path):
    damaged = tmp_path / "config"
    damaged.write_text("this is no configuration\n")
    with pytest.raises(FileParserError, match="line 1"):
        SIPApplication().start(FileBackend(str(damaged)))
    assert SIPApplication().state is None
    assert damaged.read_text() == "this is no configuration\n"

    class Broken(MemoryBackend):
        def load(self) -> Any:
            raise ConfigurationBackendError("no disk")

    with pytest.raises(ConfigurationBackendError):
        SIPApplication().start(Broken())
    SIPApplication().start(MemoryBackend(SETTINGS)).wait(LIMIT)
    assert SIPApplication().running


@pytest.mark.spec(60, 61, 62, 63, 64, 65)
async def test_its_audio_parts_are_the_same_for_class_instance_and_subclass(nothing_left: None):
    class Mine(SIPApplication):
        pass

    assert SIPApplication.voice_audio_mixer is None
    async with running_agent() as agent:
        for side in ("voice", "alert"):
            mixer = getattr(agent.application, f"{side}_audio_mixer")
            bridge = getattr(agent.application, f"{side}_audio_bridge")
            device = getattr(agent.application, f"{side}_audio_device")
            assert isinstance(mixer, AudioMixer)
            assert isinstance(bridge, AudioBridge)
            assert isinstance(device, AudioDevice)
            assert bridge.mixer is device.mixer is mixer
            assert device in bridge
            assert getattr(SIPApplication, f"{side}_audio_mixer") is getattr(Mine(), f"{side}_audio_mixer") is mixer
    assert SIPApplication.voice_audio_mixer is None


def test_attributes_have_one_value_wherever_they_are_written():
    class Mine(SIPApplication):
        pass

    Mine.end_reason = "told by a subclass"
    assert SIPApplication.end_reason == SIPApplication().end_reason == "told by a subclass"
    Mine().end_reason = None
    assert SIPApplication.end_reason is None


def test_stopping_in_will_start_starts_nothing_else(ears: Ears):
    class Hasty:
        def handle_notification(self, notification: Any) -> None:
            SIPApplication().stop()

    hasty = Hasty()
    NotificationCenter().add_observer(hasty, "SIPApplicationWillStart")
    try:
        SIPApplication().start(MemoryBackend(SETTINGS))
        ears.wait("SIPApplicationDidEnd")
    finally:
        NotificationCenter().remove_observer(hasty, "SIPApplicationWillStart")
    assert not {"SIPEngineWillStart", "SIPApplicationDidStart"} & {n.name for n in ears.all}


def test_a_port_in_use_ends_the_start_with_a_reason(ears: Ears, free_udp_port: int):
    import socket

    settings = {**SETTINGS, "SIPSimpleSettings": {**SETTINGS["SIPSimpleSettings"]}}
    settings["SIPSimpleSettings"]["sip"] = {"transport_list": ["udp"], "udp_port": str(free_udp_port)}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", free_udp_port))
        started = SIPApplication().start(MemoryBackend(settings))
        assert ears.wait("SIPApplicationDidEnd").end_reason == "engine failed"
    with pytest.raises(Exception, match=str(free_udp_port)):
        started.wait(LIMIT)


@pytest.mark.spec(69)
def test_it_ends_within_seconds_when_the_registrar_does_not_answer(ears: Ears, free_udp_port: int):
    account = {
        "enabled": "true",
        "sip": {"outbound_proxy": f"127.0.0.1:{free_udp_port};transport=udp"},
    }
    settings = {**SETTINGS, "Accounts": {"alice@example.org": account}}
    SIPApplication().start(MemoryBackend(settings)).wait(LIMIT)
    ears.wait("SIPAccountWillRegister")
    begin = time.monotonic()
    SIPApplication().stop().wait(LIMIT)
    assert time.monotonic() - begin < 8


def test_handlers_of_a_subclass_are_called(ears: Ears):
    told = []

    class Mine(SIPApplication):
        def _NH_SIPEngineDidStart(self, notification: Any) -> None:
            told.append(notification.name)

        def _NH_CFGSettingsObjectDidChange(self, notification: Any) -> None:
            told.append(notification.name)
            super()._NH_CFGSettingsObjectDidChange(notification)

    application = Mine()
    application.start(MemoryBackend(SETTINGS)).wait(LIMIT)
    settings = SIPSimpleSettings()
    settings.user_agent = "mine 1.0"
    settings.save()
    application.stop().wait(LIMIT)
    assert told == ["SIPEngineDidStart", "CFGSettingsObjectDidChange"]


async def test_saved_settings_are_followed(agent: Agent):
    settings = SIPSimpleSettings()
    settings.user_agent = "changed 2.0"
    settings.rtp.port_range = PortRange(20000, 20100)
    settings.rtp.audio_codec_list = ["PCMA"]
    settings.audio.silent = True
    settings.save()
    await asyncio.sleep(0)
    engine = Engine()
    assert engine.user_agent == "changed 2.0"
    assert engine.rtp_port_range == (20000, 20100)
    assert engine.codecs == ["PCMA"]
    assert agent.application.alert_audio_mixer.output_volume == 0


async def test_another_run_in_the_same_process_knows_nothing_of_the_first(nothing_left: None):
    async with running_agent() as agent:
        agent.account.display_name = "First"
        agent.account.save()
    async with running_agent() as agent:
        assert agent.account.display_name is None
        assert AccountManager().has_account("alice@example.org")


def test_an_application_that_finds_another_loop_at_work_may_be_started_again(ears):
    loop = asyncio.new_event_loop()
    bind_loop(loop)
    try:
        with pytest.raises(RuntimeError, match="another event loop"):
            SIPApplication().start(MemoryBackend(SETTINGS))
        assert SIPApplication.state is None
    finally:
        unbind_loop(loop)
        loop.close()
    SIPApplication().start(MemoryBackend(SETTINGS)).wait(LIMIT)
    assert SIPApplication.state == "started"
