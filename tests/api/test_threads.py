"""Sessions driven by threads of the application, while the middleware runs in a thread of its own."""

from __future__ import annotations

import gc
import random
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from sipsimple.account import Account
from sipsimple.application import SIPApplication
from sipsimple.configuration.backend.memory import MemoryBackend
from sipsimple.core import SIPURI, Engine, ToHeader
from sipsimple.core.stack import stack
from sipsimple.notification import NotificationCenter
from sipsimple.session import IllegalStateError, Session, SessionError, SessionManager
from sipsimple.util import Route
from tests.support.agent import ALICE, SETTINGS
from tests.support.contract_stream import ContractStream

LIMIT = 20.0
CALLS = 100
THREADS = 4


class Answering:
    """Accepts every call and every proposal, in the loop thread; remembers what happened to each session."""

    def __init__(self) -> None:
        self.told: dict[Session, list[str]] = {}
        self.posted_in: set[str] = set()

    def handle_notification(self, notification: Any) -> None:
        if not isinstance(notification.sender, Session):
            return
        self.posted_in.add(threading.current_thread().name)
        self.told.setdefault(notification.sender, []).append(notification.name)
        if notification.name == "SIPSessionNewIncoming":
            notification.sender.accept(notification.data.streams)
        elif notification.name == "SIPSessionGotProposal" and notification.data.originator == "remote":
            with suppress(IllegalStateError):
                notification.sender.accept_proposal(notification.data.streams)


@pytest.fixture
def answering(nothing_left: None) -> Iterator[Answering]:
    answering = Answering()
    NotificationCenter().add_observer(answering)
    application = SIPApplication()
    application.start(MemoryBackend(SETTINGS)).wait(LIMIT)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(interval / 1000)  # what happens once in a thousand calls shall happen here
    try:
        yield answering
    finally:
        sys.setswitchinterval(interval)
        NotificationCenter().remove_observer(answering)
        application.stop().wait(LIMIT)
        SIPApplication.forget()


def new_call() -> Session:
    session = Session(Account(ALICE))
    route = Route("127.0.0.1", Engine().udp_port)
    session.connect(ToHeader(SIPURI("127.0.0.1", "alice")), [route], [ContractStream(session.account)])
    return session


def in_threads(work: Callable[[random.Random], None]) -> None:
    """Do the work in several threads at once; what goes wrong in one of them is raised here."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")  # for whoever reads of a failure
    errors: list[BaseException] = []

    def run(number: int) -> None:
        dice = random.Random(seed + number)
        try:
            for _ in range(CALLS // THREADS):
                work(dice)
        except BaseException as error:  # noqa: BLE001
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5 * LIMIT)
    assert errors == []
    assert not any(thread.is_alive() for thread in threads)


def calm(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def something(session: Session, dice: random.Random) -> None:
    """Ask for a change, whether or not it is the time for it."""
    wishes: list[Callable[[], object]] = [
        session.hold,
        session.unhold,
        session.cancel_proposal,
        lambda: session.add_stream(ContractStream(session.account)),
        lambda: session.remove_stream(dice.choice(session.streams or [None])),
    ]
    with suppress(IllegalStateError):
        dice.choice(wishes)()


def assert_all_is_over(answering: Answering) -> None:
    calm(lambda: not SessionManager().sessions, "sessions are left")
    calm(lambda: not stack().router.invitations, "invitations are left")
    for session, told in list(answering.told.items()):
        assert session.state == "terminated", told
        assert sum(name in ("SIPSessionDidEnd", "SIPSessionDidFail") for name in told) == 1, told
    assert answering.posted_in == {"sipsimple loop"}


def test_calls_are_made_changed_and_ended_by_many_threads(answering: Answering):
    def work(dice: random.Random) -> None:
        session = new_call()
        with suppress(SessionError):
            session._started.wait(LIMIT)
        for _ in range(dice.randrange(6)):
            something(session, dice)
            time.sleep(dice.choice((0, 0.001, 0.005)))
        session.end().wait(LIMIT)
        assert session.state == "terminated"

    in_threads(work)
    assert_all_is_over(answering)
    assert len(answering.told) == 2 * CALLS


def test_calls_are_ended_by_other_threads_at_any_moment(answering: Answering):
    def work(dice: random.Random) -> None:
        session = new_call()
        session.hold()
        time.sleep(dice.random() * 0.02)
        session.end().wait(LIMIT)
        assert session.state == "terminated"
        with pytest.raises((SessionError, IllegalStateError)):
            session.add_stream(ContractStream(session.account))

    in_threads(work)
    assert_all_is_over(answering)


def test_a_session_settles_after_whatever_many_threads_have_asked_of_it(answering: Answering):
    session = new_call()
    session._started.wait(LIMIT)
    in_threads(lambda dice: something(session, dice))
    calm(lambda: session.state == "connected" and session._invitation.sub_state == "normal", "no calm")
    session.hold()
    calm(lambda: all(stream.on_hold_by_local for stream in session.streams or ()), "no hold")
    session.end().wait(LIMIT)
    assert_all_is_over(answering)


def test_nothing_of_a_call_is_left(answering: Answering):
    def call() -> list[weakref.ref[Any]]:
        session = new_call()
        session._started.wait(LIMIT)
        stream = session.streams[0]
        session.end().wait(LIMIT)
        return [weakref.ref(session), weakref.ref(session._invitation), weakref.ref(stream)]

    call()
    calm(lambda: not stack().router.invitations, "invitations are left")
    observers = len(NotificationCenter()._observers)
    left = call()
    calm(lambda: not stack().router.invitations, "invitations are left")
    assert len(NotificationCenter()._observers) == observers
    answering.told.clear()
    ContractStream.offered.clear()

    def gone() -> bool:
        gc.collect()
        return all(reference() is None for reference in left)

    calm(gone, f"left: {[reference() for reference in left]}")
