"""Notices that this host got another address, and posts `SystemIPAddressDidChange`.

An interface that comes up may show several addresses in a row, so a new one counts only when it is still there at the
next look.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from sipsimple.core.network import default_address
from sipsimple.notification import NotificationCenter, TimestampedNotificationData

LOOK_INTERVAL: Final = 5.0


class AddressWatch:
    """Tells a lasting change of address from a passing one; machine without a clock."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._candidate = address

    def look(self, address: str) -> str | None:
        """Take what is seen now; returns the old address when the new one is here to stay."""
        settled = address == self._candidate
        self._candidate = address
        if not settled or address == self.address:
            return None
        old, self.address = self.address, address
        return old


async def watch_address(
    sender: object, interval: float = LOOK_INTERVAL, look: Callable[[], str] = default_address
) -> None:
    """Look every `interval` seconds, for ever; `sender` is whose notification it is."""
    watch = AddressWatch(look())
    while True:
        await asyncio.sleep(interval)
        old = watch.look(look())
        if old is not None:
            data = TimestampedNotificationData(old_ip_address=old, new_ip_address=watch.address)
            NotificationCenter().post_notification("SystemIPAddressDidChange", sender, data)
