from __future__ import annotations

from collections.abc import Iterator

import pytest

from sipsimple.configuration import ConfigurationManager
from sipsimple.configuration.backend.memory import MemoryBackend
from sipsimple.notification import Notification, NotificationCenter


class Recorder:
    """Remembers the notifications that it was told of."""

    def __init__(self) -> None:
        self.notifications: list[Notification] = []

    def handle_notification(self, notification: Notification) -> None:
        self.notifications.append(notification)

    @property
    def names(self) -> list[str]:
        return [notification.name for notification in self.notifications]

    def clear(self) -> None:
        self.notifications.clear()


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    made = Recorder()
    center = NotificationCenter()
    center.add_observer(made)
    yield made
    center.remove_observer(made)


@pytest.fixture
def manager() -> Iterator[ConfigurationManager]:
    """The configuration manager, not started."""
    ConfigurationManager().stop()
    yield ConfigurationManager()
    ConfigurationManager().stop()


@pytest.fixture
def backend(manager: ConfigurationManager) -> MemoryBackend:
    """The backend of a configuration manager that was started with nothing stored."""
    made = MemoryBackend()
    manager.start(made)
    return made
