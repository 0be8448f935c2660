"""An account at a SIP provider."""

from __future__ import annotations

from typing import Final
from urllib.parse import unquote

from sipsimple.account.base import BaseAccount
from sipsimple.account.manager import AccountManager
from sipsimple.account.registration import Registrar
from sipsimple.account.settings import (
    DialogEventSettings,
    MessageSummarySettings,
    NatTraversalSettings,
    PresenceSettings,
    PSTNSettings,
    RegistrationSettings,
    RTPSettings,
    SIPSettings,
    TLSSettings,
    XCAPSettings,
)
from sipsimple.configuration import Setting, SettingsObjectID, group
from sipsimple.configuration.datatypes import SIPAddress
from sipsimple.core import SIPURI, Credentials
from sipsimple.engine import Engine
from sipsimple.loop import Result

BONJOUR_ID: Final = SIPAddress("bonjour@local")

_REGISTERED_WITH: Final = {
    "password",
    "sip.outbound_proxy",
    "sip.register_interval",
    "tls.certificate",
    "tls.verify_server",
}


class Account(BaseAccount):
    """An account at a SIP provider; `Account("alice@example.com")` is always the same object.

    Making one with a new id adds it to AccountManager. Settings take effect with `save()`. Raises ValueError for what
    is no SIP address.
    """

    id = SettingsObjectID(type=SIPAddress)
    enabled = Setting(type=bool, default=False)
    password = Setting(type=str, default="", secret=True)
    display_name = Setting(type=str, default=None, nillable=True)

    registration = group(RegistrationSettings)
    sip = group(SIPSettings)
    rtp = group(RTPSettings)
    dialog_event = group(DialogEventSettings)
    nat_traversal = group(NatTraversalSettings)
    message_summary = group(MessageSummarySettings)
    presence = group(PresenceSettings)
    xcap = group(XCAPSettings)
    tls = group(TLSSettings)
    pstn = group(PSTNSettings)

    def __init__(self, id: str) -> None:
        if id == BONJOUR_ID:
            raise ValueError(f"{BONJOUR_ID} is the id of BonjourAccount()")
        super().__init__(id)
        self._registrar = Registrar(self, self._tasks)

    def _created(self) -> None:
        AccountManager()._add(self)

    @property
    def uri(self) -> SIPURI:
        """The address of record, `sip:user@domain`."""
        return SIPURI(user=unquote(self.id.username), host=self.id.domain)

    @property
    def credentials(self) -> Credentials:
        """The name and the present password."""
        return Credentials(unquote(self.id.username), self.password)

    @property
    def registered(self) -> bool:
        """True while a registrar has our contact."""
        return self._registrar.registered

    def delete(self) -> Result[None]:
        """Remove the account from the storage, end what it does, and post `SIPAccountManagerDidRemoveAccount`.

        Returns at once; the result is settled after the notification.
        """
        super().delete()
        return AccountManager()._remove(self)

    def _start_services(self) -> None:
        self._show_identity()
        if self.registration.enabled:
            self._registrar.start()

    async def _stop_services(self) -> None:
        await self._registrar.stop()
        Engine().forget_tls_identity(self.uri)

    def _show_identity(self) -> None:
        """Have the engine connect with our certificate, and demand of servers what our settings demand."""
        certificate = self.tls.certificate
        Engine().set_tls_identity(self.uri, certificate and certificate.normalized, self.tls.verify_server)

    def _network_changed(self) -> None:
        super()._network_changed()
        self._registrar.network_changed()

    def _lose_services(self) -> None:
        self._registrar.forget()

    async def _apply(self, modified: set[str]) -> None:
        self._show_identity()
        if not self.registration.enabled:
            await self._registrar.stop()
        elif modified & _REGISTERED_WITH:
            await self._registrar.restart()
        else:
            self._registrar.start()
