"""What an account wants done to get media through address translators: ICE, and which servers help it."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any, Final

from sipsimple.lookup import DNSLookup, DNSLookupError
from sipsimple.sip.transport.address import is_ip_literal

if TYPE_CHECKING:
    from sipsimple.media.ice.values import TURNServer

LOOKUP_TIMEOUT: Final = 1.5
LOOKUP_LIFETIME: Final = 3.0
"""Seconds for the whole lookup: the caller waits for it, and most domains have no STUN server."""
MAX_SERVERS: Final = 4
"""STUN servers that are tried, with some seconds of silence each."""


def wants_ice(account: Any, offer: tuple[Any, int] | None) -> bool:
    """Whether a stream speaks ICE: always in what we offer, and when the remote does in what it offers."""
    # Accounts that an application makes itself need not know of these settings.
    if not getattr(getattr(account, "nat_traversal", None), "use_ice", False):
        return False
    if offer is None:
        return True
    from sipsimple.sip.sdp.ice import ICEDescription

    return ICEDescription.of(*offer) is not None


async def stun_servers(account: Any) -> tuple[tuple[str, int], ...]:
    """The servers to be asked how they see us, in their order; none where the DNS names none."""
    configured = account.nat_traversal.stun_server_list
    if configured is not None:
        found = [await _addressed(str(server.host), int(server.port)) for server in configured[:MAX_SERVERS]]
        return tuple(server for server in found if server is not None)
    lookup = DNSLookup().lookup_service(account.uri, "stun", LOOKUP_TIMEOUT, LOOKUP_LIFETIME)
    try:
        return tuple(await lookup)[:MAX_SERVERS]
    except DNSLookupError:
        return ()


async def _addressed(host: str, port: int) -> tuple[str, int] | None:
    """The server by its address; None when its name has none."""
    if is_ip_literal(host):
        return host, port
    try:
        async with asyncio.timeout(LOOKUP_LIFETIME):
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    except (OSError, TimeoutError):
        return None
    return str(found[0][4][0]), port


def turn_server(account: Any) -> TURNServer | None:
    """The server that may relay for us, with our account there; None when there is none."""
    nat = account.nat_traversal
    server = getattr(nat, "turn_server", None)
    if server is None:
        return None
    from sipsimple.media.ice.values import TURNServer

    username, password = nat.turn_username, nat.turn_password
    if username is None or password is None:
        username, password = account.credentials.username, account.credentials.password
    return TURNServer(str(server.host), int(server.port), str(username), str(password))
