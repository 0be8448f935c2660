"""`sipsimple register`: registers an account, tells what the registrar says, and unregisters at the end."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sipsimple.cli.config import Snapshot, stored
from sipsimple.cli.output import FAILED, INTERRUPTED, WRONG_USE, CommandError, clean, print_json, print_warning, say
from sipsimple.cli.running import Interrupt, Interrupted, interruptible, running
from sipsimple.cli.target import local_address_for, parse_proxy
from sipsimple.cli.trace import tracing
from sipsimple.notification import Notification, NotificationCenter

ANSWERS = ("SIPAccountRegistrationDidSucceed", "SIPAccountRegistrationDidFail")


@dataclass
class RegisterOptions:
    """What was asked for; `duration` None is until interrupted."""

    config: Path
    account: str | None
    duration: float | None
    proxy: str | None
    bind: str | None
    trace: frozenset[str]
    json: bool


def chosen_account(configuration: Snapshot, wanted: str | None) -> str:
    """The account that is meant; raises CommandError when there is none."""
    if wanted is None:
        found = configuration.default_account
        if found is None:
            raise CommandError(
                "there is no default account: add one with `sipsimple settings add-account USER@DOMAIN`", WRONG_USE
            )
        return found
    if wanted not in configuration.accounts:
        known = ", ".join(clean(account) for account in configuration.accounts) or "none yet"
        raise CommandError(f"there is no account {clean(wanted)!r}; the accounts are: {known}", WRONG_USE)
    return wanted


async def register(options: RegisterOptions) -> int:
    """Run the command; returns the exit status."""
    configuration = Snapshot(stored(options.config))
    account = chosen_account(configuration, options.account)
    configuration.keep_only(account, registered=True)
    configuration.without_devices()
    configuration.set("sip.transport_list", ["udp", "tcp"])
    address = options.bind
    if options.proxy is not None:
        proxy = parse_proxy(options.proxy)
        configuration.set_account(account, "sip.outbound_proxy", str(proxy))
        address = address or local_address_for(proxy.host)
    if address is not None:
        configuration.set("local_ip", address)
    names = (*ANSWERS, "SIPAccountRegistrationDidEnd", "SIPAccountRegistrationDidNotEnd")
    async with interruptible() as interrupt, NotificationCenter().subscribe(names) as events:
        with tracing(options.trace):
            status = await _hold(configuration, events, interrupt, options)
        if status == 0:
            status = await _farewell(events)
    return status


async def _hold(configuration: Snapshot, events: Any, interrupt: Interrupt, options: RegisterOptions) -> int:
    async with running(configuration):
        try:
            answer: Notification = await interrupt.race(events.next())
        except Interrupted:
            return INTERRUPTED
        if answer.name == "SIPAccountRegistrationDidFail":
            raise CommandError(f"{_name(answer)} is not registered: {clean(answer.data.error)}{_advice(answer)}")
        _tell(answer, options)
        if options.duration is None:
            say("press Ctrl-C to unregister", style="dim")
        try:
            registered = await interrupt.race(_watch(events, options), options.duration)
        except (Interrupted, TimeoutError):
            registered = True
    return 0 if registered else FAILED


async def _watch(events: Any, options: RegisterOptions) -> bool:
    """Tell what happens to the registration; ends when it is lost."""
    while True:
        event: Notification = await events.next()
        if event.name == "SIPAccountRegistrationDidSucceed":
            _tell(event, options)
        elif event.name == "SIPAccountRegistrationDidFail":
            print_warning(f"{_name(event)} has lost its registration: {clean(event.data.error)}")
            return False


async def _farewell(events: Any) -> int:
    """What the registrar said to the un-REGISTER, which was sent while the application ended."""
    while True:
        try:
            event: Notification = await events.next(0.1)
        except TimeoutError:
            return 0
        if event.name == "SIPAccountRegistrationDidEnd":
            say("unregistered", style="green")
            return 0
        if event.name == "SIPAccountRegistrationDidNotEnd":
            print_warning(f"the registrar did not remove the contact: {event.data.code} {clean(event.data.reason)}")
            return FAILED


def _tell(event: Notification, options: RegisterOptions) -> None:
    data = event.data
    if options.json:
        print_json({"account": _name(event), "registrar": str(data.registrar), "expires": data.expires})
    else:
        say(f"{_name(event)} is registered with {clean(data.registrar)} for {data.expires} seconds", style="green")


def _name(event: Notification) -> str:
    return clean(getattr(event.sender, "id", event.sender))


def _advice(event: Notification) -> str:
    error = str(event.data.error)
    if "uthentication" in error:
        return f"; check the password with `sipsimple settings set --account {_name(event)} password`"
    if "DNS" in error:
        return "; check the domain, or name the server with --proxy"
    return "; check that the server runs and can be reached"
