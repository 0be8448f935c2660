"""SIP accounts: who the user is, where calls for the user arrive, and what is kept registered.

`AccountManager` knows all accounts. `Account` is one at a SIP provider, `BonjourAccount` the one without a server.
"""

from sipsimple.account.account import Account
from sipsimple.account.bonjour import BonjourAccount
from sipsimple.account.contact import ContactURI
from sipsimple.account.manager import AccountManager
from sipsimple.account.settings import (
    BonjourMSRPSettings,
    BonjourSIPSettings,
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

__all__ = [
    "Account",
    "AccountManager",
    "BonjourAccount",
    "BonjourMSRPSettings",
    "BonjourSIPSettings",
    "ContactURI",
    "DialogEventSettings",
    "MessageSummarySettings",
    "NatTraversalSettings",
    "PSTNSettings",
    "PresenceSettings",
    "RTPSettings",
    "RegistrationSettings",
    "SIPSettings",
    "TLSSettings",
    "XCAPSettings",
]
