"""The server side of digest authentication: challenges, nonces that expire, and the verdict on an answer.

Obeys RFC 3261 22, RFC 7616 and RFC 8760. Time and random bytes are handed in.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from sipsimple.sip.digest import (
    ALGORITHMS,
    Challenge,
    DigestAnswer,
    MalformedAuthentication,
    compute_response,
    parse_answers,
    secret_hash,
)

__all__ = ["ServerAuthenticator", "Verdict"]

MAX_NONCES: Final = 10_000  # nonces in use that one server remembers


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a server thinks of a request: `username` is set when it is accepted, else `reason` says why not.

    `stale` means: the password was right, only the nonce is too old or was seen before; challenge with `stale=True`.
    """

    username: str | None = None
    stale: bool = False
    reason: str = ""


class ServerAuthenticator:
    """Challenges and verifies for one realm.

    `password_of` gives the password of a user, or None. `entropy(n)` gives n random bytes. `algorithms` stand in order
    of preference. A nonce is good for `nonce_lifetime` seconds and each nonce count for one request.
    """

    def __init__(
        self,
        realm: str,
        password_of: Callable[[str], str | None],
        entropy: Callable[[int], bytes],
        *,
        algorithms: Sequence[str] = ("SHA-256", "MD5"),
        qop: Sequence[str] = ("auth",),
        nonce_lifetime: float = 300.0,
    ) -> None:
        unknown = [name for name in algorithms if name.upper().removesuffix("-SESS") not in ALGORITHMS]
        if unknown or not algorithms:
            raise ValueError(f"unknown digest algorithms {unknown}: choose from {', '.join(ALGORITHMS)}, also -sess")
        self.realm = realm
        self._password_of = password_of
        self._entropy = entropy
        self._algorithms = tuple(algorithms)
        self._qop = tuple(qop)
        self._lifetime = nonce_lifetime
        self._key = entropy(32)
        # Only nonces that somebody used with a right password take memory; a challenge costs none.
        self._counts: OrderedDict[str, int] = OrderedDict()
        self._forgotten_until = -1  # nonces issued up to here (microseconds) are stale, for their counts are forgotten

    def challenges(self, now: float, stale: bool = False) -> list[str]:
        """The header values for a 401 or 407, one for each algorithm, all with one new nonce."""
        nonce = self.new_nonce(now)
        return [str(Challenge(self.realm, nonce, name, self._qop, None, stale)) for name in self._algorithms]

    def new_nonce(self, now: float) -> str:
        """A nonce that this server will recognise; also the value for `nextnonce`. `now` is monotonic seconds."""
        issue = max(0, int(now * 1_000_000)).to_bytes(8) + self._entropy(8)
        return base64.urlsafe_b64encode(issue + self._seal(issue)).decode("ascii")

    def verify(self, method: str, body: bytes, values: Iterable[str], now: float) -> Verdict:
        """Judge a request by the values of its `Authorization` (a proxy: `Proxy-Authorization`) headers.

        The `uri` of the digest is not compared with the Request-URI, which proxies may rewrite (RFC 3261 22.4).
        """
        try:
            answers = [answer for answer in parse_answers(values) if answer.realm == self.realm]
        except MalformedAuthentication as error:
            return Verdict(reason=str(error))
        if not answers:
            return Verdict(reason="no credentials for this realm")
        return self._judge(answers[0], method, body, now)

    def _judge(self, answer: DigestAnswer, method: str, body: bytes, now: float) -> Verdict:
        if (answer.algorithm or "MD5").upper() not in (name.upper() for name in self._algorithms):
            return Verdict(reason="an algorithm that was not offered")
        # RFC 3261 22.4: who was offered a quality of protection uses it; less would be a downgrade by someone between.
        if (answer.qop is not None or self._qop) and answer.qop not in self._qop:
            return Verdict(reason="a quality of protection that was not offered")
        if answer.qop is not None and (not answer.cnonce or not answer.nonce_count):
            return Verdict(reason="a quality of protection without cnonce and nonce count")
        password = self._password_of(answer.username)
        # An unknown user costs the same time as a wrong password.
        secret = secret_hash(answer.algorithm, answer.username, answer.realm, password or "")
        expected = compute_response(answer, secret, method, body)
        matches = hmac.compare_digest(expected.encode(), answer.response.lower().encode("utf-8", "surrogateescape"))
        if password is None or not matches:
            return Verdict(reason="unknown user or wrong password")
        if not self._is_fresh(answer, now):
            return Verdict(stale=True, reason="the nonce is not ours or too old, or its count was seen before")
        return Verdict(username=answer.username)

    def _is_fresh(self, answer: DigestAnswer, now: float) -> bool:
        issued = self._issued(answer.nonce)
        if issued is None or issued <= self._forgotten_until or now - issued / 1_000_000 > self._lifetime:
            return False
        if answer.nonce_count is None:
            return True  # RFC 2069 clients have no count; the lifetime is all that limits a replay
        if answer.nonce_count <= self._counts.get(answer.nonce, 0):
            return False
        self._counts[answer.nonce] = answer.nonce_count
        self._counts.move_to_end(answer.nonce)
        if len(self._counts) > MAX_NONCES:
            forgotten, _ = self._counts.popitem(last=False)
            self._forgotten_until = max(self._forgotten_until, self._issued(forgotten) or 0)
        return True

    def _issued(self, nonce: str) -> int | None:
        """When we made this nonce (microseconds), or None when we did not."""
        try:
            raw = base64.b64decode(nonce.encode("ascii"), altchars=b"-_", validate=True)
        except (UnicodeEncodeError, binascii.Error):
            return None
        issue, seal = raw[:16], raw[16:]
        return int.from_bytes(issue[:8]) if hmac.compare_digest(seal, self._seal(issue)) else None

    def _seal(self, issue: bytes) -> bytes:
        return hmac.digest(self._key, issue, "sha256")[:16]
