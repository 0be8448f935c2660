"""The Via header (RFC 3261 20.42, RFC 3581 rport, RFC 5049 comp)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final, Self

from sipsimple.sip.errors import MalformedMessage
from sipsimple.sip.frozen import EMPTY, Frozen, Mutable, frozendict, mapping, text
from sipsimple.sip.headers.base import BaseHeader, NumberParameter, TextParameter
from sipsimple.sip.lexer import LWS, check_token, format_parameters, parse_parameters
from sipsimple.sip.uri import format_host, host_name, parse_host, port_number

__all__ = ["BaseViaHeader", "FrozenViaHeader", "ViaHeader"]

HOP_CACHE_SIZE: Final = 512
"""All that comes from one neighbour has the same hop in front of its parameters."""


def via_port(name: str, value: Any, frozen: bool) -> int:
    """Rule: a port is 1 to 65535."""
    port = port_number(name, value, frozen)
    if port is None:
        raise TypeError(f"{name} must be a number, not None")
    return port


class BaseViaHeader(BaseHeader):
    """One hop that the request came through, and where its response goes.

    An absent port reads as the default of the transport: 5061 for TLS, otherwise 5060 (RFC 3261 18.2.2). `rport` is
    `None` while the hop merely asks for it; `"rport" in parameters` tells the difference.
    """

    _rules = {"transport": text, "host": host_name, "port": via_port, "parameters": mapping}

    name = "Via"
    transport: str
    host: str
    port: int
    parameters: Mapping[str, str | None]

    ttl = NumberParameter("ttl")
    rport = NumberParameter("rport")
    maddr = TextParameter("maddr")
    received = TextParameter("received")
    branch = TextParameter("branch")
    compression = TextParameter("comp")

    def __init__(
        self, transport: str, host: str, port: int = 5060, parameters: Mapping[str, str | None] | None = None
    ) -> None:
        parameters = EMPTY if parameters is None else parameters
        self._fill(transport=transport, host=host, port=port, parameters=parameters)

    @property
    def body(self) -> str:
        """The hop as it stands on the wire."""
        return f"SIP/2.0/{self.transport} {format_host(self.host, self.port)}{format_parameters(self.parameters)}"

    @classmethod
    def parse(cls, body: str) -> Self:
        hop, semicolon, parameters = body.partition(";")
        transport, host, port = _parse_hop(hop)
        return cls._adopt(
            {
                "transport": transport,
                "host": host,
                "port": port,
                "parameters": frozendict(parse_parameters(parameters)) if semicolon else EMPTY,
            }
        )


class ViaHeader(Mutable, BaseViaHeader):
    """A hop that may be changed."""

    parameters: dict[str, str | None]


class FrozenViaHeader(Frozen, BaseViaHeader, normal=ViaHeader):
    """A hop that never changes."""

    parameters: frozendict[str, str | None]


@lru_cache(maxsize=HOP_CACHE_SIZE)
def _parse_hop(hop: str) -> tuple[str, str, int]:
    transport, address = _split_hop(hop)
    host, port = parse_host(address)
    if port is None:
        port = 5061 if transport.upper() in {"TLS", "WSS"} else 5060
    return transport, host, port


def _split_hop(hop: str) -> tuple[str, str]:
    parts = hop.split()
    if len(parts) != 2 or not parts[0].startswith("SIP/2.0/"):
        parts = _split_spaced_hop(hop)
    transport = parts[0][8:]
    if not transport.isalnum():
        check_token(transport, "the transport of a Via")
    return transport, parts[1]


def _split_spaced_hop(hop: str) -> list[str]:
    # The grammar allows blanks around the slashes and around the colon of the port.
    name, slash, rest = hop.partition("/")
    version, second_slash, rest = rest.partition("/")
    transport, _, address = rest.strip(LWS).replace("\t", " ").partition(" ")
    if not (slash and second_slash and name.strip(LWS).upper() == "SIP" and version.strip(LWS) == "2.0"):
        raise MalformedMessage(f"not a Via: {hop[:60]!r}")
    address = ":".join(part.strip(LWS) for part in address.split(":"))
    if not address:
        raise MalformedMessage(f"a Via has no host: {hop[:60]!r}")
    return [f"SIP/2.0/{transport}", address]
