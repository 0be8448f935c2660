"""What both kinds of accounts share: the contact, and being active while enabled and the engine runs.

All of it happens in the loop thread, except the notice of a change of the settings, which any thread may bring.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from sipsimple.account.contact import ContactURI, local_address, new_username
from sipsimple.configuration import Setting, SettingsObject
from sipsimple.loop import TaskOwner, run_in_loop
from sipsimple.notification import NotificationCenter, TimestampedNotificationData


class BaseAccount(SettingsObject):
    """An account that follows its settings between `_start` and `_stop`, which AccountManager calls."""

    __group__ = "Accounts"

    enabled = Setting(type=bool, default=False)

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id)
        self._active = False
        self._contact = ContactURI(f"{new_username()}@{local_address()}")
        self._tasks = TaskOwner(f"account {self.__id__}")
        self._following: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self._changed_names: set[str] = set()

    @property
    def contact(self) -> ContactURI:
        """Where requests for this account arrive; the address is the one at the last registration or network change."""
        return self._contact

    @property
    def registered(self) -> bool:
        """True while a registrar has our contact."""
        return False

    def refresh_contact(self) -> None:
        """Follow a change of the local address; the user part stays what it is."""
        self._contact = ContactURI(f"{self._contact.username}@{local_address()}")

    # Life

    def _start(self) -> None:
        """Follow the settings from now on."""
        if self._following is None:
            self._changed_names.clear()
            self._changed.clear()
            if self.enabled:
                self._activate()
            self._following = self._tasks.spawn(self._follow_settings())

    async def _stop(self) -> None:
        """Deactivate, with the farewell that the account owes to its servers, and follow the settings no more."""
        following, self._following = self._following, None
        if following is not None:
            following.cancel()
            await asyncio.wait([following])
        await self._deactivate()

    def _abandon(self) -> None:
        """Deactivate at once, the engine being gone."""
        if self._following is not None:
            self._following = None
            self._lose_services()
            self._tasks.cancel()
            self._note_inactive()

    def _note_change(self, modified: Iterable[str]) -> None:
        """Take note of a saved change; any thread."""
        if self._following is not None:
            run_in_loop(self._wake, set(modified))

    def _wake(self, modified: set[str]) -> None:
        self._changed_names |= modified
        self._changed.set()

    async def _follow_settings(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            names, self._changed_names = self._changed_names, set()
            if not self.enabled:
                await self._deactivate()
            elif not self._active:
                self._activate()
            else:
                await self._apply(names)

    def _activate(self) -> None:
        self._active = True
        self.refresh_contact()
        self._post("SIPAccountDidActivate")
        self._start_services()

    async def _deactivate(self) -> None:
        # This may be cancelled and called again: it is over when the notification was posted.
        if self._active:
            await self._stop_services()
            self._note_inactive()

    def _note_inactive(self) -> None:
        if self._active:
            self._active = False
            self._post("SIPAccountDidDeactivate")

    # What an active account does

    def _start_services(self) -> None:
        """Begin what the settings ask for."""

    async def _stop_services(self) -> None:
        """End it, in a bounded time."""

    def _lose_services(self) -> None:
        """End it at once, without a word to anybody."""

    async def _apply(self, modified: set[str]) -> None:
        """Follow a change of these settings while active."""

    def _network_changed(self) -> None:
        """Follow a change of the network that this host is in."""
        self.refresh_contact()

    def _post(self, name: str, **attributes: Any) -> None:
        NotificationCenter().post_notification(name, self, TimestampedNotificationData(**attributes))
