"""Starts `sipsimple session`, and ends it with all its calls."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sipsimple.account import AccountManager
from sipsimple.cli.config import Snapshot, stored
from sipsimple.cli.register import chosen_account
from sipsimple.cli.running import Interrupt, Interrupted, interruptible, running
from sipsimple.cli.session.actions import desktop_address
from sipsimple.cli.session.client import Client
from sipsimple.cli.session.tell import Teller
from sipsimple.cli.session.terminal import Terminal, open_terminal
from sipsimple.cli.target import LOOPBACK, local_address_for, parse_proxy
from sipsimple.cli.trace import tracing
from sipsimple.sip.transport.address import uri_host


@dataclass
class SessionOptions:
    """What was asked for."""

    config: Path
    target: str | None
    streams: list[str]
    account: str | None
    proxy: str | None
    bind: str | None
    udp_port: int
    tcp_port: int
    downloads: Path
    desktop: str
    auto_accept: bool
    no_sound: bool
    trace: frozenset[str]


async def session(options: SessionOptions) -> int:
    """Run the command until the user quits; returns the exit status."""
    configuration = Snapshot(stored(options.config))
    account = _configure(configuration, options)
    proxy = parse_proxy(options.proxy) if options.proxy is not None else None
    desktop = desktop_address(options.desktop)
    terminal = open_terminal()
    async with interruptible() as interrupt, contextlib.AsyncExitStack() as stack:
        stack.enter_context(tracing(options.trace))
        application = await stack.enter_async_context(running(configuration))
        chosen: Any = AccountManager().get_account(account)
        AccountManager().catch_all = chosen
        client = Client(
            chosen,
            terminal.show,
            proxy=proxy or chosen.sip.outbound_proxy,
            downloads=options.downloads.expanduser(),
            desktop=desktop,
            auto_accept=options.auto_accept,
        )
        teller = Teller(client)
        teller.start()
        stack.callback(teller.stop)
        stack.push_async_callback(client.close)
        terminal.show(_ready(application.engine, chosen))
        if options.target is not None:
            client.enter(f"/call {options.target} {' '.join(options.streams)}")
        with contextlib.suppress(Interrupted):
            await _talk(client, terminal, interrupt)
    return 0


def _configure(configuration: Snapshot, options: SessionOptions) -> str:
    """Set what the options say; returns the id of the account."""
    account = options.account or configuration.default_account
    if account is None:
        address = options.bind
        if address is None and options.target is not None:
            host = options.target.rpartition("@")[2].partition(":")[0]
            address = local_address_for(host)
        account = configuration.add_guest(address or LOOPBACK)
    else:
        account = chosen_account(configuration, account)
        configuration.keep_only(account, registered=True)
        if options.proxy is not None:
            configuration.set_account(account, "sip.outbound_proxy", str(parse_proxy(options.proxy)))
    if options.bind is not None:
        configuration.set("local_ip", options.bind)
    if options.no_sound:
        configuration.without_devices()
    configuration.set("sip.transport_list", ["udp", "tcp"])
    configuration.set("sip.udp_port", str(options.udp_port))
    configuration.set("sip.tcp_port", str(options.tcp_port))
    return account


def _ready(engine: Any, account: Any) -> str:
    """How others reach us."""
    user = account.contact.username
    return (
        f"ready: sip:{user}@{uri_host(engine.ip_address)}:{engine.udp_port} as {account.id}; /help shows the commands"
    )


async def _talk(client: Client, terminal: Terminal, interrupt: Interrupt) -> None:
    """Do what the lines say until the user quits; after the last line, until the calls are over."""
    reader = asyncio.create_task(_read(client, terminal))
    try:
        await interrupt.race(client.over.wait())
    finally:
        reader.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await reader


async def _read(client: Client, terminal: Terminal) -> None:
    async for line in terminal.lines(client):
        client.enter(line)
    client.quit_after_calls()
