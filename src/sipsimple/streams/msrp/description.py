"""What a media section says about the MSRP session behind it (RFC 4975 8, RFC 6135, RFC 8122).

Reading and writing only; who connects to whom, and with which certificate, is decided in `connecting`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sipsimple.core import SDPAttribute, SDPMediaStream
from sipsimple.msrp import MSRPURI, Fingerprint, Setup, parse_path
from sipsimple.msrp.errors import MalformedURI
from sipsimple.sip.negotiation import direction_of

__all__ = ["TRANSPORTS", "InvalidDescription", "MSRPDescription", "local_media"]

TRANSPORTS: Final = {"tcp": "TCP/MSRP", "tls": "TCP/TLS/MSRP"}
"""How the transports of the settings are named in an `m=` line."""
MAX_SIZE: Final = 2**63
MAX_SIZE_DIGITS: Final = 19
_WEAK: Final = "sha-1"


class InvalidDescription(ValueError):
    """The media section cannot be that of an MSRP session; the text says why."""


@dataclass(frozen=True, slots=True)
class MSRPDescription:
    """One media section of the remote.

    `direction` is the one that the remote wants for itself. Without an `accept-types` line the tuple is empty;
    `max_size` is the largest message that the remote takes, in bytes, None when it does not say.
    """

    transport: str
    path: tuple[MSRPURI, ...]
    direction: str = "sendrecv"
    accept_types: tuple[str, ...] = ()
    accept_wrapped_types: tuple[str, ...] = ()
    max_size: int | None = None
    setup: Setup | None = None
    fingerprints: tuple[Fingerprint, ...] = ()

    @classmethod
    def read(cls, sdp: Any, index: int) -> MSRPDescription:
        """Read the section at `index`; raises InvalidDescription when nobody could connect by what it says."""
        media = sdp.media[index]
        attributes = media.attributes
        path_text = attributes.getfirst("path")
        if path_text is None:
            raise InvalidDescription("there is no a=path")
        try:
            path = parse_path(path_text)
        except MalformedURI as error:
            raise InvalidDescription(f"a=path is unusable: {error}") from error
        return cls(
            transport=media.transport.upper(),
            path=path,
            direction=direction_of(sdp, index),
            accept_types=_words(attributes.getfirst("accept-types")),
            accept_wrapped_types=_words(attributes.getfirst("accept-wrapped-types")),
            max_size=_size(attributes.getfirst("max-size")),
            setup=Setup.parse(attributes.getfirst("setup")),
            # RFC 8122 5: what the media says counts, else what the session says.
            fingerprints=_fingerprints(attributes.getall("fingerprint") or sdp.attributes.getall("fingerprint")),
        )

    @property
    def uses_tls(self) -> bool:
        """Whether the remote is reached over TLS."""
        return self.path[0].use_tls


def local_media(
    media_type: str,
    path: Sequence[MSRPURI],
    *,
    direction: str = "sendrecv",
    accept_types: Iterable[str] | None = None,
    accept_wrapped_types: Iterable[str] | None = None,
    setup: Setup | None = None,
    fingerprints: Iterable[Fingerprint] = (),
    more: Iterable[Any] = (),
) -> SDPMediaStream:
    """Our section; the port is that of our own URI, the last of the path (RFC 4975 8.1)."""
    own = path[-1]
    lines = [("path", " ".join(str(uri) for uri in path))]
    if direction != "sendrecv":
        lines.append((direction, ""))
    if accept_types is not None:
        lines.append(("accept-types", " ".join(accept_types)))
    if accept_wrapped_types is not None:
        lines.append(("accept-wrapped-types", " ".join(accept_wrapped_types)))
    if setup is not None:
        lines.append(("setup", setup.value))
    lines += [("fingerprint", str(fingerprint)) for fingerprint in fingerprints]
    attributes = [SDPAttribute(name, value) for name, value in lines]
    transport = TRANSPORTS["tls" if own.use_tls else "tcp"]
    return SDPMediaStream(media_type, own.effective_port, transport, formats=["*"], attributes=[*attributes, *more])


def _words(text: str | None) -> tuple[str, ...]:
    return () if text is None else tuple(text.split())


def _size(text: str | None) -> int | None:
    digits = "" if text is None else text.strip()
    if not digits.isascii() or not digits.isdigit() or len(digits) > MAX_SIZE_DIGITS:
        return None
    size = int(digits)
    return size if 0 < size < MAX_SIZE else None


def _fingerprints(texts: Sequence[str]) -> tuple[Fingerprint, ...]:
    """Those by hashes that we know; those by SHA-1 count only where there is nothing better (RFC 8122 5.1)."""
    found = []
    for text in texts:
        try:
            found.append(Fingerprint.parse(text))
        except ValueError:
            continue
    if texts and not found:
        # To go on without would be to believe whoever answers there.
        raise InvalidDescription("no a=fingerprint is by a hash that is known")
    strong = [fingerprint for fingerprint in found if fingerprint.algorithm != _WEAK]
    return tuple(strong or found)
