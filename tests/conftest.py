"""What all tests share: the rows of the coverage table that a test shows, and the check that nothing is left behind."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# How long an example takes depends on what else the machine does.
settings.register_profile("sipsimple", deadline=None)
settings.load_profile("sipsimple")

LEAK_TIMEOUT = 5.0

# A process of its own takes half a second to start, and each test starts its engine anew. Run the tests with
# SIPSIMPLE_MEDIA_HOST=process to have it all as applications have it; some tests ask for that by themselves.
os.environ.setdefault("SIPSIMPLE_MEDIA_HOST", "thread")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Hand the numbers of `@pytest.mark.spec` on to the JUnit report."""
    for item in items:
        numbers = {number for mark in item.iter_markers("spec") for number in mark.args}
        item.user_properties.extend(("spec", number) for number in sorted(numbers))


def pytest_collection_finish() -> None:
    """Keep what has been imported out of the sight of the collector, which the tests run more than a thousand times."""
    gc.collect()
    gc.freeze()


def open_sockets() -> set[str]:
    """The sockets of this process, but for those of event loops and tests themselves; empty where /proc is not."""
    found = set()
    for entry in Path("/proc/self/fd").glob("*") if os.path.isdir("/proc/self/fd") else ():
        try:
            target = os.readlink(entry)
        except OSError:
            continue
        if target.startswith("socket:"):
            found.add(target)
    return found


def children() -> set[int]:
    """The child processes of this process; empty where /proc is not."""
    found = set()
    for task in Path("/proc/self/task").glob("*/children"):
        try:
            found.update(int(pid) for pid in task.read_text().split())
        except OSError:
            continue
    return found


@pytest.fixture
def nothing_left() -> Iterator[None]:
    """Fails the test when a thread, socket or child process that it started is there afterwards."""
    threads, sockets, processes = set(threading.enumerate()), open_sockets(), children()
    yield
    deadline = time.monotonic() + LEAK_TIMEOUT
    while True:
        gc.collect()
        left = {
            "threads": {thread.name for thread in set(threading.enumerate()) - threads},
            "sockets": open_sockets() - sockets,
            "processes": children() - processes,
        }
        if not any(left.values()) or time.monotonic() > deadline:
            break
        # A thread that has told its end needs a moment to be gone.
        threading.Event().wait(0.01)
    assert not any(left.values()), f"left behind: { {kind: what for kind, what in left.items() if what} }"


def tasks_left() -> list[str]:
    """The names of the tasks of the running loop, but for the one that asks."""
    return [task.get_name() for task in asyncio.all_tasks() - {asyncio.current_task()}]


@pytest.fixture
def free_udp_port() -> int:
    """A UDP port of 127.0.0.1 that nothing uses just now."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
