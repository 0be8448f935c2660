"""The account without a server, for calls within the local network."""

from __future__ import annotations

from sipsimple.account.base import BaseAccount
from sipsimple.account.manager import AccountManager
from sipsimple.account.settings import BonjourMSRPSettings, BonjourSIPSettings, RTPSettings, TLSSettings
from sipsimple.configuration import Setting, group
from sipsimple.configuration.datatypes import SIPAddress
from sipsimple.core import SIPURI, Credentials


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
