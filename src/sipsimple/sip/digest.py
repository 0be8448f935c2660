"""Digest authentication as values and arithmetic: challenges, credentials on the wire, and the response hash.

Obeys RFC 7616 (and with it RFC 2617 and RFC 2069), RFC 8760 (the SHA-2 algorithms in SIP) and RFC 3261 22.4.
Who is asked, how often, and with which nonce is left to `sipsimple.sip.auth`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from sipsimple.sip.errors import MalformedMessage, SIPCoreError

__all__ = [
    "ALGORITHMS",
    "Challenge",
    "DigestAnswer",
    "MalformedAuthentication",
    "compute_response",
    "parse_answers",
    "parse_authentication_info",
    "parse_challenges",
    "secret_hash",
]

MAX_VALUE_SIZE: Final = 8192  # characters of one header value
MAX_PARAMETERS: Final = 64  # of all schemes in one header value
MAX_VALUES: Final = 16  # header values looked at in one message

# From weak to strong; each also exists with the suffix -sess.
ALGORITHMS: Final = {"MD5": "md5", "SHA-256": "sha256", "SHA-512-256": "sha512_256"}
_STRENGTH: Final = {name: rank for rank, name in enumerate(ALGORITHMS)}
_SESS: Final = "-SESS"

# A name alone begins a new scheme; a name with a value is a parameter of the scheme before it. Values are taken
# leniently (bare values may hold anything but separators), because unknown schemes have to be stepped over.
_ITEM: Final = re.compile(
    r"""[\s,]*(?P<name>[^\s,="]++) (?:\s*=\s*(?: "(?P<quoted>(?:[^"\\]++|\\.)*+)" | (?P<bare>[^\s,"]*+) ))?""",
    re.VERBOSE | re.DOTALL,
)
_END: Final = re.compile(r"[\s,]*\Z")


class MalformedAuthentication(MalformedMessage):
    """The text of an authentication header cannot be understood."""


@dataclass(frozen=True, slots=True)
class Challenge:
    """One `Digest` challenge; `str()` gives the header value. `algorithm` is None when the server named none (MD5)."""

    realm: str
    nonce: str
    algorithm: str | None = None
    qop: tuple[str, ...] = ()
    opaque: str | None = None
    stale: bool = False

    @property
    def is_understood(self) -> bool:
        """Whether we know the algorithm and at least one of the qualities of protection."""
        known_qop = not self.qop or self.preferred_qop is not None
        return known_qop and _base_algorithm(self.algorithm) in ALGORITHMS

    @property
    def strength(self) -> int:
        """Rank of the algorithm, higher is stronger; -1 when it is unknown."""
        return _STRENGTH.get(_base_algorithm(self.algorithm), -1)

    @property
    def preferred_qop(self) -> str | None:
        """The quality of protection to answer with; None when the server asks for none, or for none that we know."""
        # auth first: gateways on the path rewrite SDP, and a hash over the body then refuses a right password.
        return next((qop for qop in ("auth", "auth-int") if qop in self.qop), None)

    def __str__(self) -> str:
        parts = [f"realm={quote(self.realm)}", f"nonce={quote(self.nonce)}"]
        if self.opaque is not None:
            parts.append(f"opaque={quote(self.opaque)}")
        if self.stale:
            parts.append("stale=true")
        if self.algorithm is not None:
            parts.append(f"algorithm={_token(self.algorithm)}")
        if self.qop:
            parts.append(f"qop={quote(','.join(self.qop))}")
        return "Digest " + ", ".join(parts)


@dataclass(frozen=True, slots=True)
class DigestAnswer:
    """The value of an `Authorization` or `Proxy-Authorization` header; `str()` gives the text."""

    username: str
    realm: str
    nonce: str
    uri: str
    response: str = field(repr=False)
    algorithm: str | None = None
    cnonce: str | None = None
    opaque: str | None = None
    qop: str | None = None
    nonce_count: int | None = None

    def __str__(self) -> str:
        quoted = (
            ("username", self.username),
            ("realm", self.realm),
            ("nonce", self.nonce),
            ("uri", self.uri),
            ("response", self.response),
            ("cnonce", self.cnonce),
            ("opaque", self.opaque),
        )
        parts = [f"{name}={quote(value)}" for name, value in quoted if value is not None]
        if self.algorithm is not None:
            parts.append(f"algorithm={_token(self.algorithm)}")
        if self.qop is not None:
            parts.append(f"qop={_token(self.qop)}")
        if self.nonce_count is not None:
            parts.append(f"nc={self.nonce_count:08x}")
        return "Digest " + ", ".join(parts)


def parse_challenges(values: Iterable[str]) -> list[Challenge]:
    """The `Digest` challenges in the values of `WWW-Authenticate` or `Proxy-Authenticate`, in their order.

    Other schemes are stepped over. Raises MalformedAuthentication.
    """
    return [_challenge(parameters) for parameters in _digests(values)]


def parse_answers(values: Iterable[str]) -> list[DigestAnswer]:
    """The `Digest` credentials in the values of `Authorization` or `Proxy-Authorization`.

    Other schemes are stepped over. Raises MalformedAuthentication.
    """
    return [_answer(parameters) for parameters in _digests(values)]


def parse_authentication_info(value: str) -> dict[str, str]:
    """The parameters of `Authentication-Info`, names in lower case. Raises MalformedAuthentication."""
    schemes = list(_schemes("Info " + value))
    if len(schemes) != 1:
        raise MalformedAuthentication(f"Authentication-Info is no list of parameters: {value[:80]!r}")
    return schemes[0][1]


def secret_hash(algorithm: str | None, username: str, realm: str, password: str) -> str:
    """The hash that stands for the password, H(username:realm:password), in hex.

    Raises KeyError for an unknown algorithm.
    """
    return _hash(algorithm, f"{username}:{realm}:{password}")


def compute_response(
    answer: DigestAnswer,
    secret: str,
    method: str,
    body: bytes = b"",
) -> str:
    """The response (hex) that belongs to the other fields of `answer`; its own `response` is not looked at.

    `secret` is the `secret_hash` of the user. Raises KeyError for an unknown algorithm.
    """
    algorithm = answer.algorithm
    if (algorithm or "").upper().endswith(_SESS):
        secret = _hash(algorithm, f"{secret}:{answer.nonce}:{answer.cnonce or ''}")
    act = f"{method}:{answer.uri}"
    if answer.qop == "auth-int":
        act += ":" + _hash(algorithm, body)
    if answer.qop is None:
        return _hash(algorithm, f"{secret}:{answer.nonce}:{_hash(algorithm, act)}")
    count = f"{answer.nonce_count or 0:08x}"
    return _hash(
        algorithm,
        f"{secret}:{answer.nonce}:{count}:{answer.cnonce or ''}:{answer.qop}:{_hash(algorithm, act)}",
    )


def quote(text: str) -> str:
    """Text as a quoted string. Raises SIPCoreError when it would end the header line."""
    if any(character in text for character in "\r\n\0"):
        raise SIPCoreError("a line break or NUL cannot be sent in an authentication header: check username and realm")
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _token(text: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9!%'*+.`~_-]+", text) is None:
        raise SIPCoreError(f"{text!r} cannot be sent as a token in an authentication header")
    return text


def _base_algorithm(algorithm: str | None) -> str:
    return (algorithm or "MD5").upper().removesuffix(_SESS)


def _hash(algorithm: str | None, data: str | bytes) -> str:
    # Bytes that were not UTF-8 on the wire travel through text as lone surrogates and hash as what they were.
    octets = data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data
    return hashlib.new(ALGORITHMS[_base_algorithm(algorithm)], octets, usedforsecurity=False).hexdigest()


def _digests(values: Iterable[str]) -> Iterator[dict[str, str]]:
    for number, value in enumerate(values):
        if number >= MAX_VALUES:
            raise MalformedAuthentication(f"more than {MAX_VALUES} authentication headers in one message")
        for scheme, parameters in _schemes(value):
            if scheme.lower() == "digest":
                yield parameters


def _schemes(value: str) -> Iterator[tuple[str, dict[str, str]]]:
    if len(value) > MAX_VALUE_SIZE:
        raise MalformedAuthentication(f"an authentication header is longer than {MAX_VALUE_SIZE} characters")
    scheme: str | None = None
    parameters: dict[str, str] = {}
    position = count = 0
    while not _END.match(value, position):
        item = _ITEM.match(value, position)
        count += 1
        if item is None or count > MAX_PARAMETERS:
            raise MalformedAuthentication(f"cannot read authentication header from column {position}: {value[:80]!r}")
        position = item.end()
        name, quoted, bare = item.group("name", "quoted", "bare")
        if quoted is None and bare is None:
            if scheme is not None:
                yield scheme, parameters
            scheme, parameters = name, {}
        elif scheme is None:
            raise MalformedAuthentication(f"an authentication header names no scheme: {value[:80]!r}")
        elif name.lower() in parameters:
            raise MalformedAuthentication(f"an authentication header has {name} twice: {value[:80]!r}")
        else:
            parameters[name.lower()] = re.sub(r"\\(.)", r"\1", quoted, flags=re.DOTALL) if bare is None else bare
    if scheme is not None:
        yield scheme, parameters


def _challenge(parameters: dict[str, str]) -> Challenge:
    qop = tuple(name for name in re.split(r"[\s,]+", parameters.get("qop", "").lower()) if name)
    return Challenge(
        realm=_required(parameters, "realm"),
        nonce=_required(parameters, "nonce"),
        algorithm=parameters.get("algorithm"),
        qop=qop,
        opaque=parameters.get("opaque"),
        stale=parameters.get("stale", "").lower() == "true",
    )


def _answer(parameters: dict[str, str]) -> DigestAnswer:
    count = parameters.get("nc")
    if count is not None and re.fullmatch(r"[0-9A-Fa-f]{8}", count) is None:
        raise MalformedAuthentication(f"the nonce count {count[:16]!r} is not eight hexadecimal digits")
    return DigestAnswer(
        username=_required(parameters, "username"),
        realm=_required(parameters, "realm"),
        nonce=_required(parameters, "nonce"),
        uri=_required(parameters, "uri"),
        response=_required(parameters, "response"),
        algorithm=parameters.get("algorithm"),
        cnonce=parameters.get("cnonce"),
        opaque=parameters.get("opaque"),
        qop=parameters["qop"].lower() if "qop" in parameters else None,
        nonce_count=None if count is None else int(count, 16),
    )


def _required(parameters: dict[str, str], name: str) -> str:
    try:
        return parameters[name]
    except KeyError:
        raise MalformedAuthentication(f"a Digest header without {name}") from None
