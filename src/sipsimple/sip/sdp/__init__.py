"""Session descriptions (RFC 4566): values in pairs, their text, and nothing of what an answer should say."""

from sipsimple.sip.sdp.attributes import (
    BaseSDPAttribute,
    BaseSDPConnection,
    FrozenSDPAttribute,
    FrozenSDPConnection,
    MalformedSDP,
    SDPAttribute,
    SDPConnection,
)
from sipsimple.sip.sdp.session import (
    BaseSDPMediaStream,
    BaseSDPSession,
    FrozenSDPMediaStream,
    FrozenSDPSession,
    SDPMediaStream,
    SDPSession,
)

__all__ = [
    "BaseSDPAttribute",
    "BaseSDPConnection",
    "BaseSDPMediaStream",
    "BaseSDPSession",
    "FrozenSDPAttribute",
    "FrozenSDPConnection",
    "FrozenSDPMediaStream",
    "FrozenSDPSession",
    "MalformedSDP",
    "SDPAttribute",
    "SDPConnection",
    "SDPMediaStream",
    "SDPSession",
]
