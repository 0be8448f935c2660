"""Who else is in the local network: SIP addresses announced and found by multicast DNS (RFC 6762, RFC 6763).

Each address is an instance of the service `_sipuri._udp`, named by its URI, with a TXT record of `txtvers`, `name`
(whom it belongs to) and `contact` (the URI again, in full).
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable
from importlib import import_module
from typing import Any, Final, NamedTuple

from sipsimple.core import FrozenSIPURI, SIPCoreError
from sipsimple.loop import TaskOwner

SERVICE: Final = "_sipuri._udp.local."
MAX_NEIGHBOURS: Final = 500
MAX_TEXT: Final = 255
QUESTION_TIMEOUT: Final = 3.0
"""Seconds to learn the details of a neighbour whose name was heard."""
_MAX_LABEL: Final = 63


class Neighbour(NamedTuple):
    """Somebody in the local network: how to call, and what the announcement says besides."""

    uri: FrozenSIPURI
    display_name: str | None
    host: str
    """The name of the machine."""


class NeighbourhoodError(Exception):
    """The local network cannot be asked; the text says why."""


class Neighbourhood:
    """The neighbours seen from one address of this host, from `open` to `close`; in the loop that opens it."""

    def __init__(
        self,
        address: str,
        on_added: Callable[[str, Neighbour], object],
        on_updated: Callable[[str, Neighbour], object],
        on_removed: Callable[[str, Neighbour], object],
    ) -> None:
        """`address` is an IP address of this host; the functions get the name of the announcement, too."""
        self.neighbours: dict[str, Neighbour] = {}
        self._address = address
        self._told = (on_added, on_updated, on_removed)
        self._own: dict[str, Any] = {}
        self._tasks = TaskOwner("neighbourhood")
        self._zeroconf: Any = None
        self._browser: Any = None
        self._library: Any = None

    async def open(self) -> None:
        """Listen and ask. Raises NeighbourhoodError."""
        # It takes its time to load, and only this account needs it.
        self._library = await asyncio.to_thread(import_module, "zeroconf.asyncio")
        version = ipaddress.ip_address(self._address).version
        zeroconf = import_module("zeroconf")
        ip_version = zeroconf.IPVersion.V6Only if version == 6 else zeroconf.IPVersion.V4Only
        try:
            self._zeroconf = self._library.AsyncZeroconf(interfaces=[self._address], ip_version=ip_version)
            await self._zeroconf.zeroconf.async_wait_for_start()
        except (OSError, ValueError, RuntimeError, zeroconf.Error) as error:
            await self.close()
            raise NeighbourhoodError(f"no multicast DNS at {self._address}: {error}") from error
        self._browser = self._library.AsyncServiceBrowser(self._zeroconf.zeroconf, SERVICE, handlers=[self._heard])

    async def announce(self, uri: FrozenSIPURI, display_name: str | None) -> str:
        """Tell the others of an address of ours; returns the name that it has there. Raises NeighbourhoodError."""
        zeroconf = import_module("zeroconf")
        name = f"{_label(str(uri))}.{SERVICE}"
        text = {"txtvers": "1", "name": (display_name or "")[:MAX_TEXT], "contact": str(uri)[:MAX_TEXT]}
        info = self._library.AsyncServiceInfo(
            SERVICE, name, port=uri.port or 5060, properties=text, parsed_addresses=[self._address],
            server=f"{_host_label()}.local.",
        )  # fmt: skip
        self._own[name] = info
        try:
            await self._zeroconf.async_register_service(info, allow_name_change=False)
        except (OSError, zeroconf.Error) as error:
            del self._own[name]
            raise NeighbourhoodError(f"{uri} was not announced: {error or type(error).__name__}") from error
        return name

    async def close(self) -> None:
        """Say goodbye and stop; idempotent."""
        browser, self._browser = self._browser, None
        zeroconf, self._zeroconf = self._zeroconf, None
        await self._tasks.close()
        if browser is not None:
            await browser.async_cancel()
        if zeroconf is not None:
            await zeroconf.async_unregister_all_services()
            await zeroconf.async_close()
        self._own.clear()

    def _heard(self, zeroconf: Any, service_type: str, name: str, state_change: Any) -> None:
        """An announcement came, was changed, or went; called in the loop."""
        if name in self._own:
            return
        if state_change.name == "Removed":
            gone = self.neighbours.pop(name, None)
            if gone is not None:
                self._told[2](name, gone)
        elif name in self.neighbours or len(self.neighbours) < MAX_NEIGHBOURS:
            self._tasks.spawn(self._learn(name))

    async def _learn(self, name: str) -> None:
        if self._zeroconf is None:
            return
        info = self._library.AsyncServiceInfo(SERVICE, name)
        if not await info.async_request(self._zeroconf.zeroconf, int(QUESTION_TIMEOUT * 1000)):
            return
        neighbour = _neighbour(name, info)
        before = self.neighbours.get(name)
        if neighbour is None or neighbour == before:
            return
        self.neighbours[name] = neighbour
        self._told[0 if before is None else 1](name, neighbour)


def _neighbour(name: str, info: Any) -> Neighbour | None:
    """What an announcement says; None when it names no SIP address."""
    text = {
        key.decode("ascii", "replace").lower(): value.decode("utf-8", "replace")
        for key, value in (info.properties or {}).items()
        if value is not None
    }
    contact = text.get("contact", "").strip().removeprefix("<").partition(">")[0] or name.removesuffix(f".{SERVICE}")
    try:
        uri = FrozenSIPURI.parse(contact)
    except SIPCoreError:
        return None
    return Neighbour(uri, text.get("name") or None, (info.server or "").removesuffix(".").removesuffix(".local"))


def _label(uri: str) -> str:
    """The URI as the name of an announcement, without what is too long for one."""
    short = uri.removeprefix("sip:").removeprefix("sips:")
    text = uri if len(uri.encode()) <= _MAX_LABEL else short
    return text.encode()[:_MAX_LABEL].decode("utf-8", "ignore").rstrip(".")


def _host_label() -> str:
    """The first part of the name of this machine."""
    import socket

    return socket.gethostname().partition(".")[0][:_MAX_LABEL] or "localhost"
