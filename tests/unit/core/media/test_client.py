"""The way to the media engine and back."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from types import SimpleNamespace

import pytest

from sipsimple.core.media.audio import AudioTransport
from sipsimple.core.media.bridge import SlotBridge
from sipsimple.core.media.client import MAX_RESTARTS, RESTART_PERIOD, MediaClient, default_host
from sipsimple.core.media.mixer import AudioMixer
from sipsimple.core.media.pcm import SampleSlot
from sipsimple.core.media.ports import MixerPort, RecordingWaveFile, ToneGenerator, WaveFile
from sipsimple.core.media.rtp import RTPTransport
from sipsimple.loop import bind_loop, unbind_loop
from sipsimple.media import commands
from sipsimple.media.errors import EngineStopped, MediaError, PortsExhausted
from sipsimple.media.host import ThreadHost
from sipsimple.media.process import ProcessHost
from sipsimple.notification import NotificationCenter
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


def test_the_death_of_the_engine_is_told_and_a_fresh_one_started(host, seen, caplog):
    client = MediaClient()
    client.start()
    host.running = False
    host.on_event(commands.EngineDied("trace\nback"))
    assert [(n.name, n.data.reason, n.data.restarted) for n in seen] == [("MediaEngineDidFail", "trace\nback", True)]
    assert client.running
    assert "trace" in caplog.text
    host.on_event(commands.EngineDied("late news of an engine before"))
    assert len(seen) == 1


def test_an_engine_that_dies_again_and_again_stays_down_until_it_is_stopped(host, seen, caplog):
    client = MediaClient()
    client.start()
    for _ in range(MAX_RESTARTS):
        host.running = False
        host.on_event(commands.EngineDied("crash"))
        assert client.running
    host.running = False
    host.on_event(commands.EngineDied("crash"))
    assert not client.running
    assert [n.data.restarted for n in seen] == [True] * MAX_RESTARTS + [False]
    with pytest.raises(SIPCoreError, match="stays down"):
        client.start()
    client.stop()
    client.start()
    assert client.running


def test_deaths_a_long_time_apart_are_all_survived(host, seen, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("sipsimple.core.media.client.time", SimpleNamespace(monotonic=lambda: clock[0]))
    client = MediaClient()
    client.start()
    for _ in range(3 * MAX_RESTARTS):
        host.running = False
        host.on_event(commands.EngineDied("crash"))
        clock[0] += RESTART_PERIOD / MAX_RESTARTS
    assert client.running


def test_an_engine_that_cannot_be_started_again_is_told(host, seen, monkeypatch):
    client = MediaClient()
    client.start()
    host.running = False

    def start():
        raise OSError("no memory")

    monkeypatch.setattr(host, "start", start)
    host.on_event(commands.EngineDied("crash"))
    assert [n.data.restarted for n in seen] == [False]
    with pytest.raises(SIPCoreError, match="no memory"):
        client.start()


def test_nobody_but_the_client_starts_an_engine_that_died(host):
    client = MediaClient()
    client.start()
    host.running = False
    with pytest.raises(SIPCoreError, match="try once more"):
        client.start()
    host.on_event(commands.EngineDied("crash"))
    client.start()


def test_a_mixer_is_in_the_fresh_engine_what_it_was_in_the_last_one(host, seen):
    mixer = AudioMixer("mic", "speaker", 16000, 100)
    mixer.input_volume, mixer.output_volume, mixer.muted = 50, 70, True
    tones, port, gone = ToneGenerator(mixer), MixerPort(mixer), MixerPort(mixer)
    player = WaveFile(mixer, "ring.wav")
    for part in (tones, port, gone, player):
        part.start()
    tones.volume = 30
    tones.play_tones([(400, 0, 100)])
    mixer.connect_slots(port.slot, 0)
    mixer.connect_slots(player.slot, 0)
    bridge = SlotBridge(mixer)
    first, second, third = (bridge.new_member() for _ in range(3))
    bridge.put(first, 0, 0)
    bridge.put(second, tones.slot, None)
    bridge.put(third, player.slot, None)
    members = ((first, 0, 0), (second, tones.slot, None), (third, None, None))
    gone.stop()
    closed = AudioMixer(None, None, 8000)
    closed.close()
    host.running, host.commands = False, []
    host.on_event(commands.EngineDied("crash"))

    def of(mixer):
        return [command for command in host.commands if command.mixer == mixer.id]

    assert of(mixer) == [
        commands.CreateMixer(mixer.id, 16000, 254),
        commands.AddToneGenerator(mixer.id, tones.slot),
        commands.SetVolume(mixer.id, tones.slot, 30),
        commands.AddPort(mixer.id, port.slot),
        commands.Connect(mixer.id, port.slot, 0),
        commands.BridgeCreate(mixer.id, bridge.id, members),
        commands.SetVolume(mixer.id, 0, 50),
        commands.SetSinkVolume(mixer.id, 0, 70),
        commands.SetMuted(mixer.id, 0, True),
        commands.SetDevices(mixer.id, "mic", "speaker", 100),
    ]
    assert of(closed) == []
    assert (mixer.real_input_device, mixer.real_output_device) == ("mic", "speaker")
    assert player.slot is None
    assert not tones.is_busy
    assert set(seen.names[1:]) == {"ToneGeneratorDidFinishPlaying", "WaveFileDidFinishPlaying"}
    tones.play_tones([(400, 0, 100)])
    player.start()


def test_an_engine_that_dies_again_at_once_is_followed_by_another(host, seen, monkeypatch):
    mixer = AudioMixer(None, None, 16000)
    post = host.post

    def die(command):
        host.running = False
        raise EngineStopped

    monkeypatch.setattr(host, "post", die)
    host.running = False
    host.on_event(commands.EngineDied("crash"))
    assert seen.names == ["MediaEngineDidFail"]
    monkeypatch.setattr(host, "post", post)
    host.on_event(commands.EngineDied("crash"))
    assert seen.names == ["MediaEngineDidFail"] * 2
    assert host.sent(commands.CreateMixer)[-1].mixer == mixer.id
    assert MediaClient().running


def test_devices_that_do_not_open_again_are_told(host, seen):
    mixer = AudioMixer("mic", "speaker", 16000)
    host.running = False
    host.refuse[commands.SetDevices] = MediaError("unplugged")
    host.on_event(commands.EngineDied("crash"))
    assert seen.names == ["AudioMixerDidLoseDevices", "MediaEngineDidFail"]
    assert mixer.input_device is None


def test_what_the_engine_did_for_a_call_fails_with_it(host, seen):
    mixer = AudioMixer(None, None, 16000)
    transport = RTPTransport("127.0.0.1")
    transport.set_INIT()
    audio = AudioTransport(mixer, transport)
    recorder = RecordingWaveFile(mixer, "call.wav")
    recorder.start()
    lost = []
    samples = SampleSlot(mixer, lost.append, lost.append)
    samples.start(16000, True)
    del seen[:]
    host.running, host.commands = False, []
    host.on_event(commands.EngineDied("crash"))
    assert transport.state == "INVALID"
    assert set(seen.names) == {
        "MediaEngineDidFail",
        "RTPTransportDidFail",
        "RTPAudioTransportDidFail",
        "RecordingWaveFileDidFail",
    }
    (failure,) = [n for n in seen if n.name == "RTPAudioTransportDidFail"]
    assert failure.sender is audio
    assert failure.data.reason == "the media engine died: crash" == lost[0]
    assert mixer.used_slot_count == 0
    del audio, transport, recorder, samples, failure, seen[:]
    gc.collect()
    assert {type(command) for command in host.commands} == {
        commands.CreateMixer,
        commands.SetVolume,
        commands.SetSinkVolume,
    }


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


async def test_after_the_death_of_the_engine_there_is_a_fresh_one(nothing_left, monkeypatch):
    monkeypatch.setattr(MediaClient, "host_factory", ProcessHost)
    bind_loop(asyncio.get_running_loop())
    try:
        client = MediaClient()
        mixer = AudioMixer(None, None, 16000)
        first = client._host.pid
        os.kill(first, signal.SIGKILL)
        async with asyncio.timeout(10):
            told = await NotificationCenter().wait("MediaEngineDidFail")
        assert str(first) in told.data.reason
        assert await client.acall(commands.SetDevices(mixer.id, None, None, 0)) == commands.RealDevices(None, None)
        assert client._host.pid != first
        assert client.running
        mixer.close()
        await asyncio.to_thread(client.stop)
    finally:
        unbind_loop(asyncio.get_running_loop())
