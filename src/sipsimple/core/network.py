"""Where this host is reached: the address of the interface with the default route."""

from __future__ import annotations

from typing import Final

from sipsimple.sip.transport.address import source_address_towards

_ANYWHERE: Final = "192.0.2.1"
"""An address of the documentation network (RFC 5737): it is routed like any other, and nothing is sent to it."""

_LOOPBACK: Final = "127.0.0.1"


def default_address() -> str:
    """The address that other hosts see us at; 127.0.0.1 where there is no route to any."""
    return source_address_towards(_ANYWHERE) or _LOOPBACK
