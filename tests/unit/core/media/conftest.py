"""Fixtures of the media side of the core."""

from __future__ import annotations

import pytest

from sipsimple.core.media.mixer import AudioMixer
from sipsimple.notification import Any, NotificationCenter
from tests.media_host import host

__all__ = ["host", "mixer", "seen"]


@pytest.fixture
def mixer(host):
    return AudioMixer(None, None, 16000)


class Seen(list):
    """The notifications that were posted."""

    def handle_notification(self, notification):
        self.append(notification)

    @property
    def names(self):
        return [notification.name for notification in self]


@pytest.fixture
def seen():
    observer = Seen()
    NotificationCenter().add_observer(observer, name=Any, sender=Any)
    yield observer
    NotificationCenter().purge_observer(observer)
