"""What TLS needs from outside, and the two ways into it: answering strangers, and checking whom we have reached.

TLS as SIP uses it: RFC 3261 26.3.1, RFC 5922. Where certificates come from is for others to know.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from socket import socket
from typing import Final, Protocol

from sipsimple.sip.transport.address import Destination
from sipsimple.sip.transport.errors import TLSVerificationError
from sipsimple.sip.transport.peer import Identity, certified_names, is_certified
from sipsimple.sip.transport.statistics import Statistics

MAX_HANDSHAKES: Final = 256
"""How many strangers may shake hands at a time; those who come above are turned away."""
SHUTDOWN_TIMEOUT: Final = 1.0
"""How long the remote may take to confirm the end of TLS, in seconds."""
ACCEPT_PAUSE: Final = 1.0
"""How long nobody is accepted after the operating system could not, for want of descriptors, in seconds."""


class Security(Protocol):
    """Certificates, and what is demanded of those of others."""

    handshake_timeout: float
    """Seconds."""

    async def server_context(self) -> ssl.SSLContext:
        """For those who connect to us; raises OSError."""

    async def client_context(self, identity: Identity | None) -> ssl.SSLContext:
        """For connections of ours; names are not checked by it. Raises OSError, of which `ssl.SSLError` is one."""


def check_peer(destination: Destination, connection: ssl.SSLObject) -> TLSVerificationError | None:
    """What is wrong with the name of whom we have connected to; None when it is right, or was not asked for.

    Without names in `destination.peer` the certificate has to be for the address itself.
    """
    if connection.context.verify_mode is ssl.CERT_NONE:
        return None
    certified = certified_names(connection.getpeercert() or {})
    wanted = (destination.peer.names if destination.peer else ()) or (destination.host,)
    if any(is_certified(name, certified) for name in wanted):
        return None
    return TLSVerificationError(destination, "host name", f"it is for {', '.join(certified) or 'nobody'}")


class Acceptor:
    """Accepts connections on a listening socket and shakes hands, with so many strangers at a time.

    Ends as `asyncio.Server` does: `close()`, then `wait_closed()`.
    """

    def __init__(
        self,
        listening: socket,
        security: Security,
        make_connection: Callable[[], asyncio.Protocol],
        statistics: Statistics,
    ) -> None:
        self._listening = listening
        self._security = security
        self._make_connection = make_connection
        self._statistics = statistics
        self._loop = asyncio.get_running_loop()
        self._handshakes: set[asyncio.Task[None]] = set()
        self._accepting = self._loop.create_task(self._accept(), name=f"accept TLS on {listening.getsockname()[:2]}")

    def close(self) -> None:
        """Accept nobody any more, and leave those with whom we shake hands."""
        for task in (self._accepting, *self._handshakes):
            task.cancel()

    async def wait_closed(self) -> None:
        """Return when everything is over that `close()` ends."""
        await asyncio.gather(self._accepting, *self._handshakes, return_exceptions=True)
        self._listening.close()

    async def _accept(self) -> None:
        while True:
            try:
                accepted, _ = await self._loop.sock_accept(self._listening)
            except OSError:
                await asyncio.sleep(ACCEPT_PAUSE)
                continue
            if len(self._handshakes) >= MAX_HANDSHAKES:
                self._statistics.connections_refused += 1
                accepted.close()
                continue
            task = self._loop.create_task(self._shake_hands(accepted), name="TLS handshake")
            self._handshakes.add(task)
            task.add_done_callback(self._handshakes.discard)

    async def _shake_hands(self, accepted: socket) -> None:
        try:
            context = await self._security.server_context()
        except BaseException as error:
            accepted.close()
            if not isinstance(error, OSError):
                raise
            self._statistics.handshakes_failed += 1
            return
        try:
            await self._loop.connect_accepted_socket(
                self._make_connection,
                accepted,
                ssl=context,
                ssl_handshake_timeout=self._security.handshake_timeout,
                ssl_shutdown_timeout=SHUTDOWN_TIMEOUT,
            )
        except OSError:
            self._statistics.handshakes_failed += 1
