"""MSRP, the Message Session Relay Protocol (RFC 4975, RFC 4976): a library of its own, for asyncio.

A connector brings a `MSRPSession` about; the session sends messages and tells what happens by events. The machines
below it (`session`, `sender`, `chunker`, `relay`) know neither sockets nor clocks.
"""

from sipsimple.msrp.channel import MSRPSession, Readable, SessionOptions
from sipsimple.msrp.connect import ActiveConnector, Connector, PassiveConnector, RelayConnector
from sipsimple.msrp.connection import Address, MSRPConnection
from sipsimple.msrp.dial import ConnectionPool, open_connection
from sipsimple.msrp.errors import (
    BindRefused,
    MalformedChunk,
    MalformedURI,
    MSRPConnectError,
    MSRPError,
    MSRPTimeoutError,
    RelayRefused,
    RequestRefused,
    SessionClosed,
    TLSVerifyError,
    UnusableCertificate,
)
from sipsimple.msrp.events import (
    BindFailed,
    Bound,
    DataReceived,
    Disconnected,
    Event,
    MessageAccepted,
    MessageDelivered,
    MessageFailed,
    MessageSent,
    ReportReceived,
    RequestReceived,
    ResponseReceived,
)
from sipsimple.msrp.listener import Listener
from sipsimple.msrp.message import ByteRange, MSRPData, Status
from sipsimple.msrp.outgoing import OutgoingMessage
from sipsimple.msrp.relay_client import RelayClient, RelaySettings
from sipsimple.msrp.roles import Setup, answer_setup, is_active
from sipsimple.msrp.tls import Fingerprint, Security
from sipsimple.msrp.trace import Hooks, Statistics
from sipsimple.msrp.uri import MSRPURI, parse_path

__all__ = [
    "MSRPURI",
    "ActiveConnector",
    "Address",
    "BindFailed",
    "BindRefused",
    "Bound",
    "ByteRange",
    "ConnectionPool",
    "Connector",
    "DataReceived",
    "Disconnected",
    "Event",
    "Fingerprint",
    "Hooks",
    "Listener",
    "MSRPConnectError",
    "MSRPConnection",
    "MSRPData",
    "MSRPError",
    "MSRPSession",
    "MSRPTimeoutError",
    "MalformedChunk",
    "MalformedURI",
    "MessageAccepted",
    "MessageDelivered",
    "MessageFailed",
    "MessageSent",
    "OutgoingMessage",
    "PassiveConnector",
    "Readable",
    "RelayClient",
    "RelayConnector",
    "RelayRefused",
    "RelaySettings",
    "ReportReceived",
    "RequestReceived",
    "RequestRefused",
    "ResponseReceived",
    "Security",
    "SessionClosed",
    "SessionOptions",
    "Setup",
    "Statistics",
    "Status",
    "TLSVerifyError",
    "UnusableCertificate",
    "answer_setup",
    "is_active",
    "open_connection",
    "parse_path",
]
