"""The forks of an INVITE that we sent, before one of them accepts: early dialogs, reliable responses, early media.

Obeys RFC 3261 12.1.2 and 13.2.2.1, RFC 3262 4 and RFC 6337 3.1.
"""

from __future__ import annotations

from typing import Any

from sipsimple.core.exchange import Answer, Exchange
from sipsimple.core.hops import next_hop
from sipsimple.sip.auth import ClientAuthenticator
from sipsimple.sip.dialog import Dialog
from sipsimple.sip.errors import SIPCoreError
from sipsimple.sip.message import Request, Response
from sipsimple.sip.negotiation import Negotiator
from sipsimple.sip.provisional import rseq_of
from sipsimple.sip.sdp import FrozenSDPSession


class Fork:
    """One of those who ring.

    `negotiator` holds the descriptions of the early session, None without early media; they are `settled` when the
    response that brought them was reliable, and then the 2xx need not repeat them.
    """

    __slots__ = ("_last_rseq", "dialog", "negotiator", "settled")

    def __init__(self, dialog: Dialog) -> None:
        self.dialog = dialog
        self.negotiator: Negotiator | None = None
        self.settled = False
        self._last_rseq: int | None = None

    def is_news(self, response: Response) -> bool:
        """False for a repeated reliable response, and for one whose predecessor is missing (RFC 3262 4)."""
        number = rseq_of(response)
        if number is None:
            return True
        if self._last_rseq is not None and number != self._last_rseq + 1:
            return False
        self._last_rseq = number
        return True

    def acknowledge(
        self, invite: Request, response: Response, hop: Any, authenticator: ClientAuthenticator, credentials: Any
    ) -> None:
        """Send the PRACK when the response is a reliable one."""
        number = rseq_of(response)
        if number is None:
            return
        prack = self.dialog.make_request("PRACK", headers=[("RAck", f"{number} {invite.cseq[0]} INVITE")])
        destination = next_hop(self.dialog, hop, invite.from_.uri)
        Exchange(
            prack,
            destination,
            self.dialog.next_cseq,
            _whatever,
            authenticator=authenticator,
            credentials=credentials,
        ).start()

    def take_answer(self, offer: FrozenSDPSession | None, response: Response) -> bool:
        """Take the description of a provisional response; True when there is one that was not known yet.

        One that is no answer to our offer is passed over: the call may still be accepted with another.
        """
        if self.settled or offer is None or not response.body:
            return False
        negotiator = Negotiator()
        negotiator.set_local_offer(offer)
        try:
            negotiator.set_remote_answer(FrozenSDPSession.parse(response.body))
        except SIPCoreError:
            return False
        known = self.negotiator
        self.negotiator = negotiator
        self.settled = rseq_of(response) is not None
        return known is None or known.active_remote != negotiator.active_remote


def _whatever(answer: Answer) -> None:
    """A PRACK that is refused or lost shows in the INVITE."""
