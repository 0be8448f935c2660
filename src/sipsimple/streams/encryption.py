"""What an account wants of the encryption of its media (`rtp.srtp_encryption`, `rtp.srtp_keying`).

Keys in descriptions are for nobody else to read: those go over TLS, or where `rtp.use_srtp_without_tls` allows it. DTLS
tells no keys, and so is allowed on any way.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from sipsimple.core import RTPTransport, SDPNegotiationError
from sipsimple.core.media.keying import NOT_CONFIDENTIAL, objection, tells_fingerprint


class EncryptionPolicy(NamedTuple):
    """What an account wants while descriptions go a certain way."""

    ways: frozenset[str]
    """How keys may be agreed on: some of `sdes` and `dtls`."""
    forced: bool
    """Whether media has to be encrypted."""
    method: str
    """The way that our offers take, if they may."""

    @classmethod
    def of(cls, account: Any, signalling: str | None) -> EncryptionPolicy:
        """That of an account; `signalling` is the transport of SIP (`tls`, ...), None when it is not known yet."""
        rtp = account.rtp
        confidential = signalling in ("tls", None) or rtp.use_srtp_without_tls
        ways = frozenset({"sdes", "dtls"} if confidential else {"dtls"})
        if rtp.srtp_encryption == "disabled":
            ways = frozenset()
        # Accounts that an application makes itself need not know of this setting.
        return cls(ways, rtp.srtp_encryption == "mandatory", getattr(rtp, "srtp_keying", "sdes"))

    def objection(self, sdp: Any, index: int) -> str | None:
        """Why the media at `index` of an offer is refused for how it is encrypted, or is not; None if it is not."""
        return objection(sdp, index, self.ways, self.forced)

    def transport(
        self, address: str | None, offer: tuple[Any, int] | None, options: dict[str, Any] | None = None
    ) -> RTPTransport:
        """Ports for an offer of ours, or for the answer to one; raises SDPNegotiationError when we must not offer.

        `options` are those of `RTPTransport` that have nothing to do with encryption.
        """
        method = self.method
        if offer is not None:
            if "dtls" in self.ways and tells_fingerprint(*offer):
                method = "dtls"
        elif self.forced and method not in self.ways:
            raise SDPNegotiationError(NOT_CONFIDENTIAL)
        transport = RTPTransport(address, bool(self.ways), self.forced, srtp_keying=method, **(options or {}))
        transport.keying.accepts = self.ways
        return transport
