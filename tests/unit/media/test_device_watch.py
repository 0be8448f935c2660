"""The watch over the sound devices tells what changed, once, and only while it is wanted."""

import queue

import pytest

from sipsimple.media.commands import DeviceNames
from sipsimple.media.device_watch import DeviceWatch

NONE = DeviceNames((), ())
ONE = DeviceNames(("a",), ("a",))
TWO = DeviceNames(("a",), ("b", "a"))


class System:
    """Answers one listing after another; the last one again and again."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.told = queue.SimpleQueue()
        self.watch = DeviceWatch(self.list, lambda old, new: self.told.put((old, new)), interval=0.001)

    def list(self):
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def next(self):
        return self.told.get(timeout=5)


@pytest.fixture
def system():
    systems = []

    def make(*answers):
        systems.append(System(*answers))
        return systems[-1]

    yield make
    for made in systems:
        made.watch.close()
        assert not made.watch.watching


def test_each_change_is_told_with_what_was_there_before(system):
    watched = system(ONE, ONE, TWO, TWO, NONE)
    watched.watch.want(True)
    assert [watched.next() for _ in range(3)] == [(None, ONE), (ONE, TWO), (TWO, NONE)]
    assert watched.told.empty()


def test_a_sound_system_in_disorder_does_not_end_the_watch(system, caplog):
    watched = system(ONE, OSError("gone"), TWO)
    watched.watch.want(True)
    assert [watched.next(), watched.next()] == [(None, ONE), (ONE, TWO)]
    assert "cannot be listed" in caplog.text


def test_a_watch_begins_again_with_what_is_there_then(system):
    watched = system(ONE)
    watched.watch.want(True)
    watched.watch.want(True)
    assert watched.next() == (None, ONE)
    watched.watch.close()
    assert watched.told.empty()
    watched.watch.want(True)
    assert watched.next() == (None, ONE)
