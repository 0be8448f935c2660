"""Requests of the other side inside the dialog of a call: each goes to the part that it concerns (RFC 3261 12.2.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sipsimple.core.composing import response_to
from sipsimple.core.invitation.incoming import IncomingLeg
from sipsimple.core.invitation.info import take_info
from sipsimple.core.invitation.outgoing import OutgoingLeg
from sipsimple.core.invitation.updates import take_update
from sipsimple.core.stack import stack
from sipsimple.sip.dialog import Dialog, Verdict
from sipsimple.sip.headers import FrozenHeader
from sipsimple.sip.message import Request

if TYPE_CHECKING:
    from sipsimple.core.invitation.invitation import Invitation


def receive_inside(invitation: Invitation, transaction: Any, request: Request) -> None:
    """Take a request other than ACK and CANCEL, and see that it is answered."""
    dialog = _dialog_of(invitation, request)
    if dialog is None:
        # Of another fork, which was released, or of none.
        stack().endpoint.respond(transaction, response_to(request, 481))
    elif dialog.receive(request) is Verdict.OUT_OF_ORDER:
        stack().endpoint.respond(transaction, response_to(request, 500))
    else:
        _dispatch(invitation, dialog, transaction, request)


def _dialog_of(invitation: Invitation, request: Request) -> Dialog | None:
    dialog, leg = invitation._dialog, invitation._leg
    if dialog is None and isinstance(leg, OutgoingLeg):
        dialog = leg.early_dialog(request.from_.tag)
    if dialog is None or request.from_.tag != (dialog.remote_tag or None):
        return None
    return dialog


def _dispatch(invitation: Invitation, dialog: Dialog, transaction: Any, request: Request) -> None:
    endpoint, router, leg = stack().endpoint, stack().router, invitation._leg
    match request.method:
        case "BYE":
            endpoint.respond(transaction, response_to(request, 200))
            if isinstance(leg, IncomingLeg):
                leg.withdrawn()
            invitation._disconnect("remote", request)
        case "INVITE":
            invitation._receive_reinvite(transaction, request)
        case "UPDATE":
            take_update(invitation, dialog, invitation._negotiator_of(dialog), transaction, request)
        case "PRACK" if isinstance(leg, IncomingLeg):
            leg.progress_acknowledged(transaction, request)
        case "INFO":
            take_info(invitation, transaction, request)
        case "OPTIONS":
            endpoint.respond(transaction, router.options_answer(request))
        case "MESSAGE":
            router.got_message(transaction, request)
        case "REFER" if invitation.state == "connected":
            router.referred(transaction, request, invitation)
        case "REFER" if invitation.state == "connecting" and isinstance(leg, IncomingLeg):
            if not leg.keep_for_later(transaction, request):
                endpoint.respond(transaction, response_to(request, 500, extra=[FrozenHeader("Retry-After", "1")]))
        case "NOTIFY" | "SUBSCRIBE":
            # The subscriptions of the dialog have not taken it.
            endpoint.respond(transaction, response_to(request, 481 if request.method == "NOTIFY" else 489))
        case _:
            endpoint.respond(transaction, router.not_allowed(request))
