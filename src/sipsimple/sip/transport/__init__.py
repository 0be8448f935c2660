"""SIP over UDP, TCP and TLS (RFC 3261 18)."""

from sipsimple.sip.transport.address import (
    DEFAULT_PORTS,
    TRANSPORTS,
    Address,
    Destination,
    TransportName,
    source_address_towards,
)
from sipsimple.sip.transport.errors import (
    ConnectError,
    ConnectionLost,
    ListenError,
    MessageTooLarge,
    SendError,
    TLSVerificationError,
    TransportError,
    TransportNotListening,
)
from sipsimple.sip.transport.layer import Channel, TransportLayer, TransportUser
from sipsimple.sip.transport.peer import Identity, Peer
from sipsimple.sip.transport.security import Security
from sipsimple.sip.transport.statistics import Statistics, TraceFunction, TraceHook
from sipsimple.sip.transport.stream import StreamConnection

__all__ = [
    "DEFAULT_PORTS",
    "TRANSPORTS",
    "Address",
    "Channel",
    "ConnectError",
    "ConnectionLost",
    "Destination",
    "Identity",
    "ListenError",
    "MessageTooLarge",
    "Peer",
    "Security",
    "SendError",
    "Statistics",
    "StreamConnection",
    "TLSVerificationError",
    "TraceFunction",
    "TraceHook",
    "TransportError",
    "TransportLayer",
    "TransportName",
    "TransportNotListening",
    "TransportUser",
    "source_address_towards",
]
