"""What a stream over RTP tells of its transport: where it is received and sent, and how it is protected."""

from __future__ import annotations

from sipsimple.core import RTPTransport


class TransportAttributes:
    """The attributes of a stream that are those of its transport; None, or False, while there is none."""

    _transport: RTPTransport | None = None

    @property
    def srtp_active(self) -> bool:
        return self._transport is not None and self._transport.srtp_active

    @property
    def srtp_cipher(self) -> str | None:
        """The suite of SRTP in use, by its name in RFC 4568 or RFC 7714; None when nothing is encrypted."""
        return self._transport.srtp_cipher if self._transport is not None else None

    @property
    def srtp_keying(self) -> str | None:
        """How the keys of SRTP were, or are being, agreed on: `sdes` or `dtls`; None for plain RTP."""
        return self._transport.srtp_keying if self._transport is not None else None

    @property
    def ice_active(self) -> bool:
        return self._transport is not None and self._transport.ice_active

    @property
    def local_rtp_address(self) -> str | None:
        return self._transport.local_rtp_address if self._transport is not None else None

    @property
    def local_rtp_port(self) -> int | None:
        return self._transport.local_rtp_port if self._transport is not None else None

    @property
    def remote_rtp_address_sdp(self) -> str | None:
        return self._transport.remote_rtp_address_sdp if self._transport is not None else None

    @property
    def remote_rtp_port_sdp(self) -> int | None:
        return self._transport.remote_rtp_port_sdp if self._transport is not None else None

    @property
    def remote_rtp_address_received(self) -> str | None:
        return self._transport.remote_rtp_address_received if self._transport is not None else None

    @property
    def remote_rtp_port_received(self) -> int | None:
        return self._transport.remote_rtp_port_received if self._transport is not None else None

    @property
    def remote_rtp_address(self) -> str | None:
        """Where we send to: the address of the description, or the one that ICE chose."""
        return self.remote_rtp_address_received if self.ice_active else self.remote_rtp_address_sdp

    @property
    def remote_rtp_port(self) -> int | None:
        return self.remote_rtp_port_received if self.ice_active else self.remote_rtp_port_sdp

    @property
    def local_rtp_candidate_type(self) -> str | None:
        return self._transport.local_rtp_candidate_type if self._transport is not None else None

    @property
    def remote_rtp_candidate_type(self) -> str | None:
        return self._transport.remote_rtp_candidate_type if self._transport is not None else None
