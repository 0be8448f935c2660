"""The notification centre: who posts need not know who listens.

Delivery is synchronous in the posting thread. A notification that is posted from inside a handler waits until the
current one has reached all its observers, so the order of posting is the order of delivery in each thread. An
exception in an observer is logged; it reaches neither the poster nor the other observers.

The middleware posts from its loop thread. `NotificationCenter.subscribe` and `.wait` are the asyncio face of the same
notifications.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import weakref
from collections import deque
from collections.abc import AsyncIterator, Callable, Hashable
from datetime import datetime
from typing import Any, ClassVar, Final

from zope.interface import Interface, implementer

from sipsimple.singleton import Singleton

__all__ = [
    "Any",
    "IObserver",
    "Notification",
    "NotificationCenter",
    "NotificationData",
    "NotificationEvents",
    "ObserverWeakrefProxy",
    "TimestampedNotificationData",
    "UnknownSender",
]

log = logging.getLogger(__name__)


class _UnknownSender:
    def __repr__(self) -> str:
        return "UnknownSender"


UnknownSender: Final = _UnknownSender()


class IObserver(Interface):  # type: ignore[misc]  # zope.interface ships no types
    """An object that can be told of notifications."""

    def handle_notification(notification):  # type: ignore[no-untyped-def]
        """Take one notification. Runs in the thread that posts it; must not block."""


class NotificationData:
    """The attributes of one kind of notification: `NotificationData(code=200, reason="OK").code`."""

    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"this notification has no attribute {name!r}, only {', '.join(self.__dict__) or 'none'}")

    def __eq__(self, other: object) -> bool:
        return self.__dict__ == other.__dict__ if isinstance(other, NotificationData) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.__dict__.items())})"


class TimestampedNotificationData(NotificationData):
    """Data with the local time of posting in `timestamp` (a naive `datetime`)."""

    timestamp: datetime

    def __init__(self, **attributes: Any) -> None:
        held = self.__dict__
        held.update(attributes)
        if "timestamp" not in held:
            held["timestamp"] = datetime.now()


class Notification:
    """One event: its `name`, the object it is about (`sender`), and its `data`."""

    __slots__ = ("data", "name", "sender")

    def __init__(self, name: str, sender: object = UnknownSender, data: NotificationData | None = None) -> None:
        self.name = name
        self.sender = sender
        self.data = NotificationData() if data is None else data

    def __repr__(self) -> str:
        return f"Notification({self.name!r}, sender={self.sender!r}, data={self.data!r})"


@implementer(IObserver)
class ObserverWeakrefProxy:
    """Register this in place of an observer that the centre must not keep alive.

    An observer has one proxy: `remove_observer(ObserverWeakrefProxy(observer))` undoes what was added that way. When
    the observer is collected, its proxy leaves every centre by itself.
    """

    _proxies: ClassVar[dict[int, ObserverWeakrefProxy]] = {}

    def __new__(cls, observer: Any) -> ObserverWeakrefProxy:
        known = cls._proxies.get(id(observer))
        if known is not None and known._observer() is observer:
            return known
        proxy = super().__new__(cls)
        proxy._identity = id(observer)
        proxy._observer = weakref.ref(observer, proxy._collected)
        return cls._proxies.setdefault(id(observer), proxy)

    _identity: int
    _observer: weakref.ref[Any]

    def handle_notification(self, notification: Notification) -> None:
        observer = self._observer()
        if observer is not None:
            observer.handle_notification(notification)

    def _collected(self, _: object) -> None:
        # The garbage collector may call this in the middle of anything, a change of a centre included.
        self._proxies.pop(self._identity, None)
        for center in NotificationCenter.all():
            center.dead.append(self)


class _Local(threading.local):
    def __init__(self) -> None:
        self.queue: deque[tuple[str, object, NotificationData | None]] = deque()
        self.delivering = False


class NotificationCenter(metaclass=Singleton):
    """The meeting point; `NotificationCenter()` is the same object everywhere, `NotificationCenter("name")` another."""

    def __init__(self, name: str = "default") -> None:
        self.name = name
        self._observers: dict[tuple[object, object], dict[int, Any]] = {}
        self._lock = threading.RLock()
        self._local = _Local()
        # Proxies of observers that are gone, removed at the next occasion.
        self.dead: Final[deque[ObserverWeakrefProxy]] = deque()

    @classmethod
    def all(cls) -> list[NotificationCenter]:
        """Every centre that exists."""
        return list(cls._instances.values())

    def add_observer(self, observer: Any, name: object = Any, sender: object = Any) -> None:
        """Tell `observer` of notifications of this name and sender; `Any` matches all. Adding twice is adding once.

        Raises TypeError when the observer does not offer `handle_notification`.
        """
        if not callable(getattr(observer, "handle_notification", None)):
            raise TypeError(
                f"{observer!r} is no observer: it has no handle_notification(notification) method (IObserver)"
            )
        with self._lock:
            key = (name, _identity(sender))
            # Copy on write: a delivery that is under way keeps the list it began with.
            self._observers[key] = {**self._observers.get(key, {}), id(observer): (observer, sender)}
        self._sweep()

    def remove_observer(self, observer: Any, name: object = Any, sender: object = Any) -> None:
        """Undo one `add_observer` with the same arguments; raises KeyError when there was none."""
        with self._lock:
            key = (name, _identity(sender))
            remaining = dict(self._observers.get(key, {}))
            if remaining.pop(id(observer), None) is None:
                raise KeyError(f"{observer!r} does not observe {name!r} of {sender!r}")
            if remaining:
                self._observers[key] = remaining
            else:
                del self._observers[key]

    def discard_observer(self, observer: Any, name: object = Any, sender: object = Any) -> None:
        """As `remove_observer`, in silence when there is nothing to remove."""
        with self._lock:
            if id(observer) in self._observers.get((name, _identity(sender)), {}):
                self.remove_observer(observer, name, sender)

    def purge_observer(self, observer: Any) -> None:
        """Remove every registration of the observer."""
        with self._lock:
            for key in [key for key, group in self._observers.items() if id(observer) in group]:
                remaining = {k: v for k, v in self._observers[key].items() if k != id(observer)}
                if remaining:
                    self._observers[key] = remaining
                else:
                    del self._observers[key]

    def post_notification(
        self, name: str, sender: object = UnknownSender, data: NotificationData | None = None
    ) -> None:
        """Deliver to all observers of (name, sender), (name, Any), (Any, sender) and (Any, Any); each is told once."""
        local = self._local
        local.queue.append((name, sender, data))
        if local.delivering:
            return
        local.delivering = True
        try:
            while local.queue:
                self._deliver(*local.queue.popleft())
        finally:
            local.delivering = False

    def is_observed(self, name: str, sender: object = UnknownSender) -> bool:
        """Whether anybody would be told of this notification; for those that are dear to make."""
        known, identity = self._observers, _identity(sender)
        return (name, Any) in known or (name, identity) in known or (Any, Any) in known or (Any, identity) in known

    def _sweep(self) -> None:
        while self.dead:
            with contextlib.suppress(IndexError):  # another thread took it
                self.purge_observer(self.dead.popleft())

    def _deliver(self, name: str, sender: object, data: NotificationData | None) -> None:
        if self.dead:
            self._sweep()
        identity = Any if sender is Any else id(sender)
        find = self._observers.get
        groups = [
            group
            for group in (find((name, identity)), find((name, Any)), find((Any, identity)), find((Any, Any)))
            if group is not None
        ]
        if not groups:
            return
        notification = Notification(name, sender, data)
        # Whoever is in several groups is told once; who is told first stays first.
        observers = groups[0] if len(groups) == 1 else {key: entry for group in groups for key, entry in group.items()}
        for observer, _sender in observers.values():
            try:
                observer.handle_notification(notification)
            except Exception:
                log.exception("observer %r failed to handle %s", observer, name)

    def subscribe(self, name: object = Any, sender: object = Any) -> NotificationEvents:
        """Read notifications as an async iterator: `async with center.subscribe(...) as events: async for n in events`.

        `name` may also be a collection of names. Usable in any loop; nothing posted after entering the block is lost.
        """
        return NotificationEvents(self, name, sender)

    async def wait(
        self,
        name: object = Any,
        sender: object = Any,
        timeout: float | None = None,
        match: Callable[[Notification], bool] | None = None,
    ) -> Notification:
        """Wait for the first notification from now on for which `match` (if given) is true.

        Raises TimeoutError after `timeout` seconds.
        """
        async with asyncio.timeout(timeout), self.subscribe(name, sender) as events:
            async for notification in events:
                if match is None or match(notification):
                    return notification
        raise AssertionError("a subscription does not end by itself")


@implementer(IObserver)
class NotificationEvents:
    """An open subscription; see `NotificationCenter.subscribe`."""

    def __init__(self, center: NotificationCenter, name: object, sender: object) -> None:
        self._center = center
        self._names = list(name) if isinstance(name, list | tuple | set | frozenset) else [name]
        self._sender = sender
        self._queue: asyncio.Queue[Notification] = asyncio.Queue()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def __aenter__(self) -> NotificationEvents:
        self._loop = asyncio.get_running_loop()
        for name in self._names:
            self._center.add_observer(self, name, self._sender)
        return self

    async def __aexit__(self, *_: object) -> None:
        for name in self._names:
            self._center.discard_observer(self, name, self._sender)

    def handle_notification(self, notification: Notification) -> None:
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            running = None
        if running is self._loop:
            self._queue.put_nowait(notification)
        elif self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._queue.put_nowait, notification)

    def __aiter__(self) -> AsyncIterator[Notification]:
        return self

    async def __anext__(self) -> Notification:
        return await self._queue.get()

    async def next(self, timeout: float | None = None) -> Notification:
        """The next notification; raises TimeoutError after `timeout` seconds."""
        async with asyncio.timeout(timeout):
            return await self._queue.get()


def _identity(sender: object) -> Hashable:
    # Senders are matched by identity, whatever their __eq__ and __hash__ say (settings and headers define both).
    return Any if sender is Any else id(sender)
