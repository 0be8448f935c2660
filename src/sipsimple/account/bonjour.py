"""The account without a server, for calls within the local network: it announces itself, and finds its neighbours.

BonjourAccountRegistrationDidSucceed  neighbour, transport: one of our addresses was announced by this name
BonjourAccountRegistrationDidFail     reason, transport
BonjourAccountDidAddNeighbour         neighbour (the name of the announcement), record (a Neighbour)
BonjourAccountDidUpdateNeighbour      neighbour, record
BonjourAccountDidRemoveNeighbour      neighbour, record
BonjourAccountDiscoveryDidFail        reason

At a loopback address nobody else can be; nothing is announced there.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable
from typing import Final

from sipsimple.account.base import BaseAccount
from sipsimple.account.manager import AccountManager
from sipsimple.account.neighbourhood import Neighbour, Neighbourhood, NeighbourhoodError
from sipsimple.account.settings import BonjourMSRPSettings, BonjourSIPSettings, RTPSettings, TLSSettings
from sipsimple.configuration import Setting, group
from sipsimple.configuration.datatypes import SIPAddress
from sipsimple.core import SIPURI, Credentials, FrozenSIPURI
from sipsimple.engine import Engine

GOODBYE_TIMEOUT: Final = 2.0
RETRY_INTERVAL: Final = 60.0
"""Seconds after which a network that could not be asked is asked again."""
TRANSPORTS: Final = ("udp", "tcp", "tls")


class BonjourNatTraversal:
    """Nothing translates addresses within the local network; not stored."""

    use_ice = False
    stun_server_list = None
    msrp_relay = None
    use_msrp_relay_for_inbound = False
    use_msrp_relay_for_outbound = False


class BonjourAccount(BaseAccount):
    """The account without a server; there is one, and it cannot be deleted."""

    __id__ = SIPAddress("bonjour@local")

    enabled = Setting(type=bool, default=True)
    display_name = Setting(type=str, default=None, nillable=True)

    rtp = group(RTPSettings)
    sip = group(BonjourSIPSettings)
    msrp = group(BonjourMSRPSettings)
    tls = group(TLSSettings)

    def __init__(self) -> None:
        super().__init__()
        self.nat_traversal = BonjourNatTraversal()
        self._neighbourhood: Neighbourhood | None = None
        self._living: asyncio.Task[None] | None = None

    def _created(self) -> None:
        AccountManager()._add(self)

    @property
    def id(self) -> SIPAddress:
        return self.__id__

    @property
    def uri(self) -> SIPURI:
        """The contact address, `sip:user@address`."""
        return SIPURI(user=self.contact.username, host=self.contact.domain)

    @property
    def credentials(self) -> Credentials:
        """The user part of the contact, with the empty password."""
        return Credentials(self.contact.username, "")

    @property
    def neighbours(self) -> dict[str, Neighbour]:
        """Who is in the local network, by the names of their announcements."""
        return {} if self._neighbourhood is None else dict(self._neighbourhood.neighbours)

    # Life in the neighbourhood

    def _start_services(self) -> None:
        self._living = self._tasks.spawn(self._live())

    async def _stop_services(self) -> None:
        living, self._living = self._living, None
        if living is not None and not living.done():
            living.cancel()
            await asyncio.wait([living], timeout=GOODBYE_TIMEOUT)

    def _lose_services(self) -> None:
        self._living = None

    async def _apply(self, modified: set[str]) -> None:
        if "display_name" in modified:
            await self._move()

    def _network_changed(self) -> None:
        super()._network_changed()
        self._tasks.spawn(self._move())

    async def _move(self) -> None:
        """Be known anew, at another address or by another name."""
        await self._stop_services()
        if self._active:
            self._start_services()

    async def _live(self) -> None:
        while not ipaddress.ip_address(self.contact.domain).is_loopback:
            neighbourhood = Neighbourhood(self.contact.domain, *map(self._teller, ("Add", "Update", "Remove")))
            try:
                await neighbourhood.open()
                self._neighbourhood = neighbourhood
                await self._announce(neighbourhood)
                await asyncio.Event().wait()  # until the task is cancelled
            except NeighbourhoodError as error:
                self._post("BonjourAccountDiscoveryDidFail", reason=str(error))
                await asyncio.sleep(RETRY_INTERVAL)
            finally:
                self._neighbourhood = None
                await neighbourhood.close()

    async def _announce(self, neighbourhood: Neighbourhood) -> None:
        for transport in TRANSPORTS:
            if not getattr(Engine(), f"{transport}_port"):
                continue
            try:
                name = await neighbourhood.announce(FrozenSIPURI.new(self.contact[transport]), self.display_name)
            except NeighbourhoodError as error:
                self._post("BonjourAccountRegistrationDidFail", reason=str(error), transport=transport)
            else:
                self._post("BonjourAccountRegistrationDidSucceed", neighbour=name, transport=transport)

    def _teller(self, what: str) -> Callable[[str, Neighbour], None]:
        def tell(name: str, record: Neighbour) -> None:
            self._post(f"BonjourAccountDid{what}Neighbour", neighbour=name, record=record)

        return tell
