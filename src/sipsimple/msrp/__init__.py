"""MSRP, the Message Session Relay Protocol (RFC 4975, RFC 4976): a library of its own."""

from sipsimple.msrp.errors import MSRPError
from sipsimple.msrp.message import ByteRange, MSRPData, Status
from sipsimple.msrp.uri import MSRPURI

__all__ = ["MSRPURI", "ByteRange", "MSRPData", "MSRPError", "Status"]
