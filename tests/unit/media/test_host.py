"""Both hosts: pace, futures, observers that are slow or broken, an end that leaves nothing behind."""

import gc
import pickle
import threading
import time
import weakref
from itertools import pairwise

import numpy as np
import pytest

from sipsimple.media import commands as c
from sipsimple.media import errors
from sipsimple.media.engine import Engine
from sipsimple.media.host import ThreadHost
from sipsimple.media.process import ProcessHost
from sipsimple.media.runner import MAX_CATCH_UP, MAX_PENDING_EVENTS, MIN_INTERVAL, TICK, Pacer
from sipsimple.media.streams import StreamConfig
from sipsimple.media.values import replace
from sipsimple.media.wave import WaveReader

RATE = 8000
LIMIT = 10.0


class Observer:
    def __init__(self):
        self.events = []
        self.changed = threading.Condition()

    def __call__(self, event):
        with self.changed:
            self.events.append(event)
            self.changed.notify_all()

    def wait_for(self, event):
        with self.changed:
            assert self.changed.wait_for(lambda: event in self.events, LIMIT), self.events


@pytest.fixture(params=[ThreadHost, ProcessHost])
def kind(request):
    return request.param


@pytest.fixture
def host(kind):
    yield from running(kind)


@pytest.fixture
def thread_host():
    yield from running(ThreadHost)


def running(kind):
    host = kind(audio_backend="NULL")
    host.on_event = Observer()
    host.start()
    yield host
    host.stop()


def media_threads():
    return {thread for thread in threading.enumerate() if thread.name.startswith("media-")}


def ask(host, command):
    return host.request(command).result(LIMIT)


class TestPacer:
    def test_ticks_keep_absolute_time(self):
        pacer = Pacer()
        pacer.begin(100.0)
        for number in range(1, 1000):
            pacer.ticked(pacer.next + 0.003)
            assert pacer.next == pytest.approx(100.0 + number * TICK)

    def test_a_late_tick_is_made_up_for_without_a_burst(self):
        pacer = Pacer()
        pacer.begin(100.0)
        times = [100.1]
        while times[-1] < 100.5 - 1e-9:
            pacer.ticked(times[-1])
            times.append(pacer.next)
        assert len(times) == 26
        assert min(after - before for before, after in pairwise(times)) >= MIN_INTERVAL - 1e-9
        assert pacer.skipped == 0
        assert pacer.late_max == pytest.approx(0.1)

    def test_a_long_stall_is_left_out(self):
        pacer = Pacer()
        pacer.begin(100.0)
        pacer.ticked(107.013)
        assert pacer.skipped == 349
        assert 0 < pacer.next - 107.013 <= TICK
        assert pacer.late_max < 7.1
        assert MAX_CATCH_UP < 1


def test_commands_of_one_turn_go_out_together_and_in_order(host):
    turns = []
    host.schedule = lambda urgent: turns.append((len(host._waiting), urgent))
    host.post(c.CreateMixer(1, RATE))
    host.post(c.AddPort(1, 5))
    reply = host.request(c.AddPort(1, 5))
    assert turns == [(1, False), (2, False), (3, True)]
    assert not reply.done()
    host.flush()
    with pytest.raises(errors.SlotError):
        reply.result(LIMIT)


def test_a_reply_that_can_wait_comes_with_the_next_news(thread_host, monkeypatch):
    monkeypatch.setattr("sipsimple.media.runner.MAX_PATIENCE", 3600.0)
    ask(thread_host, c.CreateMixer(1, RATE))
    ask(thread_host, c.OpenTransport(1, "127.0.0.1", (20000, 60000)))
    ask(thread_host, c.StartStream(1, 1, 1, 1, StreamConfig("127.0.0.1", 9, "PCMU", 0, RATE)))
    patient = thread_host.request(c.StopStream(1, patient=True))
    ask(thread_host, c.CloseTransport(1))
    assert patient.result(LIMIT)["tx"]["packets"] == 0


def test_a_reply_that_can_wait_does_so_for_a_while(thread_host, monkeypatch):
    monkeypatch.setattr("sipsimple.media.runner.MAX_PATIENCE", 0.01)
    ask(thread_host, c.CreateMixer(1, RATE))
    ask(thread_host, c.OpenTransport(1, "127.0.0.1", (20000, 60000)))
    ask(thread_host, c.StartStream(1, 1, 1, 1, StreamConfig("127.0.0.1", 9, "PCMU", 0, RATE)))
    assert thread_host.request(c.StopStream(1, patient=True)).result(LIMIT)["tx"]["packets"] == 0


def test_a_request_gives_the_reply_or_raises_the_error(host):
    assert ask(host, c.CreateMixer(1, RATE)) is None
    with pytest.raises(errors.CommandError, match="exists"):
        ask(host, c.CreateMixer(1, RATE))


def test_a_posted_command_that_fails_is_told(host):
    host.post(c.DestroyMixer(7))
    ask(host, c.EngineStatistics())
    (event,) = host.on_event.events
    assert isinstance(event, c.CommandFailed)
    assert event.command == c.DestroyMixer(7)


def test_the_garbage_collector_may_post_in_the_middle_of_a_request(host, monkeypatch):
    class Owner:
        """Something that frees what it has in the engine when it is collected, as transports and mixers do."""

    def collecting_wanting(command, reply_to):
        owner = Owner()
        owner.itself = owner
        weakref.finalize(owner, host.post, c.DestroyMixer(7))
        del owner
        gc.collect()
        return replace(command, reply_to=reply_to)

    monkeypatch.setattr(c.Command, "wanting", collecting_wanting)
    asking = threading.Thread(target=ask, args=(host, c.EngineStatistics()), daemon=True)
    asking.start()
    asking.join(LIMIT)
    assert not asking.is_alive(), "the request waits for itself"
    monkeypatch.undo()
    ask(host, c.EngineStatistics())
    assert [event.command for event in host.on_event.events] == [c.DestroyMixer(7)]


def test_identifiers_are_unique_across_threads():
    host = ThreadHost()
    ids = []
    threads = [threading.Thread(target=lambda: ids.extend(host.new_id() for _ in range(500))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(ids)) == 2000


def test_nothing_is_obeyed_before_start_and_after_stop(kind, nothing_left):
    host = kind()
    with pytest.raises(errors.EngineStopped):
        host.post(c.ListDevices())
    host.stop()
    host = kind()
    host.start()
    host.stop()
    with pytest.raises(errors.EngineStopped):
        host.request(c.ListDevices())


def test_stop_ends_threads_processes_sockets_and_files_and_may_be_repeated(kind, nothing_left, tmp_path):
    before = media_threads()
    host = kind(audio_backend="NULL")
    host.start()
    ask(host, c.CreateMixer(1, RATE))
    ask(host, c.OpenTransport(1, "127.0.0.1", (40_000, 60_000)))
    config = StreamConfig("127.0.0.1", 9, "PCMU", 0, RATE)
    ask(host, c.StartStream(1, 1, 1, 1, config))
    path = str(tmp_path / "out.wav")
    ask(host, c.RecordFile(1, 2, 1, path))
    ask(host, c.SetDevices(1, c.SYSTEM_DEFAULT, c.SYSTEM_DEFAULT))
    host.stop()
    host.stop()
    assert not host.running
    assert media_threads() == before
    gc.collect()  # a socket left open would be a ResourceWarning now
    WaveReader(path).close()


def test_requests_under_way_fail_when_the_host_stops(host):
    release = threading.Event()
    host.on_event = lambda event: release.wait(LIMIT)
    host.post(c.DestroyMixer(7))  # its failure keeps the delivering thread busy
    futures = [host.request(c.EngineStatistics()) for _ in range(3)]
    threading.Timer(0.05, release.set).start()
    host.stop()
    assert all(future.done() for future in futures)


def test_an_observer_may_stop_the_host(host):
    done = threading.Event()

    def stop(event):
        host.stop()
        done.set()

    host.on_event = stop
    host.post(c.DestroyMixer(7))
    assert done.wait(LIMIT)
    with pytest.raises(errors.EngineStopped):
        host.post(c.ListDevices())


def test_a_slow_observer_does_not_delay_the_ticks(thread_host):
    host = thread_host
    stuck, release = threading.Event(), threading.Event()

    def observer(event):
        stuck.set()
        release.wait(LIMIT)

    host.on_event = observer
    ask(host, c.CreateMixer(1, RATE))
    host.post(c.AddToneGenerator(1, 1))
    host.post(c.DestroyMixer(7))
    assert stuck.wait(LIMIT)
    began = time.monotonic()
    # The player of tones is the clock: its end stands in the queue behind the stuck observer.
    host.post(c.PlayTones(1, 1, (c.Tone(400, 0, 200),)))
    while host._runner.outbox.qsize() < 1:
        assert time.monotonic() - began < LIMIT
        time.sleep(0.01)
    assert time.monotonic() - began < 1.0
    release.set()


def test_a_raising_observer_is_logged_and_hears_the_next_event(host, caplog):
    events = []

    def observer(event):
        events.append(event)
        raise RuntimeError("observer is broken")

    host.on_event = observer
    host.post(c.DestroyMixer(7))
    host.post(c.DestroyMixer(8))
    ask(host, c.EngineStatistics())
    assert [event.command.mixer for event in events] == [7, 8]
    assert "observer is broken" in caplog.text


def test_events_behind_a_stuck_observer_are_bounded(thread_host, caplog, monkeypatch):
    host = thread_host
    monkeypatch.setattr("sipsimple.media.runner.MAX_PENDING_EVENTS", 5)
    release = threading.Event()
    host.on_event = lambda event: release.wait(LIMIT)
    for number in range(50):
        host.post(c.DestroyMixer(number))
    future = host.request(c.EngineStatistics())
    threading.Timer(0.2, release.set).start()
    future.result(LIMIT)
    assert "are dropped" in caplog.text
    assert MAX_PENDING_EVENTS > 1000


def test_a_dead_engine_is_told_and_refuses_commands(thread_host, monkeypatch, caplog):
    host = thread_host

    def fail(self, now):
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr(Engine, "tick", fail)
    ended = threading.Event()
    events = []

    def observer(event):
        events.append(event)
        ended.set()

    host.on_event = observer
    ask(host, c.CreateMixer(1, RATE))
    ask(host, c.AddToneGenerator(1, 1))
    host.post(c.PlayTones(1, 1, (c.Tone(400, 0, 200),)))
    assert ended.wait(LIMIT)
    assert "a defect" in events[0].reason
    assert isinstance(events[0], c.EngineDied)
    with pytest.raises(errors.EngineStopped):
        host.post(c.ListDevices())
    host.stop()


def test_an_idle_host_does_not_tick(host):
    ask(host, c.CreateMixer(1, RATE))
    ask(host, c.AddPort(1, 1))
    ask(host, c.Connect(1, 0, 1))
    assert ask(host, c.EngineStatistics())["ticks"] == 0


def test_a_call_on_loopback_is_heard_on_the_other_side(host, tmp_path):
    target = str(tmp_path / "out.wav")
    addresses = {}
    for mixer in (1, 2):
        host.post(c.CreateMixer(mixer, 16_000))
        addresses[mixer] = ask(host, c.OpenTransport(mixer, "127.0.0.1", (40_000, 60_000)))
    for mixer in (1, 2):
        config = StreamConfig("127.0.0.1", addresses[3 - mixer].rtp_port, "PCMU", 0, 16_000)
        ask(host, c.StartStream(mixer, 1, mixer, mixer, config))
    host.post(c.AddToneGenerator(1, 2))
    host.post(c.Connect(1, 2, 1))
    ask(host, c.RecordFile(2, 2, 1, target))
    host.post(c.Connect(2, 1, 2))
    host.post(c.PlayTones(1, 2, (c.Tone(800, 0, 600), c.Tone(0, 0, 200))))
    host.on_event.wait_for(c.TonesEnded(1, 2))
    recording = ask(host, c.StopRecording(1))
    statistics = ask(host, c.StopStream(2))
    reader = WaveReader(target)
    samples = reader.read(10**6).astype(float)
    reader.close()
    assert recording.duration > 0.6
    spectrum = np.abs(np.fft.rfft(samples))
    assert spectrum.argmax() * 16_000 / len(samples) == pytest.approx(800, abs=10)
    assert statistics["rx"]["packets"] > 20


@pytest.mark.parametrize(
    "error",
    [
        errors.EngineStopped("why"),
        errors.UnknownObject("mixer", 1),
        errors.SlotError(1, 2, "is in use"),
        errors.DeviceError("mic", "why"),
        errors.DeviceNotFound("mic", ("a", "b")),
        errors.WaveFormatError("a.wav", "why"),
        errors.PortsExhausted("127.0.0.1", 1, 2),
        errors.CodecUnavailable("x", "why"),
    ],
)
def test_errors_cross_a_process_boundary(error):
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)
