"""The way to the media engine and back."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from sipsimple.core.media.client import MediaClient, default_host
from sipsimple.core.media.mixer import AudioMixer
from sipsimple.core.media.rtp import RTPTransport
from sipsimple.loop import bind_loop, unbind_loop
from sipsimple.media import commands
from sipsimple.media.errors import EngineStopped, MediaError, PortsExhausted
from sipsimple.media.host import ThreadHost
from sipsimple.media.process import ProcessHost
from sipsimple.sip.errors import PJSIPError, SIPCoreError


def test_the_engine_starts_with_what_needs_it(host):
    client = MediaClient()
    assert not client.running
    with pytest.raises(SIPCoreError, match="does not run"):
        client.post(commands.CreateMixer(1, 16000))
    mixer = AudioMixer(None, None, 16000)
    assert client.running
    client.stop()
    client.stop()
    assert not client.running
    with pytest.raises(SIPCoreError, match="does not run"):
        mixer.muted = True
    mixer.close()


async def test_a_transport_starts_the_engine(host):
    await RTPTransport("127.0.0.1").open()
    assert MediaClient().running


def test_the_devices_are_asked_for(host):
    host.reply = {commands.ListDevices: commands.DeviceNames(("mic",), ("speaker",))}
    assert MediaClient().devices().inputs == ("mic",)


def test_an_engine_that_does_not_start_is_an_error(host, monkeypatch):
    def start():
        raise MediaError("no clock")

    monkeypatch.setattr(host, "start", start)
    with pytest.raises(SIPCoreError, match="no clock"):
        MediaClient().start()


def test_errors_are_translated(host):
    MediaClient().start()
    host.refuse[commands.OpenTransport] = PortsExhausted("0.0.0.0", 1, 2)
    with pytest.raises(PJSIPError) as caught:
        MediaClient().call(commands.OpenTransport(1, "0.0.0.0", (1, 2)))
    assert caught.value.errno == 98


def test_a_silent_engine_is_an_error(host):
    MediaClient().start()
    host.hold.add(commands.ListDevices)
    with pytest.raises(SIPCoreError, match="did not answer"):
        MediaClient().call(commands.ListDevices(), timeout=0.01)


def test_a_stopped_engine_refuses(host):
    client = MediaClient()
    client.start()

    def refuse(command):
        raise EngineStopped

    host.post = refuse
    with pytest.raises(SIPCoreError, match="does not run"):
        client.post(commands.ListDevices())
    with pytest.raises(SIPCoreError, match="does not run"):
        client.call(commands.ListDevices())
    client.dismiss(commands.ListDevices())


def test_the_death_of_the_engine_is_told(host, caplog):
    client = MediaClient()
    client.start()
    reasons = []
    host.on_event(commands.EngineDied("first"))
    client.on_died = reasons.append
    host.on_event(commands.EngineDied("traceback"))
    assert reasons == ["traceback"]
    assert "traceback" in caplog.text


def test_a_refused_command_is_logged(host, caplog):
    MediaClient().start()
    host.on_event(commands.CommandFailed(commands.ListDevices(), MediaError("no")))
    assert "refused" in caplog.text


async def test_events_arrive_in_the_loop_thread(host):
    loop = asyncio.get_running_loop()
    bind_loop(loop)
    try:
        client = MediaClient()
        client.start()
        arrived = loop.create_future()

        class Listener:
            def handle_media_event(self, event):
                arrived.set_result((event, asyncio.get_running_loop()))

        listener = Listener()
        client.listen(5, listener)
        await asyncio.to_thread(host.on_event, commands.DTMFReceived(5, "1"))
        assert await arrived == (commands.DTMFReceived(5, "1"), loop)
        client.ignore(5)
        host.on_event(commands.DTMFReceived(5, "2"))
        assert await client.acall(commands.ListDevices()) is None
    finally:
        unbind_loop(loop)


def test_codecs_are_those_of_the_engine_unless_told(host):
    client = MediaClient()
    assert client.codecs == client.available_codecs
    assert "PCMU" in client.codecs
    client.codecs = ["PCMA"]
    assert client.codecs == ["PCMA"]


@pytest.mark.parametrize(("setting", "kind"), [("thread", ThreadHost), ("process", ProcessHost), (None, ProcessHost)])
def test_the_engine_has_a_process_of_its_own_unless_it_is_debugged(monkeypatch, setting, kind):
    monkeypatch.delenv("SIPSIMPLE_MEDIA_HOST")
    if setting is not None:
        monkeypatch.setenv("SIPSIMPLE_MEDIA_HOST", setting)
    assert type(default_host()) is kind


def test_a_program_in_one_file_has_no_interpreter_to_start(monkeypatch):
    monkeypatch.delenv("SIPSIMPLE_MEDIA_HOST")
    monkeypatch.setattr("sys.frozen", True, raising=False)
    assert type(default_host()) is ThreadHost


async def test_after_the_death_of_the_engine_the_next_mixer_starts_a_fresh_one(nothing_left, monkeypatch):
    monkeypatch.setattr(MediaClient, "host_factory", ProcessHost)
    bind_loop(asyncio.get_running_loop())
    try:
        client = MediaClient()
        died = asyncio.get_running_loop().create_future()
        client.on_died = died.set_result
        AudioMixer(None, None, 16000)
        first = client._host.pid
        os.kill(first, signal.SIGKILL)
        async with asyncio.timeout(10):
            assert str(first) in await died
        mixer = AudioMixer(None, None, 16000)
        assert client._host.pid != first
        assert client.running
        mixer.close()
        await asyncio.to_thread(client.stop)
    finally:
        unbind_loop(asyncio.get_running_loop())
