"""The engine driven by hand: commands in, events out, a clock that jumps; two engines' worth of RTP on loopback."""

import pickle
import random
import threading
import wave

import numpy as np
import pytest

from sipsimple.media import commands as c
from sipsimple.media.engine import Engine
from sipsimple.media.errors import (
    CommandError,
    DeviceError,
    DeviceNotFound,
    MediaError,
    RecordingError,
    SlotError,
    StreamError,
    UnknownObject,
    WaveFileUnreadable,
    WaveFormatError,
)
from sipsimple.media.streams import StreamConfig
from sipsimple.media.values import replace
from sipsimple.media.wave import WaveReader, WaveWriter

RATE = 8000
FRAME = RATE // 50
PORTS = (40_000, 60_000)


class Driver:
    """An engine with its host replaced by the test."""

    def __init__(self):
        self.now = 1000.0
        self.events = []
        self.woken = threading.Event()
        self.engine = Engine(self.events.append, self.woken.set, random=random.Random(1), audio_backend="NULL")
        self.requests = 0

    def post(self, command):
        self.engine.handle(pickle.loads(pickle.dumps(command)), self.now)

    def start(self, command):
        self.requests += 1
        self.post(replace(command, reply_to=self.requests))
        return self.requests

    def reply(self, number):
        """The value of the reply, waiting for the engine's workers if need be; raises its error."""
        while True:
            self.engine.settle()
            for event in self.events:
                if isinstance(event, c.Reply) and event.reply_to == number:
                    self.events.remove(event)
                    event = pickle.loads(pickle.dumps(event))
                    if event.error is not None:
                        raise event.error
                    return event.value
            assert self.woken.wait(10), f"no reply {number}"
            self.woken.clear()

    def ask(self, command):
        return self.reply(self.start(command))

    def tick(self, count=1):
        for _ in range(count):
            self.now += 0.02
            self.engine.tick(self.now)

    def told(self, kind):
        return [event for event in self.events if isinstance(event, kind)]


@pytest.fixture
def driver():
    driver = Driver()
    yield driver
    driver.engine.close()


@pytest.fixture
def desk(driver):
    driver.post(c.CreateMixer(1, RATE))
    return driver


def write(path, samples, rate=RATE):
    writer = WaveWriter(str(path), rate)
    writer.write(np.asarray(samples, np.int16))
    writer.close()
    return str(path)


def read(path):
    reader = WaveReader(str(path))
    samples = reader.read(10**6)
    reader.close()
    return samples


def test_a_file_is_played_into_a_recording_sample_by_sample(desk, tmp_path):
    # Short enough to be decoded at once: ticks by hand are faster than a disk.
    samples = np.arange(FRAME * 40, dtype=np.int16)
    source, target = write(tmp_path / "in.wav", samples), str(tmp_path / "out.wav")
    desk.ask(c.RecordFile(1, 2, recorder=5, path=target))
    desk.ask(c.PlayFile(1, 1, player=4, path=source))
    desk.post(c.Connect(1, 1, 2))
    while not desk.told(c.PlaybackEnded):
        desk.tick()
    recording = desk.ask(c.StopRecording(5))
    assert desk.told(c.PlaybackEnded) == [c.PlaybackEnded(4)]
    assert read(target).tolist() == samples.tolist()
    assert recording == c.Recording(target, 0.8, 0.0)
    assert not desk.engine.busy
    assert not desk.told(c.CommandFailed)


def test_the_slot_of_an_ended_file_is_free(desk, tmp_path):
    source = write(tmp_path / "in.wav", np.ones(FRAME))
    for player in (1, 2):
        desk.ask(c.PlayFile(1, 1, player=player, path=source))
        while c.PlaybackEnded(player) not in desk.events:
            desk.tick()


def test_a_file_that_cannot_be_played_leaves_the_slot_free(desk, tmp_path):
    (tmp_path / "song.mp3").write_bytes(b"ID3")
    with pytest.raises(WaveFileUnreadable):
        desk.ask(c.PlayFile(1, 1, player=1, path=str(tmp_path / "none.wav")))
    with pytest.raises(WaveFormatError):
        desk.ask(c.PlayFile(1, 1, player=2, path=str(tmp_path / "song.mp3")))
    assert not desk.engine.busy
    desk.ask(c.AddPort(1, 1))


def test_stopping_a_file_ends_it_and_frees_its_slot_at_once(desk, tmp_path):
    source = write(tmp_path / "in.wav", np.ones(FRAME * 500))
    desk.ask(c.PlayFile(1, 1, player=1, path=source))
    desk.tick()
    desk.post(c.StopFile(1))
    desk.post(c.AddPort(1, 1))
    desk.post(c.StopFile(1))
    assert desk.events == [c.PlaybackEnded(1)]


def test_a_file_stopped_before_it_is_open_is_told_as_played(desk, tmp_path):
    source = write(tmp_path / "in.wav", np.ones(FRAME * 5))
    opening = desk.start(c.PlayFile(1, 1, player=1, path=source))
    desk.post(c.StopFile(1))
    assert desk.reply(opening) is None
    assert desk.events == [c.PlaybackEnded(1)]


def test_volume_of_a_file(desk, tmp_path):
    source, target = write(tmp_path / "in.wav", np.full(FRAME * 3, 100)), str(tmp_path / "out.wav")
    desk.ask(c.PlayFile(1, 1, player=1, path=source, volume=250))
    desk.ask(c.RecordFile(1, 2, recorder=1, path=target))
    desk.post(c.Connect(1, 1, 2))
    desk.tick(3)
    desk.ask(c.StopRecording(1))
    assert set(read(target).tolist()) == {250}


def test_a_recording_in_a_missing_directory_fails(desk, tmp_path):
    with pytest.raises(RecordingError, match="cannot be created"):
        desk.ask(c.RecordFile(1, 1, recorder=1, path=str(tmp_path / "no" / "out.wav")))
    desk.ask(c.AddPort(1, 1))
    with pytest.raises(UnknownObject):
        desk.ask(c.StopRecording(1))


def test_destroying_a_mixer_completes_its_recordings_and_ends_its_files(desk, tmp_path):
    source, target = write(tmp_path / "in.wav", np.full(FRAME * 50, 7)), str(tmp_path / "out.wav")
    desk.ask(c.PlayFile(1, 1, player=1, path=source))
    desk.ask(c.RecordFile(1, 2, recorder=1, path=target))
    desk.post(c.Connect(1, 1, 2))
    desk.tick(3)
    desk.ask(c.DestroyMixer(1))
    desk.engine.close()
    assert desk.told(c.PlaybackEnded) == [c.PlaybackEnded(1)]
    assert read(target).tolist() == [7] * FRAME * 3
    with pytest.raises(UnknownObject, match="no mixer 1"):
        desk.ask(c.AddPort(1, 1))


@pytest.mark.parametrize(
    "command", [c.BridgeDestroy(1, 5), c.BridgeRemove(1, 5, 1), c.Disconnect(1, 1, 2), c.RemoveSlot(1, 1)]
)
def test_what_went_with_its_mixer_may_be_freed_afterwards(desk, command):
    desk.ask(c.DestroyMixer(1))
    desk.post(command)
    desk.ask(command)
    assert desk.told(c.CommandFailed) == []


def test_tones_end_with_an_event(desk):
    desk.post(c.AddToneGenerator(1, 1))
    desk.post(c.PlayTones(1, 1, (c.Tone(400, 0, 30), c.Tone(0, 0, 10))))
    assert desk.engine.busy
    desk.tick(2)
    assert desk.events == [c.TonesEnded(1, 1)]
    assert not desk.engine.busy


def test_stopped_tones_end_with_an_event_and_once(desk):
    desk.post(c.AddToneGenerator(1, 1))
    desk.post(c.PlayTones(1, 1, (c.Tone(400, 0, 3000),)))
    desk.tick(2)
    desk.post(c.StopTones(1, 1))
    desk.post(c.RemoveSlot(1, 1))
    assert desk.events == [c.TonesEnded(1, 1)]


@pytest.mark.parametrize(
    ("command", "error"),
    [
        (c.CreateMixer(1, RATE), CommandError),
        (c.CreateMixer(2, 11_025), CommandError),
        (c.Connect(1, 1, 2), SlotError),
        (c.AddPort(1, 255), SlotError),
        (c.RemoveSlot(1, 3), SlotError),
        (c.PlayTones(1, 3, ()), SlotError),
        (c.PlayTones(1, 4, (c.Tone(-5, 0, 1),)), CommandError),
        (c.BridgeAdd(1, 9, 1, None, None), UnknownObject),
        (c.StopRecording(3), UnknownObject),
        (c.StopStream(3), UnknownObject),
        (c.StartStream(1, 1, 1, 77, StreamConfig("127.0.0.1", 9, "PCMU", 0, RATE)), UnknownObject),
        (c.Command(), CommandError),
    ],
)
def test_what_cannot_be_obeyed_is_told_with_or_without_a_request(desk, command, error):
    desk.post(c.AddToneGenerator(1, 4))
    with pytest.raises(error):
        desk.ask(command)
    desk.post(command)
    (failure,) = desk.told(c.CommandFailed)
    assert failure.command == command
    assert isinstance(failure.error, error)


def test_a_defect_in_a_command_is_told_and_the_engine_goes_on(desk, caplog):
    with pytest.raises(MediaError, match="defect"):
        desk.ask(c.AddPort(1, None))
    desk.ask(c.AddPort(1, 1))
    assert "failed" in caplog.text


class TestDevices:
    def test_no_devices_need_no_hardware(self, desk):
        assert desk.ask(c.SetDevices(1, None, None)) == c.RealDevices(None, None)

    def test_the_default_devices_are_named(self, desk):
        names = desk.ask(c.ListDevices())
        real = desk.ask(c.SetDevices(1, c.SYSTEM_DEFAULT, c.SYSTEM_DEFAULT))
        assert real == c.RealDevices(names.inputs[0], names.outputs[0])
        assert not desk.engine.busy
        desk.ask(c.Connect(1, 0, 0))
        assert desk.engine.busy
        desk.tick(5)
        desk.ask(c.SetDevices(1, None, None))
        assert not desk.engine.busy

    def test_an_unknown_device_is_told_with_the_known_ones(self, desk):
        with pytest.raises(DeviceNotFound) as caught:
            desk.ask(c.SetDevices(1, "Gramophone", None))
        assert caught.value.available == desk.ask(c.ListDevices()).inputs

    def test_the_last_of_several_requests_wins(self, desk):
        first = desk.start(c.SetDevices(1, c.SYSTEM_DEFAULT, None))
        second = desk.start(c.SetDevices(1, None, c.SYSTEM_DEFAULT))
        assert desk.reply(first).output is None
        assert desk.reply(second).input is None
        assert desk.engine._desks[1].devices.real.input is None

    def test_a_device_that_stops_is_told_and_given_up(self, desk):
        desk.ask(c.SetDevices(1, c.SYSTEM_DEFAULT, None))
        desk.post(c.AddPort(1, 1))
        desk.post(c.Connect(1, 0, 1))
        desk.engine._desks[1].devices._capture.stop()
        desk.tick(200)
        (failure,) = desk.told(c.DeviceFailed)
        assert isinstance(failure.error, DeviceError)
        assert not desk.engine.busy


class TestStreams:
    @pytest.fixture
    def call(self, driver):
        """Two mixers joined by a stream each: slot 1 of mixer 1 and slot 1 of mixer 2."""
        addresses = []
        for mixer, rate in ((1, RATE), (2, 16_000)):
            driver.post(c.CreateMixer(mixer, rate))
            addresses.append(driver.ask(c.OpenTransport(mixer, "127.0.0.1", PORTS)))
        for mixer in (1, 2):
            remote = addresses[2 - mixer]
            config = StreamConfig("127.0.0.1", remote.rtp_port, "PCMA", 8, RATE, no_media_timeout=1.0)
            driver.ask(c.StartStream(mixer, 1, stream=mixer, transport=mixer, config=config))
        return driver

    def test_a_tone_on_one_mixer_is_recorded_on_the_other(self, call, tmp_path):
        target = str(tmp_path / "out.wav")
        call.post(c.AddToneGenerator(1, 2))
        call.post(c.Connect(1, 2, 1))
        call.ask(c.RecordFile(2, 2, recorder=1, path=target))
        call.post(c.Connect(2, 1, 2))
        call.post(c.PlayTones(1, 2, (c.Tone(1000, 0, 1000),)))
        call.tick(80)
        call.ask(c.StopRecording(1))
        samples = read(target).astype(float)
        spectrum = np.abs(np.fft.rfft(samples[8000:16_000]))
        assert spectrum.argmax() * 16_000 / 8000 == 1000
        assert 4000 < np.sqrt(np.mean(samples[8000:16_000] ** 2)) < 7000
        assert call.ask(c.StreamStatistics(2))["rx"]["packets"] > 70
        assert {event.stream for event in call.told(c.FirstPacketReceived)} == {1, 2}

    def test_a_digit_is_told_to_the_other_side(self, call):
        remote = call.ask(c.OpenTransport(3, "127.0.0.1", PORTS))
        local = call.ask(c.OpenTransport(4, "127.0.0.1", PORTS))
        for id, address in ((3, local), (4, remote)):
            config = StreamConfig("127.0.0.1", address.rtp_port, "PCMU", 0, RATE, telephone_event_type=101)
            call.ask(c.StartStream(1, id, stream=id, transport=id, config=config))
        call.ask(c.SendDTMF(3, "*"))
        call.tick(20)
        assert call.told(c.DTMFReceived) == [c.DTMFReceived(4, "*")]
        with pytest.raises(StreamError, match="no DTMF digit"):
            call.ask(c.SendDTMF(3, "x"))
        with pytest.raises(StreamError, match="not agreed"):
            call.ask(c.SendDTMF(1, "1"))

    def test_silence_of_the_network_is_told(self, call):
        call.post(c.CloseTransport(1))
        call.tick(100)
        assert call.told(c.MediaTimeout) == [c.MediaTimeout(2, got_any=False)]

    def test_the_goodbye_of_the_other_side_is_told(self, call):
        call.tick(10)
        call.post(c.CloseTransport(1))
        call.tick(2)
        assert call.told(c.RemoteSaidGoodbye) == [c.RemoteSaidGoodbye(2)]

    def test_a_stopped_stream_gives_its_statistics_and_its_slot(self, call):
        call.tick(10)
        assert call.ask(c.StopStream(1))["tx"]["packets"] >= 9
        call.ask(c.AddPort(1, 1))
        with pytest.raises(UnknownObject):
            call.ask(c.StreamStatistics(1))

    def test_a_stream_that_stops_receiving_falls_silent(self, call, tmp_path):
        target = str(tmp_path / "out.wav")
        call.post(c.AddToneGenerator(1, 2))
        call.post(c.Connect(1, 2, 1))
        call.post(c.PlayTones(1, 2, (c.Tone(1000, 0, 10_000),)))
        call.tick(30)
        config = StreamConfig("127.0.0.1", 9, "PCMA", 8, RATE, direction="inactive")
        call.ask(c.UpdateStream(2, config))
        call.ask(c.RecordFile(2, 2, recorder=1, path=target))
        call.post(c.Connect(2, 1, 2))
        call.tick(10)
        call.ask(c.StopRecording(1))
        assert not read(target).any()

    def test_a_refused_stream_leaves_the_slot_free(self, driver):
        driver.post(c.CreateMixer(1, RATE))
        driver.ask(c.OpenTransport(1, "127.0.0.1", PORTS))
        with pytest.raises(MediaError):
            driver.ask(c.StartStream(1, 1, 1, 1, StreamConfig("127.0.0.1", 9, "no-codec", 0, RATE)))
        driver.ask(c.AddPort(1, 1))

    def test_destroying_the_mixer_stops_its_streams(self, call):
        call.ask(c.DestroyMixer(1))
        assert call.ask(c.EngineStatistics())["streams"] == 1
        call.tick(5)

    def test_identifiers_in_use_are_refused(self, call):
        config = StreamConfig("127.0.0.1", 9, "PCMU", 0, RATE)
        with pytest.raises(CommandError, match="transport 1 is open"):
            call.ask(c.OpenTransport(1, "127.0.0.1", PORTS))
        with pytest.raises(CommandError, match="stream 1 runs"):
            call.ask(c.StartStream(1, 3, 1, 2, config))
        with pytest.raises(SlotError, match="in use"):
            call.ask(c.StartStream(1, 1, 9, 2, config))

    def test_a_closed_transport_may_be_closed_again_and_its_number_used_again(self, call):
        call.ask(c.CloseTransport(1))
        call.ask(c.CloseTransport(1))
        call.ask(c.OpenTransport(1, "127.0.0.1", PORTS))
        assert call.ask(c.EngineStatistics())["streams"] == 1

    def test_an_address_that_is_not_ours_is_told(self, driver):
        with pytest.raises(MediaError, match=r"192\.0\.2\.1"):
            driver.ask(c.OpenTransport(1, "192.0.2.1", PORTS))


def test_players_and_recorders_in_use_are_refused(desk, tmp_path):
    source, target = write(tmp_path / "in.wav", np.ones(FRAME * 40)), str(tmp_path / "out.wav")
    desk.ask(c.PlayFile(1, 1, player=1, path=source))
    desk.ask(c.RecordFile(1, 2, recorder=1, path=target))
    with pytest.raises(CommandError, match="player 1 plays"):
        desk.ask(c.PlayFile(1, 3, player=1, path=source))
    with pytest.raises(CommandError, match="recorder 1 records"):
        desk.ask(c.RecordFile(1, 3, recorder=1, path=target))
    with pytest.raises(SlotError, match="in use"):
        desk.ask(c.PlayFile(1, 1, player=2, path=source))


def test_both_sides_of_a_slot_are_recorded_apart(desk, tmp_path):
    spoken, heard = np.arange(1, FRAME * 10 + 1), -np.arange(1, FRAME * 10 + 1)
    target = str(tmp_path / "out.wav")
    desk.ask(c.RecordFile(1, 3, recorder=1, path=target, separate=True))
    for slot, samples in ((1, heard), (2, spoken)):
        desk.ask(c.PlayFile(1, slot, player=slot, path=write(tmp_path / f"{slot}.wav", samples)))
    desk.post(c.Connect(1, 2, 1))
    desk.post(c.Connect(1, 2, 3))
    desk.ask(c.TapRecording(1, 1))
    desk.tick(4)
    desk.ask(c.TapRecording(1, None))
    desk.tick(2)
    assert desk.ask(c.StopRecording(1)).duration == pytest.approx(6 * 0.02)
    with wave.open(target) as file:
        assert file.getnchannels() == 2
        sides = np.frombuffer(file.readframes(10**6), np.int16).reshape(-1, 2)
    silence = [0] * (2 * FRAME)
    assert sides[:, 0].tolist() == spoken[: 4 * FRAME].tolist() + silence
    assert sides[:, 1].tolist() == heard[: 4 * FRAME].tolist() + silence


def test_only_what_is_there_and_meant_for_it_is_tapped(desk, tmp_path):
    for recorder, separate in ((1, False), (2, True)):
        path = str(tmp_path / f"{recorder}.wav")
        desk.ask(c.RecordFile(1, recorder, recorder=recorder, path=path, separate=separate))
    with pytest.raises(CommandError, match="separate"):
        desk.ask(c.TapRecording(1, 2))
    with pytest.raises(SlotError, match="never used"):
        desk.ask(c.TapRecording(2, 4000))
    with pytest.raises(UnknownObject):
        desk.ask(c.TapRecording(3, 1))


def test_bridges_carry_tones_to_a_recorder_until_they_are_gone(desk, tmp_path):
    target = str(tmp_path / "out.wav")
    desk.post(c.AddToneGenerator(1, 1))
    desk.ask(c.RecordFile(1, 2, recorder=1, path=target))
    desk.post(c.BridgeCreate(1, 7))
    desk.post(c.BridgeAdd(1, 7, 1, producer=1, consumer=None))
    desk.post(c.BridgeAdd(1, 7, 2, producer=None, consumer=2))
    desk.post(c.SetVolume(1, 1, 50))
    desk.post(c.SetSinkVolume(1, 2, 50))
    desk.post(c.PlayTones(1, 1, (c.Tone(1000, 0, 5000),)))
    desk.tick(5)
    desk.post(c.BridgeRemove(1, 7, 1))
    desk.tick(5)
    desk.post(c.BridgeAdd(1, 7, 1, producer=1, consumer=None))
    desk.post(c.SetMuted(1, 1, True))
    desk.tick(5)
    desk.post(c.SetMuted(1, 1, False))
    desk.tick(5)
    desk.post(c.BridgeDestroy(1, 7))
    desk.tick(5)
    desk.ask(c.StopRecording(1))
    loudness = np.abs(read(target).astype(int)).reshape(5, -1).max(axis=1)
    assert loudness[[1, 2, 4]].tolist() == [0, 0, 0]
    assert loudness[[0, 3]] == pytest.approx(8192 / 4, rel=0.1)
    assert not desk.told(c.CommandFailed)
