"""Whom a TLS connection has to reach, and whether a certificate belongs to that domain (RFC 5922 7).

The domain is the one that somebody asked for, before DNS made an address of it: what DNS says nobody has signed.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple


class Identity(NamedTuple):
    """As whom we connect, and what we demand of who answers."""

    certificate: str | None = None
    """A PEM file with our certificate, those that vouch for it, and the private key."""
    verify_server: bool = True


class Peer(NamedTuple):
    """The other end of a TLS connection; connections with different peers are never shared."""

    names: tuple[str, ...] = ()
    """The certificate has to be for one of these, domains or IP literals; the first domain is sent as SNI."""
    identity: Identity | None = None
    """None: that of the whole endpoint."""

    def server_name(self) -> str | None:
        """The name for SNI, which is never an address (RFC 6066 3); None when there is none."""
        return next((name for name in self.names if not _is_address(name)), None)


def certified_names(certificate: Mapping[str, Any]) -> list[str]:
    """The domains and addresses that a certificate, as `SSLSocket.getpeercert` gives it, is for (RFC 5922 7.1).

    These are `sip:` URIs without a user, DNS names and addresses; the common name counts when there is none of them.
    """
    names = list(_alternative_names(certificate))
    if names:
        return names
    return [value for part in certificate.get("subject", ()) for key, value in part if key == "commonName"]


def is_certified(name: str, certified: list[str]) -> bool:
    """True when a certificate for the names `certified` is good for `name`."""
    if _is_address(name):
        address = ipaddress.ip_address(name)
        return any(_is_address(other) and ipaddress.ip_address(other) == address for other in certified)
    wanted = name.rstrip(".").lower()
    return any(_matches(wanted, other.rstrip(".").lower()) for other in certified)


def _alternative_names(certificate: Mapping[str, Any]) -> Iterator[str]:
    for kind, value in certificate.get("subjectAltName", ()):
        if kind == "DNS":
            yield value
        elif kind == "IP Address":
            yield value.strip()
        elif kind == "URI" and value[:4].lower() == "sip:" and "@" not in value:
            yield value[4:].partition(";")[0].partition(":")[0]


def _matches(wanted: str, certified: str) -> bool:
    if certified == wanted:
        return True
    # Deviation: RFC 5922 7.2 knows no wildcards. Many providers have such certificates, and RFC 9525 6.3 allows the
    # asterisk in the place of the first label.
    first, _, parent = wanted.partition(".")
    return bool(first) and certified == f"*.{parent}" and "." in parent


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
