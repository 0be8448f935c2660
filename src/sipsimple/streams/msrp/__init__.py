"""Media streams over MSRP (RFC 4975)."""

from sipsimple.streams.msrp.base import MSRPStreamBase
from sipsimple.streams.msrp.connecting import MSRPStreamError
from sipsimple.streams.msrp.transport import MSRPTransport

__all__ = ["MSRPStreamBase", "MSRPStreamError", "MSRPTransport"]
