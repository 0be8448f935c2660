"""How the two sides of a stream come to keys for SRTP: what our descriptions say, and what both agree on.

SDES (RFC 4568) puts the keys into the description; DTLS (RFC 5763) makes them on the media ports, and the description
has the fingerprints of the certificates. Who may do without encryption offers `RTP/AVP` with either (RFC 8643), who
insists on it `RTP/SAVP` or `UDP/TLS/RTP/SAVP`.

Our keys stay the same for the life of a transport, so that a later offer or answer changes nothing by itself; the keys
of the remote are those of its latest description.

What reads and writes the lines is loaded when there are any: most calls of most programs have none.
"""

from __future__ import annotations

import os
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from sipsimple.media.keys import SUITES as SUITE_SIZES
from sipsimple.media.keys import DTLSKeying, Security, SRTPKeys
from sipsimple.sip.errors import SDPNegotiationError
from sipsimple.sip.sdp import FrozenSDPAttribute

if TYPE_CHECKING:
    from sipsimple.sip.sdp.crypto import Crypto
    from sipsimple.sip.sdp.fingerprint import Fingerprint

OFFERED_SUITES: Final = ("AES_CM_128_HMAC_SHA1_80", "AES_CM_128_HMAC_SHA1_32")
SUITES: Final = tuple(SUITE_SIZES)
KEYINGS: Final = ("sdes", "dtls")
NOT_CONFIDENTIAL: Final = (
    "SRTP is demanded, and its keys must not go over signalling that is not encrypted: use TLS, or DTLS for the keys"
)

PLAIN: Final = "RTP/AVP"
SDES_TRANSPORTS: Final = frozenset({"RTP/SAVP"})
DTLS_TRANSPORTS: Final = frozenset({"UDP/TLS/RTP/SAVP", "UDP/TLS/RTP/SAVPF"})
TRANSPORTS: Final = frozenset({PLAIN, *SDES_TRANSPORTS, *DTLS_TRANSPORTS})

_OURS: Final = ("crypto", "fingerprint", "setup")
_DIRECTIONS: Final = ("sendrecv", "sendonly", "recvonly", "inactive")


class Keying:
    """The way of one transport to its keys.

    `offers` is the method that our offers name, None for plain RTP; `accepts` are those that we take from others;
    `forced` refuses plain RTP. `accepts` may change at any time, as the way of the signalling does.
    """

    def __init__(
        self,
        offers: str | None = None,
        accepts: frozenset[str] = frozenset(),
        forced: bool = False,
        suites: tuple[str, ...] = OFFERED_SUITES,
    ) -> None:
        self.offers = offers
        self.accepts = accepts
        self.forced = forced
        self._suites = suites
        self._keys: dict[str, bytes] = {}
        self._transport: str | None = None
        self._agreed: Security | None = None

    @property
    def method(self) -> str | None:
        """The method in use: `sdes`, `dtls`, or None for plain RTP."""
        return None if self._agreed is None else "dtls" if isinstance(self._agreed, DTLSKeying) else "sdes"

    def forget(self) -> None:
        """Begin anew: the stream is over, and the next one has keys of its own."""
        self._keys.clear()
        self._transport = self._agreed = None

    def offer(self, media: Any) -> None:
        """Complete a media of ours that offers; raises SDPNegotiationError when nothing that is allowed would do."""
        method = self.method or self.offers
        if method is not None and method not in self.accepts:
            method = None
        if method is None and self.forced:
            raise SDPNegotiationError(NOT_CONFIDENTIAL)
        secure = {"sdes": "RTP/SAVP", "dtls": "UDP/TLS/RTP/SAVP", None: PLAIN}[method]
        media.transport = secure if self.forced else PLAIN
        if self._transport is not None and method == self.method:
            media.transport = self._transport
        if method == "sdes":
            _write(media, [("crypto", str(crypto)) for crypto in self._offered_cryptos()])
        elif method == "dtls":
            _write(media, [("fingerprint", str(_identity()[1])), ("setup", "actpass")])
        else:
            _write(media, [])

    def _offered_cryptos(self) -> list[Crypto]:
        from sipsimple.sip.sdp.crypto import Crypto

        # The suite in use comes first, so that it stays.
        used = [self._agreed.suite] if isinstance(self._agreed, SRTPKeys) else []
        suites = dict.fromkeys([*used, *self._suites])
        return [Crypto(tag, suite, self._key(suite)) for tag, suite in enumerate(suites, 1)]

    def answer(self, media: Any, offer: Any, index: int) -> None:
        """Complete a media of ours that answers; raises SDPNegotiationError when the offer cannot be accepted."""
        media.transport = offer.media[index].transport
        remote = _Remote(offer, index, self.accepts)
        problem = remote.objection(self.forced)
        if problem is not None:
            raise SDPNegotiationError(problem)
        if remote.dtls:
            _write(media, [("fingerprint", str(_identity()[1])), ("setup", self._answered_setup(remote.setup))])
        elif remote.cryptos:
            chosen = remote.cryptos[0]
            _write(media, [("crypto", str(replace(chosen, key=self._key(chosen.suite))))])
        else:
            _write(media, [])

    def _answered_setup(self, offered: str) -> str:
        if offered == "actpass":
            # RFC 8842 5.3: an association that is there goes on, whoever began; else the answerer begins.
            return "passive" if isinstance(self._agreed, DTLSKeying) and not self._agreed.active else "active"
        return "passive" if offered == "active" else "active"

    def agree(self, local: Any, remote: Any, index: int) -> Security | None:
        """What both descriptions have in common, None for plain RTP; raises SDPNegotiationError for what we refuse."""
        agreed = self._common(local, remote, index)
        transport = local.media[index].transport
        if agreed is None and (self.forced or transport != PLAIN):
            raise SDPNegotiationError("the other side does not encrypt its media in a way that is known here")
        self._agreed, self._transport = agreed, transport
        return agreed

    def _common(self, local: Any, remote: Any, index: int) -> Security | None:
        if tells_fingerprint(local, index) and tells_fingerprint(remote, index):
            return self._common_association(local, remote, index)
        ours, theirs = (sdp.media[index].attributes.getall("crypto") for sdp in (local, remote))
        if not ours or not theirs:
            return None
        from sipsimple.sip.sdp.crypto import common_crypto

        pair = common_crypto(ours, theirs)
        return None if pair is None else SRTPKeys(pair[0].suite, pair[0].key, pair[1].key)

    def _common_association(self, local: Any, remote: Any, index: int) -> DTLSKeying | None:
        from sipsimple.sip.sdp.fingerprint import fingerprint_of, setup_of

        theirs = fingerprint_of(remote, index)
        if theirs is None:
            return None
        before = self._agreed
        # RFC 8842 3.1: an association goes on until a fingerprint changes. Who began does not matter any more, even if
        # a description that only repeats what is known has it the other way round.
        if isinstance(before, DTLSKeying) and before.fingerprint == theirs.digest:
            return before
        active = _is_active(setup_of(local, index), setup_of(remote, index))
        return DTLSKeying(active, theirs.algorithm.replace("-", ""), theirs.digest, _identity()[0])

    def _key(self, suite: str) -> bytes:
        return self._keys.setdefault(suite, os.urandom(sum(SUITE_SIZES[suite])))


class _Remote:
    """What the offer of the remote has that we may use."""

    def __init__(self, sdp: Any, index: int, accepts: frozenset[str]) -> None:
        media = sdp.media[index]
        self.transport: str = media.transport.upper()
        self.dtls = False
        self.setup = "active"
        self.cryptos: list[Crypto] = []
        if "dtls" in accepts and tells_fingerprint(sdp, index):
            from sipsimple.sip.sdp.fingerprint import fingerprint_of, setup_of

            self.setup = setup_of(sdp, index) or self.setup
            self.dtls = fingerprint_of(sdp, index) is not None and self.setup != "holdconn"
        if "sdes" in accepts and "crypto" in media.attributes and self.transport not in DTLS_TRANSPORTS:
            from sipsimple.sip.sdp.crypto import usable_cryptos

            self.cryptos = usable_cryptos(media.attributes.getall("crypto"))

    def objection(self, forced: bool) -> str | None:
        """Why it cannot be accepted; None if it can."""
        if self.transport not in TRANSPORTS:
            return f"audio over {self.transport[:40]} is not supported"
        if self.dtls or self.cryptos:
            return None
        if self.transport != PLAIN:
            return f"audio over {self.transport} without keys that may be used"
        return "SRTP is demanded, and the offer has no keys that may be used" if forced else None


def tells_fingerprint(sdp: Any, index: int) -> bool:
    """Whether a description has a fingerprint for the media at `index`, whatever it may be worth."""
    return "fingerprint" in sdp.media[index].attributes or "fingerprint" in sdp.attributes


def objection(sdp: Any, index: int, accepts: frozenset[str], forced: bool) -> str | None:
    """Why the media at `index` of an offer cannot be accepted for how it is encrypted, or is not; None if it can."""
    return _Remote(sdp, index, accepts).objection(forced)


def _is_active(local: str | None, remote: str | None) -> bool:
    """Whether we begin: the answer decides between what the offer leaves open (RFC 4145 4.1)."""
    if remote in ("active", "passive"):
        return remote == "passive"
    return local == "active"


def _write(media: Any, lines: list[tuple[str, str]]) -> None:
    """Put the lines before the direction, which comes last; those from before are gone."""
    kept = [attribute for attribute in media.attributes if attribute.name not in _OURS]
    end = len(kept) - 1 if kept and kept[-1].name in _DIRECTIONS else len(kept)
    media.attributes = [*kept[:end], *(FrozenSDPAttribute(name, value) for name, value in lines), *kept[end:]]


@cache
def _identity() -> tuple[bytes, Fingerprint]:
    """The certificate of this run with its private key, and its fingerprint."""
    import ssl

    from sipsimple.core.certificate import self_signed_certificate
    from sipsimple.sip.sdp.fingerprint import Fingerprint

    pem = self_signed_certificate()
    certificate = pem.decode("ascii").partition("-----BEGIN PRIVATE KEY-----")[0]
    return pem, Fingerprint.of(ssl.PEM_cert_to_DER_cert(certificate.strip()))
