from __future__ import annotations

import asyncio
import gc
import logging
import threading
from datetime import datetime

import pytest
from zope.interface import implementer

from sipsimple.notification import (
    Any,
    IObserver,
    Notification,
    NotificationCenter,
    NotificationData,
    NotificationEvents,
    ObserverWeakrefProxy,
    TimestampedNotificationData,
    UnknownSender,
)


class Recorder:
    def __init__(self, on_notification=None):
        self.names = []
        self.on_notification = on_notification

    def handle_notification(self, notification):
        self.names.append(notification.name)
        if self.on_notification is not None:
            self.on_notification(notification)


@pytest.fixture
def center(request):
    return NotificationCenter(request.node.name)


def test_the_center_is_one_object():
    assert NotificationCenter() is NotificationCenter("default") is NotificationCenter(name="default")
    assert NotificationCenter() is not NotificationCenter("other")
    assert NotificationCenter("other").name == "other"


def test_observers_are_told_of_what_they_asked_for(center):
    sender, other = object(), object()
    everything, named, of_sender, exact = Recorder(), Recorder(), Recorder(), Recorder()
    center.add_observer(everything)
    center.add_observer(named, name="A")
    center.add_observer(of_sender, sender=sender)
    center.add_observer(exact, name="A", sender=sender)
    center.post_notification("A", sender)
    center.post_notification("B", sender)
    center.post_notification("A", other)
    assert everything.names == ["A", "B", "A"]
    assert named.names == ["A", "A"]
    assert of_sender.names == ["A", "B"]
    assert exact.names == ["A"]


def test_an_observer_is_told_once(center):
    sender = object()
    observer = Recorder()
    for name in ("A", Any):
        for of in (sender, Any):
            center.add_observer(observer, name, of)
            center.add_observer(observer, name, of)
    center.post_notification("A", sender)
    assert observer.names == ["A"]


def test_senders_are_matched_by_identity(center):
    observer = Recorder()
    sender = []
    center.add_observer(observer, sender=sender)
    center.post_notification("other", [])
    center.post_notification("own", sender)
    assert observer.names == ["own"]


def test_what_is_posted_has_name_sender_and_data(center):
    seen = []
    center.add_observer(Recorder(seen.append))
    center.post_notification("A")
    center.post_notification("B", sender := object(), NotificationData(code=200))
    assert (seen[0].name, seen[0].sender, seen[0].data) == ("A", UnknownSender, NotificationData())
    assert (seen[1].name, seen[1].sender, seen[1].data.code) == ("B", sender, 200)
    assert repr(seen[0]) == "Notification('A', sender=UnknownSender, data=NotificationData())"


def test_what_is_no_observer_is_refused(center):
    with pytest.raises(TypeError, match="handle_notification"):
        center.add_observer(object())


def test_declared_and_undeclared_observers():
    @implementer(IObserver)
    class Declared(Recorder):
        pass

    assert IObserver.providedBy(Declared())
    assert IObserver.providedBy(ObserverWeakrefProxy(Declared()))


def test_observers_are_removed(center):
    observer, other = Recorder(), Recorder()
    sender = object()
    center.add_observer(observer, name="A")
    center.add_observer(other, name="A")
    center.add_observer(observer, sender=sender)
    center.remove_observer(observer, name="A")
    center.post_notification("A")
    assert (observer.names, other.names) == ([], ["A"])
    with pytest.raises(KeyError, match="does not observe 'A'"):
        center.remove_observer(observer, name="A")
    center.discard_observer(observer, name="A")
    center.discard_observer(observer, sender=sender)
    center.post_notification("B", sender)
    assert observer.names == []


def test_purging_removes_every_registration(center):
    observer, other = Recorder(), Recorder()
    center.add_observer(observer)
    center.add_observer(observer, name="A")
    center.add_observer(other, name="A")
    center.purge_observer(observer)
    center.post_notification("A")
    assert (observer.names, other.names) == ([], ["A"])


def test_what_a_handler_posts_waits_until_all_are_told(center):
    told = []

    class Observer:
        def __init__(self, name):
            self.name = name

        def handle_notification(self, notification):
            told.append((self.name, notification.name))
            if notification.name == "A" and self.name == "first":
                center.post_notification("B")

    first, second = Observer("first"), Observer("second")
    center.add_observer(first)
    center.add_observer(second)
    center.post_notification("A")
    assert told == [("first", "A"), ("second", "A"), ("first", "B"), ("second", "B")]


def test_an_observer_that_fails_disturbs_nobody(center, caplog):
    def fail(notification):
        raise LookupError("broken")

    observer = Recorder()
    center.add_observer(Recorder(fail))
    center.add_observer(observer)
    with caplog.at_level(logging.ERROR):
        center.post_notification("A")
    assert observer.names == ["A"]
    assert "failed to handle A" in caplog.text
    assert "broken" in caplog.text


def test_an_interruption_reaches_the_poster_and_loses_nothing(center):
    def interrupt(notification):
        if notification.name == "A":
            center.post_notification("B")
            raise KeyboardInterrupt

    observer = Recorder(interrupt)
    center.add_observer(observer)
    with pytest.raises(KeyboardInterrupt):
        center.post_notification("A")
    center.post_notification("C")
    assert observer.names == ["A", "B", "C"]


def test_observers_may_come_and_go_while_being_told(center):
    late = Recorder()

    def change(notification):
        center.discard_observer(observer)
        center.add_observer(late)

    observer = Recorder(change)
    center.add_observer(observer)
    center.post_notification("A")
    center.post_notification("B")
    assert (observer.names, late.names) == (["A"], ["B"])


def test_each_thread_has_its_own_order(center):
    told = []
    inside, posted = threading.Event(), threading.Event()

    def handle(notification):
        if notification.name == "A":
            inside.set()
            assert posted.wait(10)
        told.append(notification.name)

    center.add_observer(Recorder(handle))
    thread = threading.Thread(target=center.post_notification, args=("A",))
    thread.start()
    assert inside.wait(10)
    center.post_notification("B")
    posted.set()
    thread.join(10)
    assert told == ["B", "A"]


def test_a_weak_observer_is_told_until_it_is_collected(center):
    names = []
    observer = Recorder(lambda notification: names.append(notification.name))
    center.add_observer(ObserverWeakrefProxy(observer))
    center.post_notification("A")
    del observer
    gc.collect()
    center.post_notification("B")
    assert names == ["A"]
    assert not center._observers
    assert not center.dead


def test_a_weak_observer_can_be_removed(center):
    observer = Recorder()
    assert ObserverWeakrefProxy(observer) is ObserverWeakrefProxy(observer)
    center.add_observer(ObserverWeakrefProxy(observer), name="A")
    center.remove_observer(ObserverWeakrefProxy(observer), name="A")
    center.post_notification("A")
    assert observer.names == []


def test_a_weak_observer_that_is_gone_already_is_not_kept(center):
    center.add_observer(ObserverWeakrefProxy(Recorder()))
    assert not center._observers


def test_notification_data_compares_by_content_and_names_what_it_has():
    data = NotificationData(code=200, reason="OK")
    assert data == NotificationData(code=200, reason="OK")
    assert data != NotificationData(code=200)
    assert data != 200
    assert repr(data) == "NotificationData(code=200, reason='OK')"
    with pytest.raises(AttributeError, match="no attribute 'cod', only code, reason"):
        _ = data.cod
    with pytest.raises(AttributeError, match="only none"):
        _ = NotificationData().code


def test_timestamped_data_tells_when():
    before = datetime.now()
    data = TimestampedNotificationData(code=200)
    assert before <= data.timestamp <= datetime.now()
    assert TimestampedNotificationData(timestamp=before).timestamp == before


async def test_notifications_are_read_as_an_iterator(center):
    sender = object()
    async with center.subscribe(("A", "B"), sender) as events:
        center.post_notification("A", sender)
        center.post_notification("C", sender)
        center.post_notification("B", object())
        center.post_notification("B", sender)
        names = []
        async for notification in events:
            names.append(notification.name)
            if len(names) == 2:
                break
    assert names == ["A", "B"]
    assert not center._observers


async def test_notifications_of_other_threads_are_read(center):
    async with center.subscribe("A") as events:
        thread = threading.Thread(target=center.post_notification, args=("A",))
        thread.start()
        assert (await events.next(timeout=10)).name == "A"
        thread.join()
        with pytest.raises(TimeoutError):
            await events.next(timeout=0)


async def test_waiting_for_one_notification(center):
    loop = asyncio.get_running_loop()
    for code in (100, 200):
        loop.call_soon(center.post_notification, "A", UnknownSender, NotificationData(code=code))
    found = await center.wait("A", timeout=10, match=lambda notification: notification.data.code == 200)
    assert found.data.code == 200
    loop.call_soon(center.post_notification, "A")
    assert (await center.wait("A", timeout=10)).name == "A"
    with pytest.raises(TimeoutError):
        await center.wait("A", timeout=0)
    assert not center._observers


async def test_a_subscription_that_ended_takes_nothing(center):
    async with center.subscribe() as events:
        pass
    center.post_notification("A")
    with pytest.raises(TimeoutError):
        await events.next(timeout=0)


def test_a_subscription_of_a_closed_loop_is_told_in_vain(center):
    async def subscribe():
        events = center.subscribe()
        await events.__aenter__()
        return events

    events = asyncio.run(subscribe())
    assert isinstance(events, NotificationEvents)
    center.post_notification("A")
    center.remove_observer(events)
    NotificationEvents(center, Any, Any).handle_notification(Notification("A"))


def test_it_is_known_whether_anybody_would_be_told(center):
    sender = object()
    assert not center.is_observed("Name", sender)
    for name, of in (("Name", sender), ("Name", Any), (Any, sender), (Any, Any)):
        observer = Recorder()
        center.add_observer(observer, name, of)
        assert center.is_observed("Name", sender)
        assert center.is_observed("Other", object()) is (name is Any and of is Any)
        center.remove_observer(observer, name, of)
        assert not center.is_observed("Name", sender)
