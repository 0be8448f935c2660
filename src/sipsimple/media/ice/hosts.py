"""The addresses of this host that are worth a candidate (RFC 8445 5.1.1.1), few and in order.

A host that runs containers has a bridge for each of their networks, which no remote can reach, and every candidate
costs checks and room in the description. So those are left out, as are loopback and link-local addresses.
"""

from __future__ import annotations

import ipaddress
from typing import Final

import ifaddr

MAX_HOSTS: Final = 4
"""Addresses that become candidates."""

_INSIDE: Final = (
    "docker",
    "br-",
    "veth",
    "virbr",
    "lxc",
    "lxd",
    "cni",
    "flannel",
    "cali",
    "podman",
    "vmnet",
    "vboxnet",
)
"""What the names of interfaces begin with that only lead to containers and virtual machines of this host."""


def host_addresses(bound: str, preferred: str) -> list[str]:
    """The addresses of the family of `bound`, `preferred` first; at least one."""
    version = ipaddress.ip_address(bound).version
    found = [preferred] if ipaddress.ip_address(preferred).version == version else []
    for adapter in ifaddr.get_adapters():
        if not adapter.nice_name.startswith(_INSIDE):
            for ip in adapter.ips:
                address = ip.ip if isinstance(ip.ip, str) else ip.ip[0]
                if _is_useful(address, version):
                    found.append(address)
    return list(dict.fromkeys(found))[:MAX_HOSTS] or [loopback_like(bound)]


def _is_useful(text: str, version: int) -> bool:
    address = ipaddress.ip_address(text)
    return address.version == version and not (address.is_loopback or address.is_link_local or address.is_unspecified)


def is_everywhere(address: str) -> bool:
    """Whether the address stands for all of this host."""
    return ipaddress.ip_address(address).is_unspecified


def loopback_like(address: str) -> str:
    """The loopback address of the same family."""
    return "::1" if ":" in address else "127.0.0.1"
