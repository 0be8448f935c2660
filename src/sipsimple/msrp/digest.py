"""Digest authentication as relays want it (RFC 4976 9, RFC 7616): the answer to a challenge. The method is AUTH."""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import Final

__all__ = ["Challenge", "parse_challenges", "response_digest"]

MAX_CHALLENGES: Final = 8

_HASHES: Final = {"md5": "md5", "sha-256": "sha256"}
_PARAMETER: Final = r"""[!#$%&'*+\-.^_`|~0-9A-Za-z]+\s*=\s*(?:"(?:[^"\\]|\\.)*"|[^\s",]+)"""
_CHALLENGE: Final = re.compile(rf"Digest\s+({_PARAMETER}(?:\s*,\s*{_PARAMETER})*)", re.IGNORECASE)
_PAIR: Final = re.compile(r"""([!#$%&'*+\-.^_`|~0-9A-Za-z]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s",]+))""")


@dataclass(frozen=True, slots=True)
class Challenge:
    """One challenge that we can answer. `algorithm` is as it came, None when it did not."""

    realm: str
    nonce: str
    algorithm: str | None = None
    opaque: str | None = None
    has_qop: bool = False
    stale: bool = False

    def answer(self, username: str, password: str, uri: str, cnonce: str, nonce_count: int = 1) -> str:
        """The value of the Authorization header for an AUTH to `uri`."""
        digest = response_digest(self, username, password, uri, cnonce, nonce_count)
        values = {"username": username, "realm": self.realm, "nonce": self.nonce, "uri": uri, "response": digest}
        if self.opaque is not None:
            values["opaque"] = self.opaque
        if self.has_qop:
            values["cnonce"] = cnonce
        text = ", ".join(f"{name}={_quoted(value)}" for name, value in values.items())
        if self.algorithm is not None:
            text += f", algorithm={self.algorithm}"
        if self.has_qop:
            text += f", qop=auth, nc={nonce_count:08x}"
        return "Digest " + text


def parse_challenges(text: str) -> list[Challenge]:
    """The challenges of a WWW-Authenticate header that we can answer, the best first."""
    challenges = []
    for match in list(_CHALLENGE.finditer(text))[:MAX_CHALLENGES]:
        values = {
            name.lower(): _unquoted(quoted) if quoted else plain for name, quoted, plain in _PAIR.findall(match[1])
        }
        algorithm = values.get("algorithm")
        qops = values.get("qop", "").lower().replace(",", " ").split()
        if (algorithm or "MD5").lower() not in _HASHES or not values.get("nonce") or "realm" not in values:
            continue
        if qops and "auth" not in qops:
            continue
        stale = values.get("stale", "").lower() == "true"
        challenges.append(
            Challenge(values["realm"], values["nonce"], algorithm, values.get("opaque"), bool(qops), stale)
        )
    return sorted(challenges, key=lambda challenge: (challenge.algorithm or "MD5").lower() != "sha-256")


def response_digest(
    challenge: Challenge, username: str, password: str, uri: str, cnonce: str, nonce_count: int, method: str = "AUTH"
) -> str:
    """What only who knows the password can compute (RFC 7616 3.4.1). With an empty `method` it is the relay's proof."""
    name = _HASHES[(challenge.algorithm or "MD5").lower()]

    def digest(*parts: str) -> str:
        return hashlib.new(name, ":".join(parts).encode(), usedforsecurity=False).hexdigest()

    secret = digest(username, challenge.realm, password)
    what = digest(method, uri)
    if challenge.has_qop:
        return digest(secret, challenge.nonce, f"{nonce_count:08x}", cnonce, "auth", what)
    return digest(secret, challenge.nonce, what)


def proves_password(
    info: str, challenge: Challenge, username: str, password: str, uri: str, cnonce: str, nonce_count: int = 1
) -> bool:
    """Whether an Authentication-Info does not contradict that the relay knows the password, too (RFC 7616 3.5)."""
    values = {name.lower(): quoted or plain for name, quoted, plain in _PAIR.findall(info)}
    proof = values.get("rspauth")
    if proof is None:
        return True
    expected = response_digest(challenge, username, password, uri, cnonce, nonce_count, method="")
    return hmac.compare_digest(proof.encode(), expected.encode())


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)
