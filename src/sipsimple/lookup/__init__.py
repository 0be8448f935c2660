"""Where to send things: DNS lookup of SIP proxies (RFC 3263), MSRP relays and STUN servers."""

from sipsimple.lookup.dnslookup import DNSLookup, DNSLookupError
from sipsimple.util import Route

__all__ = ["DNSLookup", "DNSLookupError", "Route"]
