"""Where requests go first (RFC 3261 8.1.2, 12.2.1.1, RFC 5626 5.3), when no lookup is needed to know it, and where
those of the other side come to.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from sipsimple.core.composing import destination_of
from sipsimple.core.stack import stack
from sipsimple.core.tls import complete
from sipsimple.sip.errors import SIPCoreError
from sipsimple.sip.frozen import frozendict
from sipsimple.sip.headers import FrozenContactHeader
from sipsimple.sip.uri import FrozenSIPURI

if TYPE_CHECKING:
    from sipsimple.sip.dialog import Dialog
    from sipsimple.sip.message import Request
    from sipsimple.sip.transport import Destination

MAX_CONTACTS: Final = 256
"""Contacts of ours that are kept: those who are called are few."""


def first_hop(route: Any, sender: Any, request_uri: Any) -> Destination:
    """Where a request outside a dialog goes; raises SIPCoreError when the route is no address."""
    return complete(destination_of(route), sender, request_uri, stack().identities)


def next_hop(dialog: Dialog, before: Destination, sender: Any) -> Destination:
    """The first hop of the dialog when it is an address that we can reach, else `before`, by which it came about.

    What leads to the same address goes by the same connection. So does what would need a new one over TLS to a user
    agent that has connected to us by itself: it is the same party, and most of them have no certificate to show.
    """
    try:
        hop = destination_of(dialog.next_hop())
    except SIPCoreError:
        return before
    if hop[:3] == before[:3] or not stack().endpoint.listens(hop.transport, hop.host):
        return before
    came_to_us = before.peer is None and hop.transport == before.transport == "tls"
    same_party = came_to_us and hop.host == before.host and not dialog.route_set
    if same_party and stack().endpoint.has_connection(before):
        return before
    return complete(hop, sender, dialog.remote_target, stack().identities)


def own_contact(request: Request, source: Destination) -> FrozenContactHeader:
    """The Contact for a dialog that this request begins: the user it is for, at the address where it arrived."""
    uri, transport = request.uri, source.transport
    local = stack().endpoint.local_address(transport, source.host)
    host, port = local if local is not None else (uri.host, uri.port)
    return _contact(uri.user, host, port, transport)


@lru_cache(maxsize=MAX_CONTACTS)
def _contact(user: str | None, host: str, port: int | None, transport: str) -> FrozenContactHeader:
    parameters: frozendict[str, str | None] = frozendict() if transport == "udp" else frozendict(transport=transport)
    return FrozenContactHeader(FrozenSIPURI(host, user=user, port=port, parameters=parameters))
