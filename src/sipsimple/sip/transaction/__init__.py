"""SIP transactions (RFC 3261 17)."""

from sipsimple.sip.transaction.base import ClientUser, Input, ServerUser, State, Transaction, Wire
from sipsimple.sip.transaction.client import ClientTransaction, InviteClient, NonInviteClient
from sipsimple.sip.transaction.hop import make_ack, make_cancel
from sipsimple.sip.transaction.matching import MAGIC_COOKIE, cancelled_key, client_key, merge_key, server_key
from sipsimple.sip.transaction.server import InviteServer, NonInviteServer, ServerTransaction

__all__ = [
    "MAGIC_COOKIE",
    "ClientTransaction",
    "ClientUser",
    "Input",
    "InviteClient",
    "InviteServer",
    "NonInviteClient",
    "NonInviteServer",
    "ServerTransaction",
    "ServerUser",
    "State",
    "Transaction",
    "Wire",
    "cancelled_key",
    "client_key",
    "make_ack",
    "make_cancel",
    "merge_key",
    "server_key",
]
