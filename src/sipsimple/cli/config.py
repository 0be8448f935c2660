"""Where the command keeps its configuration, and how the commands open it.

`settings` changes the file. The commands that run a user agent work on a copy in memory, so that what their options
say, and the devices that happen to be there today, are not written to it.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from zope.interface import implementer

from sipsimple.cli.output import CommandError, clean, print_warning
from sipsimple.configuration import ConfigurationManager
from sipsimple.configuration.backend.file import FileBackend, FileParserError
from sipsimple.configuration.backend.memory import MemoryBackend
from sipsimple.notification import IObserver, Notification, NotificationCenter

GUEST_USER: Final = "guest"
ACCOUNTS: Final = "Accounts"
SETTINGS: Final = "SIPSimpleSettings"
BONJOUR: Final = "bonjour@local"

StoredData = dict[str, Any]


def default_path() -> Path:
    """The configuration file of the user."""
    from platformdirs import user_config_path

    return user_config_path("sipsimple") / "config"


def stored(path: Path) -> StoredData:
    """What the file holds; empty when there is none. Raises CommandError."""
    try:
        return FileBackend(path).load()
    except FileParserError as error:
        raise CommandError(f"{error}; repair the file, or name another one with --config") from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise CommandError(f"the configuration {path} cannot be read: {reason}; name another with --config") from error


class Snapshot:
    """A copy of the stored configuration, to be changed for one run."""

    def __init__(self, data: Mapping[str, Any] | None = None) -> None:
        self.data: StoredData = copy.deepcopy(dict(data or {}))

    def set(self, path: str, value: Any) -> None:
        """Set a general setting, `sip.udp_port`, to its stored form."""
        _put(self.data.setdefault(SETTINGS, {}), path, value)

    def set_account(self, account: str, path: str, value: Any) -> None:
        """Set a setting of an account, which is made when it is missing."""
        _put(self.data.setdefault(ACCOUNTS, {}).setdefault(account, {}), path, value)

    @property
    def accounts(self) -> list[str]:
        """The ids of the accounts that have a server, enabled or not."""
        accounts = self.data.get(ACCOUNTS, {})
        return [name for name in accounts if name != BONJOUR] if isinstance(accounts, dict) else []

    @property
    def default_account(self) -> str | None:
        """The id of the default account when it is one with a server."""
        settings = self.data.get(SETTINGS, {})
        chosen = settings.get("default_account") if isinstance(settings, dict) else None
        return chosen if chosen in self.accounts else None

    def keep_only(self, account: str, *, registered: bool) -> None:
        """Enable this account alone, and let it register or not."""
        for other in (*self.accounts, BONJOUR):
            self.set_account(other, "enabled", "false")
        self.set_account(account, "enabled", "true")
        self.set_account(account, "registration.enabled", "true" if registered else "false")
        self.set("default_account", account)

    def add_guest(self, address: str) -> str:
        """Add an identity without a server, as the only enabled one; returns its id."""
        guest = f"{GUEST_USER}@{address}"
        self.keep_only(guest, registered=False)
        return guest

    def without_devices(self) -> None:
        """Use no sound hardware."""
        for device in ("input_device", "output_device", "alert_device"):
            self.set(f"audio.{device}", None)

    def backend(self) -> MemoryBackend:
        """The configuration backend for the run."""
        return MemoryBackend(self.data)


def _put(branch: StoredData, path: str, value: Any) -> None:
    *groups, name = path.split(".")
    for group in groups:
        branch = branch.setdefault(group, {})
    branch[name] = value


@implementer(IObserver)
class Problems:
    """Collects what the configuration complains of."""

    def __init__(self) -> None:
        self.save_failure: Exception | None = None

    def handle_notification(self, notification: Notification) -> None:
        data = notification.data
        if notification.name == "CFGManagerSaveFailed":
            self.save_failure = data.exception
        else:
            print_warning(f"{clean(data.attribute)} in {clean(data.container)} is left at its default: {data.error}")


@contextmanager
def watched() -> Iterator[Problems]:
    """Warn of stored values that cannot be used, for as long as this lasts."""
    problems = Problems()
    center = NotificationCenter()
    for name in ("CFGManagerLoadFailed", "CFGManagerSaveFailed"):
        center.add_observer(problems, name=name)
    try:
        yield problems
    finally:
        center.purge_observer(problems)


@contextmanager
def opened(path: Path) -> Iterator[None]:
    """The settings objects of the file, to be read and changed; raises CommandError when a change was not saved."""
    from sipsimple.account import AccountManager

    # What goes wrong is told below, once.
    logging.getLogger("sipsimple").addHandler(logging.NullHandler())
    stored(path)
    manager = ConfigurationManager()
    with watched() as problems:
        manager.start(FileBackend(path))
        try:
            AccountManager().load_accounts()
            yield
        finally:
            AccountManager().forget()
            manager.stop()
    if problems.save_failure is not None:
        raise CommandError(f"nothing was saved: {problems.save_failure}; name another file with --config")
