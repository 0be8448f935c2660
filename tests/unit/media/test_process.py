"""The engine in a process of its own: it dies with its parent, its death is told, and nothing is left of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from io import FileIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipsimple.media import commands as c
from sipsimple.media import errors
from sipsimple.media.pipe import MAX_MESSAGE_SIZE, BrokenMessage, packed, read_message, write
from sipsimple.media.process import ProcessHost

LIMIT = 10.0
PARENT = """
import sys
from sipsimple.media.commands import CreateMixer
from sipsimple.media.process import ProcessHost
host = ProcessHost()
host.start()
host.request(CreateMixer(1, 8000)).result(10)
print(host.pid, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def host(nothing_left):
    host = ProcessHost()
    host.died = threading.Event()
    host.events = []

    def observe(event):
        host.events.append(event)
        host.died.set()

    host.on_event = observe
    host.start()
    yield host
    host.stop()


def exists(pid: int) -> bool:
    """Whether a process runs; one that only waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def until(condition, what: str) -> None:
    deadline = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def may_raise_priority() -> bool:
    attempt = "import os; os.setpriority(os.PRIO_PROCESS, 0, -11)"
    return subprocess.run([sys.executable, "-c", attempt], check=False, stderr=subprocess.DEVNULL).returncode == 0


@pytest.mark.skipif(not may_raise_priority(), reason="the system does not let us raise the priority of a process")
def test_the_engine_runs_before_what_is_not_heard(host):
    host.request(c.CreateMixer(1, 8000)).result(LIMIT)
    assert os.getpriority(os.PRIO_PROCESS, host.pid) == -11


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="looks into /proc")
@pytest.mark.parametrize("death", [signal.SIGKILL, signal.SIGTERM, None])
def test_the_engine_ends_when_its_parent_does(death):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    )
    with parent:
        pid = int(parent.stdout.readline())
        assert exists(pid)
        if death is None:
            parent.stdin.close()
        else:
            parent.send_signal(death)
        parent.wait(LIMIT)
    until(lambda: not exists(pid), "the engine outlives its parent")


def test_the_death_of_the_process_is_told_and_fails_what_waits(host):
    host.request(c.CreateMixer(1, 8000)).result(LIMIT)
    os.kill(host.pid, signal.SIGSTOP)
    waiting = host.request(c.EngineStatistics())
    os.kill(host.pid, signal.SIGKILL)
    with pytest.raises(errors.EngineStopped, match="killed by signal 9"):
        waiting.result(LIMIT)
    assert host.died.wait(LIMIT)
    (event,) = host.events
    assert isinstance(event, c.EngineDied)
    assert str(host.pid) in event.reason
    assert not host.running
    with pytest.raises(errors.EngineStopped):
        host.post(c.ListDevices())


def test_a_process_that_hangs_is_ended_within_the_bound(host, monkeypatch):
    monkeypatch.setattr("sipsimple.media.host.STOP_TIMEOUT", 0.2)
    host.request(c.CreateMixer(1, 8000)).result(LIMIT)
    os.kill(host.pid, signal.SIGSTOP)
    began = time.monotonic()
    host.stop()
    assert time.monotonic() - began < 2.0
    assert host.events == []


def test_commands_that_the_pipe_has_no_room_for_wait_in_order(host):
    host.request(c.CreateMixer(1, 8000)).result(LIMIT)
    os.kill(host.pid, signal.SIGSTOP)
    try:
        for _ in range(3000):
            host.post(c.Connect(1, 0, 0))
            host.post(c.Disconnect(1, 0, 0))
        last = host.request(c.DestroyMixer(1))
        assert host._is_behind
    finally:
        os.kill(host.pid, signal.SIGCONT)
    assert last.result(LIMIT) is None
    host.request(c.CreateMixer(1, 8000)).result(LIMIT)
    assert host.events == []
    assert not host._is_behind


def test_bytes_that_are_no_command_end_the_engine(host):
    host._inbox.put(b"\xff" * 8)
    assert host.died.wait(LIMIT)
    assert "ended with code" in host.events[0].reason


def test_interrupts_of_the_terminal_are_for_the_parent(host):
    host.request(c.CreateMixer(1, 8000)).result(LIMIT)
    os.kill(host.pid, signal.SIGINT)
    host.request(c.DestroyMixer(1)).result(LIMIT)


def test_what_the_child_imports_is_not_looked_for_in_the_working_directory(nothing_left, tmp_path, monkeypatch):
    (tmp_path / "queue.py").write_text("raise SystemExit('the wrong module')")
    monkeypatch.chdir(tmp_path)
    host = ProcessHost()
    host.start()
    try:
        host.request(c.CreateMixer(1, 8000)).result(LIMIT)
    finally:
        host.stop()


def test_relative_paths_are_those_of_the_parent(host, tmp_path, monkeypatch):
    host.request(c.CreateMixer(1, 8000)).result(LIMIT)
    monkeypatch.chdir(tmp_path)
    host.request(c.RecordFile(1, 1, 1, "out.wav")).result(LIMIT)
    assert host.request(c.StopRecording(1)).result(LIMIT).path == str(tmp_path / "out.wav")
    assert (tmp_path / "out.wav").exists()


def test_the_engine_has_one_thread_for_algebra_and_all_the_files_it_may(host):
    host.request(c.CreateMixer(1, 8000)).result(LIMIT)
    if not os.path.isdir(f"/proc/{host.pid}"):
        pytest.skip("looks into /proc")
    assert b"OPENBLAS_NUM_THREADS=1" in Path(f"/proc/{host.pid}/environ").read_bytes().split(b"\0")
    (limits,) = [
        line.split()[3:5] for line in Path(f"/proc/{host.pid}/limits").read_text().splitlines() if "open files" in line
    ]
    assert limits[0] == limits[1]


class TestPipe:
    @pytest.fixture
    def pipe(self):
        reading, writing = os.pipe()
        with FileIO(reading, "rb") as reader, FileIO(writing, "wb") as writer:
            yield reader, writer

    def test_messages_come_out_as_they_went_in(self, pipe):
        reader, writer = pipe
        messages = [c.CreateMixer(1, 8000), c.EngineDied("x" * 300_000), None]
        with ThreadPoolExecutor(1) as other:
            done = other.submit(lambda: [write(writer, packed(message)) for message in messages])
            assert [read_message(reader) for _ in messages] == messages
            done.result(LIMIT)

    @pytest.mark.parametrize("data", [b"", b"\0\0", b"\0\0\0\x09abc"])
    def test_an_end_in_the_middle_is_an_end(self, pipe, data):
        reader, writer = pipe
        write(writer, data)
        writer.close()
        with pytest.raises(EOFError):
            read_message(reader)

    def test_a_length_beyond_the_bound_is_refused_before_it_is_read(self, pipe):
        reader, writer = pipe
        write(writer, (MAX_MESSAGE_SIZE + 1).to_bytes(4))
        with pytest.raises(BrokenMessage, match="longer"):
            read_message(reader)


@given(st.binary(max_size=30))
def test_damaged_messages_are_broken_and_nothing_else(data):
    reading, writing = os.pipe()
    with FileIO(reading, "rb") as reader, FileIO(writing, "wb") as writer:
        # A text that no unpickling can take for anything but damage.
        write(writer, (len(data) + 1).to_bytes(4) + b"\xff" + data)
        with pytest.raises(BrokenMessage):
            read_message(reader)
