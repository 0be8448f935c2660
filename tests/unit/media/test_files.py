"""Players and recorders with a worker that the test runs by hand: what is late is counted, never waited for."""

import queue
import threading

import numpy as np
import pytest

from sipsimple.media.commands import Recording
from sipsimple.media.errors import RecordingError, WaveFileUnreadable
from sipsimple.media.files import MAX_BACKLOG, FileWorker, Player, Recorder
from sipsimple.media.wave import WaveReader, WaveWriter

RATE = 1000
FRAME = RATE // 50


class HandWorker:
    """Runs the jobs when told to, in the test's thread."""

    def __init__(self):
        self.jobs = []

    def submit(self, job):
        self.jobs.append(job)

    def run(self):
        while self.jobs:
            self.jobs.pop(0)()


@pytest.fixture
def worker():
    return HandWorker()


@pytest.fixture
def ramp(tmp_path):
    path = str(tmp_path / "ramp.wav")
    samples = np.arange(12_345, dtype=np.int16)
    writer = WaveWriter(path, RATE)
    writer.write(samples)
    writer.close()
    return path, samples


def play(player, worker=None, limit=2000):
    frames = []
    while not player.ended and len(frames) < limit:
        frame = np.empty(FRAME, np.int16)
        player.fill(frame)
        frames.append(frame)
        if worker:
            worker.run()
    return np.concatenate(frames)


def test_a_file_at_the_mixers_rate_is_played_sample_by_sample(ramp, worker):
    path, samples = ramp
    outcome = []
    player = Player(path, RATE, worker)
    player.open(outcome.append)
    worker.run()
    played = play(player, worker)
    assert outcome == [None]
    assert played[: len(samples)].tolist() == samples.tolist()
    assert not played[len(samples) :].any()
    assert len(played) - len(samples) < FRAME


def test_a_slow_disk_makes_silence_and_is_counted(ramp, worker):
    player = Player(ramp[0], RATE, worker)
    player.open(lambda error: None)
    worker.run()
    for _ in range(RATE // FRAME + 2):
        player.fill(np.empty(FRAME, np.int16))
    assert (player.missed, player.ended) == (2 * FRAME, False)
    played = play(player, worker)
    assert played[played.nonzero()][:3].tolist() == [1000, 1001, 1002]


def test_a_missing_file_is_told_when_it_is_opened(tmp_path, worker):
    outcome = []
    Player(str(tmp_path / "none.wav"), RATE, worker).open(outcome.append)
    worker.run()
    assert isinstance(outcome[0], WaveFileUnreadable)


def test_a_read_error_on_the_way_ends_the_play_with_the_error(ramp, worker, monkeypatch):
    player = Player(ramp[0], RATE, worker)
    player.open(lambda error: None)
    worker.run()

    def fail(self, count):
        raise WaveFileUnreadable(self.path, "cannot be read: Input/output error")

    monkeypatch.setattr(WaveReader, "read", fail)
    played = play(player, worker)
    assert player.ended
    assert "Input/output error" in str(player.error)
    assert len(played) >= RATE
    player.close()
    worker.run()


def record(worker, path, frames):
    events = []
    recorder = Recorder(path, RATE, worker)
    recorder.open(lambda error: events.append(("open", error)), lambda error: events.append(("failed", error)))
    for frame in frames:
        recorder.push(frame)
    return recorder, events


def close(recorder, worker):
    outcome = []
    recorder.close(lambda *result: outcome.extend(result))
    worker.run()
    return outcome


def samples_of(path):
    reader = WaveReader(path)
    samples = reader.read(10**6)
    reader.close()
    return samples


def test_a_recording_holds_every_sample(tmp_path, worker):
    path = str(tmp_path / "out.wav")
    frames = np.arange(37 * FRAME, dtype=np.int16).reshape(37, FRAME)
    recorder, events = record(worker, path, frames)
    recording, error = close(recorder, worker)
    assert events == [("open", None)]
    assert (recording, error) == (Recording(path, 37 * 0.02, 0.0), None)
    assert samples_of(path).tolist() == frames.reshape(-1).tolist()


def test_a_disk_too_slow_drops_and_keeps_the_clock(tmp_path, worker):
    path = str(tmp_path / "out.wav")
    count = int((MAX_BACKLOG + 2) * 50)
    recorder, _ = record(worker, path, np.ones((count, FRAME), np.int16))
    assert len(worker.jobs) < 60
    worker.run()
    recorder.push(np.full(FRAME, 2, np.int16))
    recording, _ = close(recorder, worker)
    samples = samples_of(path)
    assert recording.dropped == pytest.approx(1.8)
    assert recording.duration == pytest.approx(MAX_BACKLOG + 2.02)
    assert np.count_nonzero(samples == 0) == 1800
    assert (samples[-FRAME:] == 2).all()


def test_a_file_that_cannot_be_created_is_told(tmp_path, worker):
    recorder, events = record(worker, str(tmp_path / "no" / "out.wav"), np.ones((50, FRAME), np.int16))
    worker.run()
    assert isinstance(events[0][1], RecordingError)
    _, error = close(recorder, worker)
    assert isinstance(error, RecordingError)


def test_a_full_disk_is_told_once_and_keeps_what_was_written(tmp_path, worker, monkeypatch):
    path = str(tmp_path / "out.wav")
    recorder, events = record(worker, path, np.ones((20, FRAME), np.int16))
    worker.run()

    def fail(self, samples):
        raise RecordingError(self.path, "cannot be written: No space left on device")

    monkeypatch.setattr(WaveWriter, "write", fail)
    for _ in range(40):
        recorder.push(np.ones(FRAME, np.int16))
    worker.run()
    _, error = close(recorder, worker)
    assert [name for name, _ in events] == ["open", "failed"]
    assert "No space left" in str(error)
    assert len(samples_of(path)) == 20 * FRAME


def test_a_worker_goes_on_after_a_job_that_failed(caplog):
    done = []
    worker = FileWorker("test-worker")
    worker.submit(lambda: 1 / 0)
    worker.submit(lambda: done.append(1))
    worker.close(5.0)
    worker.close(5.0)
    assert done == [1]
    assert "a job failed" in caplog.text


def test_a_worker_whose_disk_hangs_is_left_behind(caplog):
    release = threading.Event()
    worker = FileWorker("test-worker")
    worker.submit(lambda: release.wait(10))
    worker.close(0.05)
    assert "waits for the disk" in caplog.text
    release.set()


def test_the_tick_does_not_wait_for_a_disk_that_hangs(tmp_path):
    release = threading.Event()
    worker = FileWorker("test-worker")
    worker.submit(lambda: release.wait(10))
    recorder, _ = record(worker, str(tmp_path / "out.wav"), np.ones((1000, FRAME), np.int16))
    outcome = queue.SimpleQueue()
    recorder.close(lambda *result: outcome.put(result))
    assert outcome.empty()
    release.set()
    recording, error = outcome.get(timeout=10)
    assert error is None
    assert recording.dropped > 0
    worker.close(5.0)
