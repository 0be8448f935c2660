"""The session timer of a call (RFC 4028): what the two sides say of it in INVITE, UPDATE and the answers to them."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from sipsimple.core.composing import response_to, token
from sipsimple.core.stack import stack
from sipsimple.sip.errors import SIPCoreError
from sipsimple.sip.headers import FrozenHeader
from sipsimple.sip.message import Request, Response
from sipsimple.sip.provisional import has_option
from sipsimple.sip.session_timer import (
    OPTION_TAG,
    SessionExpires,
    SessionTimer,
    min_se_of,
    session_expires_of,
)

if TYPE_CHECKING:
    from sipsimple.core.invitation.invitation import Invitation

SESSION_EXPIRES: Final = 1800
"""Seconds from one refresh to the next, as we propose them."""

MIN_SE: Final = 90
"""Seconds that are too few to refresh a session in (RFC 4028 4)."""


class Refreshing:
    """Keeps the session of one invitation alive, or notices that the other side does not."""

    def __init__(self, invitation: Invitation) -> None:
        self._invitation: Invitation | None = invitation
        self._timer: SessionTimer | None = None
        self._min_se: int | None = None  # what a 422 has taught us

    # As the side that sends INVITE or UPDATE

    def proposal(self) -> list[FrozenHeader]:
        """The headers of our request; once the roles are given out, they stay."""
        timer = self._timer
        refresher = None if timer is None else "uac" if timer.refreshing else "uas"
        headers = [FrozenHeader("Session-Expires", str(SessionExpires(self._seconds, refresher)))]
        if self._min_se is not None:
            headers.append(FrozenHeader("Min-SE", str(self._min_se)))
        return headers

    def accepted(self, response: Response) -> None:
        """Our request got a 2xx: it says how long that lasts, and who has to refresh."""
        agreed = session_expires_of(response)
        if agreed is None:
            self.stop()
        else:
            self._agree(agreed.seconds, refreshing=agreed.refresher != "uas")

    def learn_minimum(self, response: Response) -> bool:
        """Take the minimum of a 422; False when it is no news, and asking again would not help."""
        minimum = min_se_of(response)
        if minimum is None or minimum <= self._seconds:
            return False
        self._min_se = minimum
        return True

    @property
    def _seconds(self) -> int:
        agreed = SESSION_EXPIRES if self._timer is None else self._timer.seconds
        return max(self._min_se or 0, agreed)

    # As the side that answers

    def answer(self, request: Request) -> list[FrozenHeader]:
        """The headers of our 2xx; the time counts from now."""
        proposed = session_expires_of(request)
        if proposed is None:
            self.stop()
            return []
        # Who does not know session timers got the header from a proxy, and cannot refresh.
        able = has_option(request, "Supported", OPTION_TAG)
        refresher = (proposed.refresher or "uac") if able else "uas"
        self._agree(proposed.seconds, refreshing=refresher == "uas")
        headers = [FrozenHeader("Session-Expires", str(SessionExpires(proposed.seconds, refresher)))]
        if refresher == "uac":
            headers.append(FrozenHeader("Require", OPTION_TAG))
        return headers

    def _agree(self, seconds: int, *, refreshing: bool) -> None:
        endpoint = stack().endpoint
        if self._timer is None:
            self._timer = SessionTimer(self)
        self._timer.agree(seconds, refreshing, endpoint.now())
        endpoint.schedule(self._timer)

    def stop(self) -> None:
        """The session lasts until somebody ends it."""
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.stop()
            stack().endpoint.schedule(timer)

    def close(self) -> None:
        """The session is over."""
        self.stop()
        self._invitation = None

    # What the timer tells

    def on_refresh_due(self) -> None:
        invitation, timer = self._invitation, self._timer
        if invitation is None or timer is None:
            return
        # A refresh that succeeds counts anew; one that fails, or cannot be sent just now, is tried again.
        timer.postpone(stack().endpoint.now())
        if invitation.state == "connected" and invitation.sub_state == "normal":
            with suppress(SIPCoreError):
                invitation._refresh_session()

    def on_session_expired(self) -> None:
        invitation = self._invitation
        if invitation is not None and invitation.state == "connected":
            invitation._bye((FrozenHeader("Reason", 'SIP;cause=408;text="Session Timer Expired"'),))
            invitation._disconnect("local", disconnect_reason="session expired")


def too_brief(request: Request) -> Response | None:
    """The 422 to a request whose session time is shorter than we accept; None when it is not."""
    proposed = session_expires_of(request)
    if proposed is None or proposed.seconds >= MIN_SE or not has_option(request, "Supported", OPTION_TAG):
        return None
    return response_to(request, 422, to_tag=token(), extra=[FrozenHeader("Min-SE", str(MIN_SE))])
