"""The client of a relay: how it asks for a URI there, and keeps it (RFC 4976 5).

The machine hands out AUTH requests and takes the responses. What it gets is the path that goes before our URI in the
SDP, for a time after which it has to ask again.

    state        next
    ASKING       200: AUTHORIZED; 401, 423: ASKING with what they ask for; other or the same again: REFUSED
    AUTHORIZED   at refresh time: ASKING
    REFUSED      the end
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum, auto
from typing import Final

from sipsimple.msrp import status
from sipsimple.msrp.digest import Challenge, parse_challenges, proves_password
from sipsimple.msrp.errors import MalformedChunk, RelayRefused
from sipsimple.msrp.message import MSRPData
from sipsimple.msrp.uri import MSRPURI

__all__ = ["RelayAuthorization", "RelayState"]

MAX_ROUNDS: Final = 4
"""Requests in a row that a relay may answer with a question."""
REFRESH_MARGIN: Final = 60.0
"""Seconds before the end at which we ask again; half of the time when that is short."""
MAX_EXPIRES: Final = 2**31 - 1


class RelayState(Enum):
    """Where the client is."""

    ASKING = auto()
    AUTHORIZED = auto()
    REFUSED = auto()


class RelayAuthorization:
    """One client at one relay, or at the last relay of a chain.

    `relay_path` leads there; `local_uri` is ours. `expires` asks for that many seconds, None leaves it to the relay.
    """

    def __init__(
        self,
        relay_path: Sequence[MSRPURI],
        local_uri: MSRPURI,
        username: str,
        password: str,
        *,
        new_id: Callable[[], str],
        expires: int | None = None,
    ) -> None:
        self.state = RelayState.ASKING
        self.use_path: tuple[MSRPURI, ...] = ()
        self.error: RelayRefused | None = None
        """Why the relay does not take us."""
        self.expires_at: float | None = None
        self._to = " ".join(map(str, relay_path))
        self._uri = str(relay_path[-1])
        self._from = str(local_uri)
        self._username = username
        self._password = password
        self._new_id = new_id
        self._expires = expires
        self._rounds = 0
        self._challenge: Challenge | None = None
        self._cnonce = ""
        self._refresh_at: float | None = None

    def ask(self) -> MSRPData:
        """The AUTH request to send now."""
        self.state = RelayState.ASKING
        self._rounds += 1
        headers = {"To-Path": self._to, "From-Path": self._from}
        if self._expires is not None:
            headers["Expires"] = str(self._expires)
        if self._challenge is not None:
            self._cnonce = self._new_id()
            headers["Authorization"] = self._challenge.answer(self._username, self._password, self._uri, self._cnonce)
        return MSRPData(self._new_id(), method="AUTH", headers=headers)

    def receive(self, response: MSRPData, now: float) -> MSRPData | None:
        """Take the response; the next request if there has to be one. After that `state` says how it went."""
        code = response.code or 0
        if code == status.OK:
            self._accept(response, now)
            return None
        if self._rounds < MAX_ROUNDS and (
            (code == status.UNAUTHORIZED and self._learn_challenge(response))
            or (code == status.WRONG_INTERVAL and self._learn_interval(response))
        ):
            return self.ask()
        self._refuse(code, response.comment or "")
        return None

    def next_wake(self) -> float | None:
        """When to `ask` again."""
        return self._refresh_at

    def _accept(self, response: MSRPData, now: float) -> None:
        try:
            use_path = response.use_path
        except MalformedChunk as error:
            self._refuse(status.BAD_REQUEST, f"the relay gave no path: {error}")
            return
        info = response.headers.get("Authentication-Info", "")
        if self._challenge is not None and not proves_password(
            info, self._challenge, self._username, self._password, self._uri, self._cnonce
        ):
            self._refuse(status.FORBIDDEN, "the relay does not know the password itself")
            return
        self.state = RelayState.AUTHORIZED
        self.use_path = use_path
        self._rounds = 0
        # The nonce was used; a relay that wants another says so, and that costs a round and no more.
        self._challenge = None
        lifetime = _seconds(response, "Expires") or self._expires
        self.expires_at = None if lifetime is None else now + lifetime
        self._refresh_at = None if lifetime is None else now + lifetime - min(REFRESH_MARGIN, lifetime / 2)

    def _learn_challenge(self, response: MSRPData) -> bool:
        """Whether there is something new to answer: not when the relay has refused the password."""
        challenges = parse_challenges(response.headers.get("WWW-Authenticate", ""))
        answered, self._challenge = self._challenge, challenges[0] if challenges else None
        return self._challenge is not None and (answered is None or self._challenge.stale)

    def _learn_interval(self, response: MSRPData) -> bool:
        least, most = _seconds(response, "Min-Expires"), _seconds(response, "Max-Expires")
        wanted = self._expires
        if least is not None and (wanted is None or wanted < least):
            self._expires = least
        elif most is not None and (wanted is None or wanted > most):
            self._expires = most
        # The challenge was answered; what comes next is a request of its own, for which the nonce is spent.
        self._challenge = None
        return self._expires != wanted

    def _refuse(self, code: int, comment: str) -> None:
        self.state = RelayState.REFUSED
        self._refresh_at = None
        self.error = RelayRefused("AUTH", code, comment)


def _seconds(response: MSRPData, name: str) -> int | None:
    text = response.headers.get(name, "")
    return min(int(text), MAX_EXPIRES) if text.isascii() and text.isdigit() and len(text) < 20 else None
