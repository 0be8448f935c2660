"""Where a message goes and where it came from: transport, IP literal and port.

Hosts are IP literals throughout; resolving names (RFC 3263) is done above, before a message comes down here.
"""

from __future__ import annotations

import ipaddress
import socket
from typing import Final, Literal, NamedTuple, TypeAlias

from sipsimple.sip.transport.peer import Peer

TransportName: TypeAlias = Literal["udp", "tcp", "tls"]
Address: TypeAlias = tuple[str, int]

TRANSPORTS: Final[tuple[TransportName, ...]] = ("udp", "tcp", "tls")
DEFAULT_PORTS: Final[dict[str, int]] = {"udp": 5060, "tcp": 5060, "tls": 5061}

_WILDCARDS: Final = frozenset({"0.0.0.0", "::"})
_PROBE_PORT: Final = 5060


class Destination(NamedTuple):
    """One address of one transport; `host` is an IP literal, IPv6 without brackets."""

    transport: TransportName
    host: str
    port: int
    peer: Peer | None = None
    """For TLS: who has to be there. None is whoever connected to us, or else the owner of the address itself."""

    @property
    def address(self) -> Address:
        """Host and port."""
        return self.host, self.port

    def __str__(self) -> str:
        return f"{self.transport}:{uri_host(self.host)}:{self.port}"


def family_of(host: str) -> socket.AddressFamily:
    """The address family of an IP literal."""
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def is_wildcard(host: str) -> bool:
    """True for the addresses that mean every local interface."""
    return host in _WILDCARDS


def is_ip_literal(host: str) -> bool:
    """True for an IPv4 or IPv6 literal, the latter with or without brackets."""
    try:
        ipaddress.ip_address(bare_host(host))
    except ValueError:
        return False
    return True


def looks_like_ip(host: str) -> bool:
    """True unless the host is a name; quicker than `is_ip_literal`, for what is no input from outside."""
    return ":" in host or host.replace(".", "").isdigit()


def uri_host(host: str) -> str:
    """The host as it is written in a URI or a Via: IPv6 literals in brackets, without a zone."""
    return f"[{host.partition('%')[0]}]" if ":" in host else host


def bare_host(host: str) -> str:
    """The host as sockets want it: IPv6 literals without brackets."""
    return host[1:-1] if host.startswith("[") and host.endswith("]") else host


def same_host(first: str, second: str) -> bool:
    """Compare two hosts of messages; IP literals by value, so every spelling of an IPv6 address is the same."""
    first, second = bare_host(first), bare_host(second)
    if first == second:
        return True
    if ":" not in first or ":" not in second:
        return first.lower() == second.lower()
    try:
        return ipaddress.ip_address(first) == ipaddress.ip_address(second)
    except ValueError:
        return False


def source_address_towards(host: str) -> str | None:
    """The local address that the kernel would send from towards `host`; None when there is no route.

    Asks the routing table by connecting an unbound datagram socket; nothing is sent.
    """
    with socket.socket(family_of(host), socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((host, _PROBE_PORT))
        except OSError:
            return None
        address: str = probe.getsockname()[0]
    return address
