"""Knows all accounts: loads them, starts and stops them, finds the one a request is for, keeps the default one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import unquote

from zope.interface import implementer

from sipsimple.account.base import BaseAccount
from sipsimple.configuration import ConfigurationManager
from sipsimple.configuration.settings import SIPSimpleSettings
from sipsimple.engine import Engine
from sipsimple.loop import Result, TaskOwner, run_in_loop, run_in_loop_or_now
from sipsimple.notification import IObserver, Notification, NotificationCenter, TimestampedNotificationData
from sipsimple.singleton import Singleton

log = logging.getLogger(__name__)

_OBSERVED: Final = (
    "CFGSettingsObjectDidChange",
    "SIPEngineDidStart",
    "SIPEngineDidEnd",
    "SIPEngineDidFail",
    "SystemDidWakeUpFromSleep",
    "SystemIPAddressDidChange",
)


@implementer(IObserver)
class AccountManager(metaclass=Singleton):
    """All accounts of the user. They are active while this is started, the engine runs, and they are enabled.

    `catch_all` is the account that takes the requests which are for no account; None, the default, has them refused.
    A server that answers whatever is called sets it.
    """

    def __init__(self) -> None:
        self._accounts: dict[str, BaseAccount] = {}
        self._tasks = TaskOwner("account manager")
        self._started = False
        self.catch_all: BaseAccount | None = None
        for name in _OBSERVED:
            NotificationCenter().add_observer(self, name=name)

    # The accounts

    def has_account(self, id: str) -> bool:
        """Whether there is an account with this id."""
        return id in self._accounts

    def get_account(self, id: str) -> BaseAccount:
        """The account with this id; raises KeyError when there is none."""
        return self._accounts[id]

    def get_accounts(self) -> list[BaseAccount]:
        """All accounts, the disabled ones and BonjourAccount included."""
        return list(self._accounts.values())

    def iter_accounts(self) -> Iterator[BaseAccount]:
        """As `get_accounts`, one after another."""
        return iter(self.get_accounts())

    def find_account(self, contact_uri: Any) -> BaseAccount | None:
        """The enabled account that a request to this URI is for, else `catch_all`.

        The user part of a contact decides first, whatever address a translator made of its host; then the id, and
        then the user part of an id.
        """
        user = contact_uri.user
        if user is None:
            return self.catch_all
        enabled = [account for account in self.get_accounts() if account.enabled]
        by_contact = (account for account in enabled if account.contact.username == user)
        own_name = [account for account in enabled if unquote(_id(account).username) == user]
        by_id = (account for account in own_name if _id(account).domain == contact_uri.host)
        return next(by_contact, None) or next(by_id, None) or next(iter(own_name), None) or self.catch_all

    # The default account

    @property
    def default_account(self) -> BaseAccount | None:
        """The account of outgoing sessions. A disabled or unknown account raises ValueError when it is assigned."""
        id = SIPSimpleSettings().default_account
        return None if id is None else self._accounts.get(id)

    @default_account.setter
    def default_account(self, account: BaseAccount | None) -> None:
        if account is not None and self._accounts.get(_id(account)) is not account:
            raise ValueError(f"{account!r} is unknown: it has been deleted")
        if account is not None and not account.enabled:
            raise ValueError(f"{account!r} is disabled: enable and save it before making it the default account")
        self._change_default(self.default_account, account)

    def _change_default(self, old: BaseAccount | None, new: BaseAccount | None) -> None:
        if new is old:
            return
        settings = SIPSimpleSettings()
        settings.default_account = None if new is None else str(_id(new))
        settings.save()
        self._post("SIPAccountManagerDidChangeDefaultAccount", old_account=old, account=new)

    def _choose_default(self, old: BaseAccount) -> None:
        """Replace a default account that can be it no more."""
        enabled = [account for account in self.get_accounts() if account.enabled and account is not old]
        # An account with a server reaches further than the one without, which comes first in the list.
        self._change_default(old, enabled[-1] if enabled else None)

    # Life

    def load_accounts(self) -> None:
        """Make the accounts of the configuration, each announced by `SIPAccountManagerDidAddAccount`, Bonjour first.

        Those that are there already stay. Raises RuntimeError while ConfigurationManager is not started.
        """
        # These modules need this one.
        from sipsimple.account.account import Account
        from sipsimple.account.bonjour import BonjourAccount

        names = ConfigurationManager().get_names(Account.__group__)
        BonjourAccount()
        for name in names:
            if name == BonjourAccount.__id__:
                continue
            try:
                Account(name)
            except ValueError as error:
                # One slip in a hand-edited file must not take the other accounts away.
                log.error("the stored account %r is left out: %s", name, error)
                data = TimestampedNotificationData(attribute=name, container=self, error=error)
                NotificationCenter().post_notification("CFGManagerLoadFailed", ConfigurationManager(), data)

    def start(self) -> Result[None]:
        """Load the accounts, and activate the enabled ones as soon as the engine runs; starting twice is fine.

        The result is settled after `SIPAccountManagerDidStart`. Raises RuntimeError while ConfigurationManager is not
        started.
        """
        self.load_accounts()
        result: Result[None] = Result()
        if Engine().is_running:
            run_in_loop(self._start, result)
        else:
            self._start(result)
        return result

    def _start(self, result: Result[None]) -> None:
        if not self._started:
            self._started = True
            self._post("SIPAccountManagerWillStart")
            self._start_accounts()
            self._post("SIPAccountManagerDidStart")
        result.set_result(None)

    def _start_accounts(self) -> None:
        if self._started and Engine().is_running:
            for account in self.get_accounts():
                account._start()

    def stop(self) -> Result[None]:
        """Deactivate all accounts; returns at once, and the result is settled after `SIPAccountManagerDidEnd`."""
        result: Result[None] = Result()
        if not self._started:
            result.set_result(None)
            return result
        self._started = False
        if Engine().is_running:
            run_in_loop(self._spawn, self._stop(), result)
        else:
            self._post("SIPAccountManagerWillEnd")
            self._post("SIPAccountManagerDidEnd")
            result.set_result(None)
        return result

    async def _stop(self) -> None:
        self._post("SIPAccountManagerWillEnd")
        await asyncio.gather(*(account._stop() for account in self.get_accounts()))
        self._post("SIPAccountManagerDidEnd")

    def forget(self) -> None:
        """Know no accounts any more; for when the configuration itself is stopped."""
        self._started = False
        self.catch_all = None
        for account in self.get_accounts():
            account._abandon()
        self._accounts.clear()

    def _spawn(self, coroutine: Any, result: Result[None]) -> None:
        async def settle() -> None:
            try:
                await coroutine
            except Exception as error:  # noqa: BLE001
                # Whoever asked for this has the result in hand.
                result.set_exception(error)
            else:
                result.set_result(None)

        self._tasks.spawn(settle())

    # What the accounts tell

    def _add(self, account: BaseAccount) -> None:
        self._accounts[str(_id(account))] = account
        self._post("SIPAccountManagerDidAddAccount", account=account)
        if self._started and Engine().is_running:
            run_in_loop(account._start)

    def _remove(self, account: BaseAccount) -> Result[None]:
        result: Result[None] = Result()
        if account._following is not None:
            run_in_loop(self._spawn, self._stop_and_drop(account), result)
        else:
            self._drop(account)
            result.set_result(None)
        return result

    async def _stop_and_drop(self, account: BaseAccount) -> None:
        await account._stop()
        self._drop(account)

    def _drop(self, account: BaseAccount) -> None:
        was_default = self.default_account is account
        id = str(_id(account))
        # By now there may be another account with this id.
        if self._accounts.get(id) is account:
            del self._accounts[id]
        self._post("SIPAccountManagerDidRemoveAccount", account=account)
        if was_default:
            self._choose_default(account)

    def _post(self, name: str, **attributes: Any) -> None:
        data = TimestampedNotificationData(**attributes)
        run_in_loop_or_now(NotificationCenter().post_notification, name, self, data)

    # What others tell

    def handle_notification(self, notification: Notification) -> None:
        match notification.name:
            case "CFGSettingsObjectDidChange":
                if isinstance(notification.sender, BaseAccount):
                    self._account_changed(notification.sender, set(notification.data.modified))
            case "SIPEngineDidStart":
                self._start_accounts()
            case "SIPEngineDidEnd" | "SIPEngineDidFail":
                for account in self.get_accounts():
                    account._abandon()
            case "SystemIPAddressDidChange" | "SystemDidWakeUpFromSleep":
                if self._started and Engine().is_running:
                    for account in self.get_accounts():
                        run_in_loop(account._network_changed)

    def _account_changed(self, account: BaseAccount, modified: set[str]) -> None:
        if self._accounts.get(str(_id(account))) is not account:
            return
        if "enabled" in modified:
            default = self.default_account
            if account.enabled and default is None:
                self._change_default(None, account)
            elif not account.enabled and default is account:
                self._choose_default(account)
        account._note_change(modified)


def _id(account: BaseAccount) -> Any:
    return account.__id__
