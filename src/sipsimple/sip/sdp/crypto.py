"""Keys of SRTP in a session description (RFC 4568): the `crypto` attribute, parsed and printed.

An attribute names a suite, a master key with its salt, and session parameters. What cannot be obeyed is told apart from
what cannot be read: a description may list other ways behind a line that is refused (RFC 4568 7.1.2).

Suites: RFC 4568 6.2, RFC 7714 14.2. Refused are a master key identifier, more than one key in a line (which needs
identifiers), and every session parameter that would leave something unencrypted, unauthenticated or otherwise keyed.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from sipsimple.sip.errors import SDPNegotiationError
from sipsimple.sip.sdp.attributes import MalformedSDP

__all__ = ["KEY_SIZES", "Crypto", "common_crypto", "hide_keys", "usable_cryptos"]

KEY_SIZES: Final = {
    "AES_CM_128_HMAC_SHA1_80": 30,
    "AES_CM_128_HMAC_SHA1_32": 30,
    "AEAD_AES_128_GCM": 28,
    "AEAD_AES_256_GCM": 44,
}
"""Octets of master key and master salt of each suite that is spoken here."""

MAX_LENGTH: Final = 512
"""Octets of an attribute that are looked at; a line with one key has about 90."""
MAX_LIFETIME: Final = 2**48
"""Packets that one master key may protect (RFC 3711 9.2)."""
MIN_WINDOW: Final = 64

_LINE: Final = re.compile(r"([0-9]{1,9})[ \t]+([A-Za-z0-9_]{1,64})[ \t]+(\S+)((?:[ \t]+\S+)*)[ \t]*")
_KEY: Final = re.compile(r"inline:([A-Za-z0-9+/]+)(={0,2})((?:\|[^|;]*)*)", re.IGNORECASE)
_LIFETIME: Final = re.compile(r"2\^([0-9]{1,2})|([1-9][0-9]{0,15})")
_IDENTIFIER: Final = re.compile(r"[0-9]{1,39}:[0-9]{1,3}")
_WINDOW: Final = re.compile(r"WSH=([0-9]{1,5})", re.IGNORECASE)
_SECRET: Final = re.compile(r"(a=crypto:[^\r\n]*?inline:)[^\r\n]*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Crypto:
    """One `crypto` attribute: the suite and key of the packets that its writer sends."""

    tag: int
    suite: str
    key: bytes = field(repr=False)
    """Master key and master salt."""

    @classmethod
    def parse(cls, value: str) -> Crypto:
        """Read the value of an attribute that can be obeyed.

        Raises MalformedSDP for what is no such attribute, SDPNegotiationError for what is refused. Neither tells the
        key.
        """
        match = _LINE.fullmatch(value) if len(value) <= MAX_LENGTH else None
        if match is None:
            raise MalformedSDP("a crypto attribute needs a tag, a suite and a key")
        tag, suite, keys, parameters = int(match[1]), match[2].upper(), match[3], match[4].split()
        size = KEY_SIZES.get(suite)
        if size is None:
            raise SDPNegotiationError(f"the suite {suite} is not spoken here")
        for parameter in parameters:
            _check_parameter(parameter)
        return cls(tag, suite, _key(keys, size))

    def __str__(self) -> str:
        return f"{self.tag} {self.suite} inline:{base64.b64encode(self.key).decode()}"


def _check_parameter(parameter: str) -> None:
    """Raise SDPNegotiationError unless the session parameter can be obeyed or is optional (RFC 4568 6.3)."""
    if parameter.startswith("-"):
        return
    window = _WINDOW.fullmatch(parameter)
    if window is None or int(window[1]) < MIN_WINDOW:
        raise SDPNegotiationError(f"the session parameter {parameter[:40]} of SRTP is refused")


def _key(text: str, size: int) -> bytes:
    if ";" in text:
        raise SDPNegotiationError("more than one SRTP key in a line is refused")
    match = _KEY.fullmatch(text)
    if match is None:
        raise MalformedSDP("the key of a crypto attribute is not `inline:` and base64")
    options = match[3].split("|")[1:]
    if len(options) > 2:
        raise MalformedSDP("a key has at most a lifetime and an identifier")
    for option in options:
        _check_option(option)
    try:
        # Some leave out the padding.
        key = base64.b64decode(match[1] + "=" * (-len(match[1]) % 4), validate=True)
    except binascii.Error:
        raise MalformedSDP("the key of a crypto attribute is not base64") from None
    if len(key) != size:
        raise MalformedSDP(f"an SRTP key of {len(key)} octets where the suite has {size}")
    return key


def _check_option(option: str) -> None:
    """Raise unless this is a lifetime, which is the sender's to keep and so nothing to us (RFC 4568 6.1)."""
    if _IDENTIFIER.fullmatch(option):
        raise SDPNegotiationError("an SRTP key with an identifier (MKI) is refused")
    match = _LIFETIME.fullmatch(option)
    if match is None:
        raise MalformedSDP("the lifetime of an SRTP key cannot be read")
    if not 0 < (1 << int(match[1]) if match[1] else int(match[2])) <= MAX_LIFETIME:
        raise MalformedSDP("the lifetime of an SRTP key is longer than a key may be used")


def usable_cryptos(values: Iterable[str]) -> list[Crypto]:
    """Those of the attributes that can be obeyed, in their order; a tag that is given twice counts once."""
    found: dict[int, Crypto] = {}
    for value in values:
        try:
            crypto = Crypto.parse(value)
        except (MalformedSDP, SDPNegotiationError):
            continue
        found.setdefault(crypto.tag, crypto)
    return list(found.values())


def common_crypto(local: Iterable[str], remote: Iterable[str]) -> tuple[Crypto, Crypto] | None:
    """The attributes that an offer and its answer agreed on, ours first; None when there are none.

    An answer repeats the tag and the suite of what it chose from the offer (RFC 4568 7.1.2), so that it does not matter
    who of the two offered.
    """
    ours = {(crypto.tag, crypto.suite): crypto for crypto in usable_cryptos(local)}
    for theirs in usable_cryptos(remote):
        own = ours.get((theirs.tag, theirs.suite))
        if own is not None:
            return own, theirs
    return None


def hide_keys(text: str) -> str:
    """The text of a message with its SRTP keys taken out, for people to read."""
    return _SECRET.sub(r"\1(hidden)", text)
