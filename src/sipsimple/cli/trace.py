"""`--trace`: prints SIP messages and notifications as they pass."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final

from zope.interface import implementer

from sipsimple.cli.output import WRONG_USE, CommandError, clean, clean_lines, error_console
from sipsimple.notification import IObserver, Notification, NotificationCenter

KINDS: Final = ("sip", "notifications")
SIP_TRACE: Final = "SIPEngineSIPTrace"
MAX_VALUE_LENGTH: Final = 120


def parse_kinds(text: str | None) -> frozenset[str]:
    """The kinds of a comma-separated list; raises CommandError."""
    kinds = frozenset(kind.strip() for kind in (text or "").split(",") if kind.strip())
    unknown = kinds.difference(KINDS)
    if unknown:
        raise CommandError(
            f"{clean(', '.join(sorted(unknown)))} cannot be traced: choose {' or '.join(KINDS)}", WRONG_USE
        )
    return kinds


@implementer(IObserver)
class Tracer:
    """Prints what it is told."""

    def __init__(self, kinds: frozenset[str]) -> None:
        self.kinds = kinds

    def handle_notification(self, notification: Notification) -> None:
        if notification.name == SIP_TRACE:
            if "sip" in self.kinds:
                error_console().print(sip_text(notification.data), style="cyan")
        elif "notifications" in self.kinds:
            error_console().print(notification_text(notification), style="dim")


def sip_text(data: Any) -> str:
    """One SIP message with the addresses it went between."""
    arrow = "<--" if data.received else "-->"
    local, remote = (
        f"{data.destination_ip}:{data.destination_port}",
        f"{data.source_ip}:{data.source_port}",
    )
    if not data.received:
        local, remote = remote, local
    head = f"{_clock(data.timestamp)} {local} {arrow} {remote} {clean(data.transport)}"
    from sipsimple.sip.sdp.crypto import hide_keys

    # What is printed is pasted into reports; the keys of a call are nobody's business.
    return f"{head}\n{clean_lines(hide_keys(data.data))}\n"


def notification_text(notification: Notification) -> str:
    """One notification on one line."""
    values = {name: value for name, value in vars(notification.data).items() if name != "timestamp"}
    text = " ".join(f"{name}={describe(value)}" for name, value in values.items())
    stamp = getattr(notification.data, "timestamp", None) or datetime.now()
    return f"{_clock(stamp)} {clean(notification.name)} {text}".rstrip()


def describe(value: Any) -> str:
    """A value of a notification in a few words."""
    text = clean(_words(value))
    return text if len(text) <= MAX_VALUE_LENGTH else f"{text[:MAX_VALUE_LENGTH]}…"


def _words(value: Any) -> str:
    if isinstance(value, list | tuple | set | frozenset):
        return ", ".join(_words(item) for item in value) or "none"
    if value is None:
        return "none"
    classes = type(value).__mro__[:-1]
    if any("__str__" in vars(one) for one in classes):
        return str(value)
    # An object that says nothing about itself is told by what it is; its address in memory helps nobody.
    return repr(value) if any("__repr__" in vars(one) for one in classes) else type(value).__name__


def _clock(moment: datetime) -> str:
    return moment.strftime("%H:%M:%S.%f")[:-3]


@contextmanager
def tracing(kinds: frozenset[str]) -> Iterator[None]:
    """Print these kinds for as long as this lasts."""
    if not kinds:
        yield
        return
    tracer = Tracer(kinds)
    NotificationCenter().add_observer(tracer)
    try:
        yield
    finally:
        NotificationCenter().remove_observer(tracer)
