"""Requests of ours inside the dialog of a call, other than INVITE and BYE: each an exchange with an answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from sipsimple.core.exchange import Answer, Exchange
from sipsimple.core.hops import next_hop

if TYPE_CHECKING:
    from sipsimple.core.invitation.invitation import Invitation
    from sipsimple.sip.dialog import Dialog
    from sipsimple.sip.message import Request


def exchange_inside(
    invitation: Invitation, dialog: Dialog, request: Request, answered: Callable[[Answer], None]
) -> Exchange:
    """Make the exchange of a request of the dialog; it is to be started."""
    assert invitation._hop is not None  # a dialog has one
    assert invitation.local_identity is not None

    return Exchange(
        request,
        next_hop(dialog, invitation._hop, invitation.local_identity.uri),
        dialog.next_cseq,
        answered,
        authenticator=invitation._authenticator,
        credentials=invitation.credentials,
    )
