"""The client side of digest authentication: which challenges are answered, how often, and with which nonce.

Obeys RFC 3261 22, RFC 7616 and RFC 8760. The arithmetic lives in `sipsimple.sip.digest`, the other side in
`sipsimple.sip.auth_server`. Random numbers are handed in.

A client keeps one `ClientAuthenticator` for each registration or dialog, and begins an `Attempt` for each request:

    attempt = authenticator.begin(credentials)
    headers = attempt.preemptive(request)             # to send along at once; empty at first
    headers = attempt.authorize(request, response)    # after a 401 or 407; None: give up
    attempt.confirm(response)                         # after any other final response
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from sipsimple.sip.digest import (
    Challenge,
    DigestAnswer,
    MalformedAuthentication,
    compute_response,
    parse_authentication_info,
    parse_challenges,
    secret_hash,
)

__all__ = ["Attempt", "ClientAuthenticator"]

MAX_REALMS: Final = 16  # realms that one client authenticator remembers
MAX_ROUNDS: Final = 8  # challenges that one request answers, whatever the realms

# What challenges, what answers it, and what may bring the next nonce.
_ORIGIN: Final = ("WWW-Authenticate", "Authorization", "Authentication-Info")
_PROXY: Final = ("Proxy-Authenticate", "Proxy-Authorization", "Proxy-Authentication-Info")


class HasSecret(Protocol):
    """A user and the password; `Credentials` and `FrozenCredentials` fit."""

    @property
    def username(self) -> str: ...
    @property
    def password(self) -> str: ...


class HasHeaders(Protocol):
    """The headers of a message."""

    def get_all(self, name: str, /) -> list[str]:
        """The raw values of the header of that name."""
        ...


class OutgoingRequest(Protocol):
    """What a digest covers of a request; `raw_uri` is the Request-URI as it goes out, of whatever scheme."""

    @property
    def method(self) -> str: ...
    @property
    def raw_uri(self) -> str: ...
    @property
    def body(self) -> bytes: ...


class IncomingResponse(Protocol):
    """Where a challenge comes from."""

    @property
    def headers(self) -> HasHeaders: ...


class _Space:
    """One protection space (RFC 7616 3.3): the challenge in force and how often its nonce was used."""

    def __init__(self, challenge: Challenge) -> None:
        self.challenge = challenge
        self.nonce_count = 0
        self._session_cnonce: str | None = None

    def answer(self, request: OutgoingRequest, credentials: HasSecret, cnonce: Callable[[], str]) -> DigestAnswer:
        challenge = self.challenge
        qop = challenge.preferred_qop
        if (challenge.algorithm or "").lower().endswith("-sess"):
            # One cnonce for the life of the nonce: peers disagree whether the session key takes the first or the last.
            self._session_cnonce = self._session_cnonce or cnonce()
            own_nonce: str | None = self._session_cnonce
        else:
            own_nonce = cnonce() if qop else None
        self.nonce_count += 1
        unsigned = DigestAnswer(
            username=credentials.username,
            realm=challenge.realm,
            nonce=challenge.nonce,
            uri=request.raw_uri,
            response="",
            algorithm=challenge.algorithm,
            cnonce=own_nonce,
            opaque=challenge.opaque,
            qop=qop,
            nonce_count=self.nonce_count if qop else None,
        )
        return _signed(unsigned, credentials.password, request.method, request.body)


class ClientAuthenticator:
    """What one user agent knows of the servers on the path of one registration or dialog.

    `cnonce` gives a new client nonce at each call: text, at least 64 random bits.
    """

    def __init__(self, cnonce: Callable[[], str]) -> None:
        self._cnonce = cnonce
        self._spaces: OrderedDict[tuple[str, str], _Space] = OrderedDict()

    def begin(self, credentials: HasSecret | None) -> Attempt:
        """Start to send one request on behalf of this user. Without credentials every challenge is a refusal."""
        return Attempt(self, credentials)

    def _learn(self, key: tuple[str, str], challenge: Challenge) -> None:
        self._spaces.pop(key, None)
        self._spaces[key] = _Space(challenge)
        if len(self._spaces) > MAX_REALMS:
            self._spaces.popitem(last=False)

    def _next_nonce(self, header: str, nonce: str) -> None:
        # The header does not say which realm it speaks for, so it counts only when there is no doubt.
        keys = [key for key in self._spaces if key[0] == header]
        if len(keys) == 1:
            old = self._spaces[keys[0]].challenge
            self._learn(keys[0], Challenge(old.realm, nonce, old.algorithm, old.qop, old.opaque))


class Attempt:
    """One request and its repetitions with credentials; made by `ClientAuthenticator.begin`.

    The lists of headers are complete: they replace every `Authorization` and `Proxy-Authorization` of the request. An
    ACK for a 2xx carries the same values as its INVITE (RFC 3261 13.2.2.4), a CANCEL is never challenged.
    """

    def __init__(self, owner: ClientAuthenticator, credentials: HasSecret | None) -> None:
        self._owner = owner
        self._credentials = credentials
        self._sent: dict[tuple[str, str], str] = {}  # the last nonce used for each realm
        self._tries: dict[tuple[str, str], int] = {}  # answers given to challenges, the preemptive one not counted
        self._rounds = 0

    def preemptive(self, request: OutgoingRequest) -> list[tuple[str, str]]:
        """Authorization headers for the first sending, from challenges of earlier requests; may be empty."""
        if self._credentials is None:
            return []
        headers = []
        for key, space in self._owner._spaces.items():
            self._sent[key] = space.challenge.nonce
            headers.append((key[0], str(space.answer(request, self._credentials, self._owner._cnonce))))
        return headers

    def authorize(self, request: OutgoingRequest, response: IncomingResponse) -> list[tuple[str, str]] | None:
        """Authorization headers that answer a 401 or 407; None when another try would not be honest.

        That is: no challenge we understand, no credentials, or this user was refused already. A realm is answered
        once, and once more when the server says that only the nonce was too old (`stale=true`).
        """
        challenges = _strongest(response)
        self._rounds += 1
        if self._credentials is None or not challenges or self._rounds > MAX_ROUNDS:
            return None
        refused = [key for key, challenge in challenges.items() if not self._may_answer(key, challenge)]
        for key in refused:
            # Forget it, or later requests would carry the refused password on their own accord.
            self._owner._spaces.pop(key, None)
        if refused:
            return None
        for key, challenge in challenges.items():
            self._owner._learn(key, challenge)
            self._tries[key] = self._tries.get(key, 0) + 1
        return self.preemptive(request)

    def confirm(self, response: IncomingResponse) -> None:
        """Learn the next nonce, if the accepting server gave one (RFC 7616 3.5)."""
        for _, header, info in (_ORIGIN, _PROXY):
            for value in response.headers.get_all(info):
                try:
                    nonce = parse_authentication_info(value).get("nextnonce")
                except MalformedAuthentication:
                    continue  # the remote's fault, and nothing depends on it: the old nonce is still good
                if nonce:
                    self._owner._next_nonce(header, nonce)

    def _may_answer(self, key: tuple[str, str], challenge: Challenge) -> bool:
        if self._sent.get(key) == challenge.nonce:
            return False
        return self._tries.get(key, 0) < (2 if challenge.stale else 1)


def _strongest(response: IncomingResponse) -> dict[tuple[str, str], Challenge]:
    """The best challenge that we understand for each realm; of equals, the one the server put first.

    RFC 8760 2.4 lets local policy overrule the server's order of preference: ours is that strength wins.
    """
    best: dict[tuple[str, str], Challenge] = {}
    for asking, answering, _ in (_ORIGIN, _PROXY):
        for challenge in _readable(response.headers.get_all(asking)):
            key = (answering, challenge.realm)
            if challenge.is_understood and (key not in best or challenge.strength > best[key].strength):
                best[key] = challenge
    return best


def _readable(values: Sequence[str]) -> list[Challenge]:
    readable = []
    for value in values[:MAX_REALMS]:
        try:
            readable += parse_challenges([value])
        except MalformedAuthentication:
            continue  # one proxy's broken header must not spoil the challenge of another
    return readable


def _signed(unsigned: DigestAnswer, password: str, method: str, body: bytes) -> DigestAnswer:
    secret = secret_hash(unsigned.algorithm, unsigned.username, unsigned.realm, password)
    response = compute_response(unsigned, secret, method, body)
    return DigestAnswer(**{name: getattr(unsigned, name) for name in unsigned.__slots__} | {"response": response})
