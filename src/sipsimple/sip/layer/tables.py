"""The transactions that an endpoint runs, and how messages find them (RFC 3261 17.1.3, 17.2.3, 8.2.2.2)."""

from __future__ import annotations

from typing import Final

from sipsimple.sip.errors import LimitReached
from sipsimple.sip.layer.wires import way_of
from sipsimple.sip.transaction import ClientTransaction, ServerTransaction, State
from sipsimple.sip.transport import ConnectionLost, Destination

MAX_SERVER_TRANSACTIONS: Final = 150_000
"""Each is kept for 32 s after its end over UDP, so this is what some 2000 calls a second need."""
MAX_SERVER_TRANSACTION_BYTES: Final = 256 * 1024 * 1024
"""Of the requests of all server transactions together, as they came: 32 s of large ones must not fill the memory."""
RESERVED_PART: Final = 0.1
"""Of both, for requests inside dialogs, so that a flood of others cuts off no call."""
MAX_CLIENT_TRANSACTIONS: Final = 100_000

Key = tuple[str, ...]


class Tables:
    """Client and server transactions by key, clients of connections by connection, server transactions by request."""

    def __init__(self) -> None:
        self.clients: dict[Key, ClientTransaction] = {}
        self.servers: dict[Key, ServerTransaction] = {}
        self._server_bytes = 0
        self._merges: dict[Key, Key] = {}
        self._by_connection: dict[Destination, set[ClientTransaction]] = {}

    def add_client(self, transaction: ClientTransaction, destination: Destination) -> None:
        """Raises LimitReached."""
        if len(self.clients) >= MAX_CLIENT_TRANSACTIONS:
            raise LimitReached("client transactions at a time", MAX_CLIENT_TRANSACTIONS)
        self.clients[transaction.key] = transaction
        if transaction.reliable:
            self._by_connection.setdefault(destination, set()).add(transaction)

    def remove_client(self, transaction: ClientTransaction, destination: Destination) -> None:
        self.clients.pop(transaction.key, None)
        if transaction.reliable and (others := self._by_connection.get(destination)) is not None:
            others.discard(transaction)
            if not others:
                del self._by_connection[destination]

    def add_server(self, transaction: ServerTransaction, merge_key: Key | None) -> None:
        self.servers[transaction.key] = transaction
        self._server_bytes += transaction.request.received_size
        if merge_key is not None:
            self._merges[merge_key] = transaction.key

    def remove_server(self, transaction: ServerTransaction, merge_key: Key | None) -> None:
        if self.servers.pop(transaction.key, None) is not None:
            self._server_bytes -= transaction.request.received_size
        if merge_key is not None:
            self._merges.pop(merge_key, None)

    def has_room(self, in_dialog: bool) -> bool:
        """False when no further server transaction is taken for a request inside, or outside, a dialog."""
        kept = 0 if in_dialog else RESERVED_PART
        return len(self.servers) < MAX_SERVER_TRANSACTIONS * (
            1 - kept
        ) and self._server_bytes < MAX_SERVER_TRANSACTION_BYTES * (1 - kept)

    def is_merged(self, merge_key: Key) -> bool:
        """True when the same request came by another path already."""
        return merge_key in self._merges

    def stranded(self, connection: Destination, error: ConnectionLost) -> list[ClientTransaction]:
        """The client transactions that the end of a connection ends too.

        When it was closed in good order after a provisional response, the final one may still come by a connection
        that the remote makes for it (RFC 3261 18.2.2).
        """
        return [
            transaction
            for transaction in self._by_connection.get(connection, ())
            if not (error.orderly and transaction.state is State.PROCEEDING)
        ]

    def clients_over(self, transport: str) -> list[ClientTransaction]:
        """The client transactions that use a transport."""
        return [
            transaction
            for transaction in self.clients.values()
            if (way := way_of(transaction)) is not None and way.destination.transport == transport
        ]

    def clear(self) -> None:
        """Forget all."""
        self.clients.clear()
        self.servers.clear()
        self._server_bytes = 0
        self._merges.clear()
        self._by_connection.clear()
