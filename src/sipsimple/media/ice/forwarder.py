"""Media by way of a TURN relay: a socket of this host to which the engine sends, and which sends to the engine.

The engine knows nothing of relays: what it sends to the forwarder goes to the relay in ChannelData (RFC 8656 12), and
what the relay has for us comes from the forwarder. It costs a pass through the network of this host, and only streams
that have no direct way pay it.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, cast

from aioice.ice import StunProtocol

from .wire import _NONSENSE, LAST_STUN

log = logging.getLogger(__name__)


class RelayWire(StunProtocol):
    """One component at a relay."""

    engine_port = 0
    """The port of the engine for this component."""
    forwarder: Forwarder | None = None

    def datagram_received(self, data: bytes | str, addr: tuple[Any, ...]) -> None:
        """Take what came through the relay: STUN is for the checks, all else for the engine."""
        data = cast(bytes, data)
        if not data:
            return
        if data[0] <= LAST_STUN:
            try:
                super().datagram_received(data, addr)
            except _NONSENSE as error:
                log.debug("a relayed STUN message makes no sense: %r", error)
        elif self.forwarder is not None and (addr[0], addr[1]) == self.forwarder.remote:
            self.forwarder.from_relay(data)


class Forwarder(asyncio.DatagramProtocol):
    """The way between the engine and one peer behind a relay."""

    def __init__(self, wire: RelayWire, remote: tuple[str, int], inside: str) -> None:
        self.remote = remote
        self._wire = wire
        self._engine = (inside, wire.engine_port)
        self._transport: asyncio.DatagramTransport | None = None

    @classmethod
    async def open(cls, wire: RelayWire, remote: tuple[str, int], inside: str) -> Forwarder:
        """Make one at this address of the host, where the engine hears."""
        loop = asyncio.get_running_loop()
        _, forwarder = await loop.create_datagram_endpoint(lambda: cls(wire, remote, inside), local_addr=(inside, 0))
        wire.forwarder = forwarder
        return forwarder

    @property
    def address(self) -> tuple[str, int]:
        """Where the engine sends to."""
        assert self._transport is not None  # made by `open`
        name = self._transport.get_extra_info("sockname")
        return name[0], name[1]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        """Take what the engine, and nobody else, sends."""
        if (addr[0], addr[1]) == self._engine:
            self._wire.transport.sendto(data, self.remote)

    def from_relay(self, data: bytes) -> None:
        """Take what the peer sent."""
        if self._transport is not None:
            self._transport.sendto(data, self._engine)

    def close(self) -> None:
        """End."""
        self._wire.forwarder = None
        if self._transport is not None:
            self._transport.close()
