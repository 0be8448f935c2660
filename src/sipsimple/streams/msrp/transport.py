"""The connection of a stream as others see it: who is at its ends, and the notifications that trace it."""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from sipsimple.msrp import Address, Hooks
from sipsimple.notification import NotificationCenter, TimestampedNotificationData

if TYPE_CHECKING:
    from sipsimple.msrp import MSRPConnection

__all__ = ["MSRPTransport", "TransportTrace"]


class MSRPTransport:
    """One connection; the sender of its `MSRPTransportTrace` notifications. The addresses have `host` and `port`."""

    def __init__(self, local_address: Address, peer_address: Address) -> None:
        self.local_address = local_address
        self.peer_address = peer_address

    def getHost(self) -> Address:
        """Our end, under the name that the contract's applications know."""
        return self.local_address

    def getPeer(self) -> Address:
        """The other end, under the name that the contract's applications know."""
        return self.peer_address

    def __repr__(self) -> str:
        local, peer = self.local_address, self.peer_address
        return f"<MSRPTransport {local.host}:{local.port} - {peer.host}:{peer.port}>"


class TransportTrace:
    """Makes notifications of what the connections of one stream tell; `hooks` is for their maker."""

    def __init__(self) -> None:
        self.hooks = Hooks(trace=self._trace, log=self._log, is_traced=self._is_traced)
        self._transports: WeakKeyDictionary[MSRPConnection, MSRPTransport] = WeakKeyDictionary()

    def transport(self, connection: MSRPConnection) -> MSRPTransport:
        """What stands for this connection; always the same object."""
        transport = self._transports.get(connection)
        if transport is None:
            transport = self._transports[connection] = MSRPTransport(connection.local_address, connection.peer_address)
        return transport

    def _trace(self, connection: MSRPConnection, direction: str, text: str) -> None:
        data = TimestampedNotificationData(direction=direction, data=text)
        NotificationCenter().post_notification("MSRPTransportTrace", self.transport(connection), data)

    def _is_traced(self, connection: MSRPConnection) -> bool:
        return NotificationCenter().is_observed("MSRPTransportTrace", self.transport(connection))

    def _log(self, message: str, level: int) -> None:
        log(message, level)


def log(message: str, level: int) -> None:
    """Post `MSRPLibraryLog`, which has no sender; `level` is one of `logging`."""
    NotificationCenter().post_notification(
        "MSRPLibraryLog", data=TimestampedNotificationData(message=message, level=level)
    )
