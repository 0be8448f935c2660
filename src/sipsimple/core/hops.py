"""Where the requests of a dialog go first (RFC 3261 12.2.1.1, RFC 5626 5.3), when no lookup is needed to know it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sipsimple.core.composing import destination_of
from sipsimple.core.stack import stack
from sipsimple.core.tls import complete
from sipsimple.sip.errors import SIPCoreError

if TYPE_CHECKING:
    from sipsimple.sip.dialog import Dialog
    from sipsimple.sip.transport import Destination


def next_hop(dialog: Dialog, before: Destination, sender: Any) -> Destination:
    """The first hop of the dialog when it is an address, else `before`, by which the dialog came about.

    What leads to the same address goes by the same connection. So does what would need a new one over TLS to a user
    agent that has connected to us by itself: it is the same party, and most of them have no certificate to show.
    """
    try:
        hop = destination_of(dialog.next_hop())
    except SIPCoreError:
        return before
    if hop[:3] == before[:3]:
        return before
    if hop.transport == before.transport == "tls" and not dialog.route_set:
        same_party = before.peer is None and hop.host == before.host and stack().endpoint.has_connection(before)
        if same_party:
            return before
    return complete(hop, sender, dialog.remote_target, stack().identities)
