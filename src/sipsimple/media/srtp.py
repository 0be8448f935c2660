"""SRTP and SRTCP (RFC 3711, RFC 7714) of one stream, by libsrtp.

The library keeps the rollover counter and the replay window of every source, and derives the session keys. Here are the
keys of the two directions, which change independently, and what was refused and why.

A remote that changes its key either begins to count the turns of its sequence anew, as most do that make a new context,
or goes on counting (RFC 3711 8.1). The first is tried first.

The library is loaded when the first stream needs it: most programs never do.
"""

from __future__ import annotations

from collections import deque
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from .errors import StreamError
from .keys import SUITES
from .packet import HEADER_SIZE

if TYPE_CHECKING:
    import pylibsrtp

MAX_SOURCES: Final = 16
"""Sources of one remote whose counters are kept, by packets that it has authenticated; the oldest is forgotten."""
OLD_KEY_SECONDS: Final = 2.0
"""How long packets under the key before are understood: those that were on their way when it changed."""
RECOUNT_AFTER: Final = 5
"""Packets that a new key does not open until it is tried with the turns counted under the one before."""
MAX_RECOUNTS: Final = 10
MAX_TURNS: Final = 64
"""Turns of the sequence that can be made up for: a day of packets of 20 ms."""
WINDOW: Final = 1024
"""Packets behind the newest one that are still told from replayed ones."""


_HALF_TURN: Final = 128
"""In steps of the upper octet of a sequence."""
_STRIDE: Final = 0x4000
"""Packets that may be skipped, so that the library follows the sequence."""


class ProtectionFailed(OSError):
    """A packet could not be encrypted, and so must not be sent: as if the socket had refused it."""


class SRTPSender:
    """Encrypts what we send. Without keys nothing can be sent."""

    def __init__(self) -> None:
        self._keys: tuple[str, bytes] | None = None
        self._session: pylibsrtp.Session | None = None
        self._error: type[Exception] = ValueError

    @property
    def ready(self) -> bool:
        return self._session is not None

    def use(self, suite: str, key: bytes) -> None:
        """Encrypt with this key from now on; the counters of a key that is in use go on."""
        if (suite, key) != self._keys:
            self._keys = (suite, key)
            self._session = _session(suite, key, inbound=False)
            self._error = _library().Error

    def protect(self, packet: bytes) -> bytes:
        """Encrypt an RTP packet; raises ProtectionFailed."""
        session = self._session
        if session is None:
            raise ProtectionFailed("there is no key yet")
        try:
            return session.protect(packet)
        except (self._error, ValueError) as error:
            raise ProtectionFailed(str(error)) from error

    def protect_control(self, packet: bytes) -> bytes:
        """Encrypt a compound RTCP packet; raises ProtectionFailed."""
        session = self._session
        if session is None:
            raise ProtectionFailed("there is no key yet")
        try:
            return session.protect_rtcp(packet)
        except (self._error, ValueError) as error:
            raise ProtectionFailed(str(error)) from error


class _Inbound:
    """What one key of the remote opens."""

    def __init__(self, suite: str, key: bytes) -> None:
        self.keys: Final = (suite, key)
        self.turns = 0
        """How often the sequence has begun anew; a source that changes brings it back to 0."""
        self._high = -1  # octet of the sequence heard last; negative before anything was
        self._session: Final = _session(suite, key, inbound=True)
        self._sources: Final[deque[bytes]] = deque()

    @property
    def used(self) -> bool:
        """Whether it has opened any packet of RTP."""
        return self._high >= 0

    def open(self, packet: bytes, control: bool) -> bytes:
        """Decrypt; raises the error of the library."""
        if control:
            plain = self._session.unprotect_rtcp(packet)
            source = plain[4:8]
        else:
            plain = self._session.unprotect(packet)
            source = plain[8:12]
            self._count(plain[2])
        if not self._sources or source != self._sources[-1]:
            self._remember(source)
            if not control:
                self.turns = 0
        return plain

    def _count(self, high: int) -> None:
        if abs(high - self._high) > _HALF_TURN and self.used:
            self.turns = max(self.turns + _turned(self._high, high), 0)
        self._high = high

    def recounted(self, packet: bytes, before: _Inbound) -> _Inbound | None:
        """The same key with the turns that `before` had counted, if that opens the packet.

        libsrtp lets nobody set the counter, but follows packets that advance it; those are made here, and go nowhere.
        """
        turns = before.turns + _turned(before._high, packet[2])
        if not 0 < turns <= MAX_TURNS:
            return None
        fresh, sender = _Inbound(*self.keys), _session(*self.keys, inbound=False)
        last = (turns << 16 | int.from_bytes(packet[2:4], "big")) - 1
        for index in range(last % _STRIDE, last + 1, _STRIDE):
            made = b"\x80\x00" + (index & 0xFFFF).to_bytes(2, "big") + bytes(4) + packet[8:12]
            fresh.open(sender.protect(made), False)
        fresh.turns = turns
        return fresh

    def _remember(self, source: bytes) -> None:
        if source in self._sources:
            self._sources.remove(source)
        elif len(self._sources) >= MAX_SOURCES:
            self._session.remove_stream(int.from_bytes(self._sources.popleft(), "big"))
        self._sources.append(source)


class SRTPReceiver:
    """Decrypts what arrives, and counts what it refuses."""

    def __init__(self) -> None:
        self._current: _Inbound | None = None
        self._previous: _Inbound | None = None
        self._previous_until = 0.0
        self._strange = 0  # packets that the current key did not open, while it has opened none
        self._error: type[Exception] = ValueError
        self.unauthentic = 0
        """Packets that no key of the remote opens: forged, damaged, or encrypted otherwise than agreed."""
        self.replayed = 0
        """Packets that came before, or are older than can be told."""

    @property
    def ready(self) -> bool:
        return self._current is not None

    def use(self, suite: str, key: bytes, now: float) -> None:
        """Expect this key of the remote from now on; the one before is understood for `OLD_KEY_SECONDS` more."""
        if self._current is not None and self._current.keys == (suite, key):
            return
        self._previous, self._previous_until = self._current, now + OLD_KEY_SECONDS
        self._current = _Inbound(suite, key)
        self._strange = 0
        self._error = _library().Error

    def open(self, packet: bytes, control: bool, now: float) -> bytes | None:
        """Decrypt a packet; None when it is refused, or when there is no key yet."""
        if self._current is None:
            return None
        try:
            return self._current.open(packet, control)
        except self._error as error:
            reason = str(error)
        plain = self._open_otherwise(packet, control, now)
        if plain is not None:
            return plain
        if reason.startswith("replay"):
            self.replayed += 1
        else:
            self.unauthentic += 1
        return None

    def _open_otherwise(self, packet: bytes, control: bool, now: float) -> bytes | None:
        """Try what else the remote may have meant after a change of its key."""
        current, previous = self._current, self._previous
        if current is None or previous is None:
            return None
        if now < self._previous_until:
            try:
                return previous.open(packet, control)
            except self._error:  # under neither key; what the newer one said counts
                pass
        if control or current.used or len(packet) < HEADER_SIZE:
            return None
        self._strange += 1
        if self._strange % RECOUNT_AFTER or self._strange > MAX_RECOUNTS * RECOUNT_AFTER:
            return None
        try:
            recounted = current.recounted(packet, previous)
            if recounted is None:
                return None
            plain = recounted.open(packet, control)
        except self._error:
            return None
        self._current = recounted
        return plain


def _turned(before: int, high: int) -> int:
    """Whether the sequence has begun anew between two values of its upper octet: 1, 0, or -1 for a late packet."""
    step = high - before
    return 1 if step < -_HALF_TURN else -1 if step > _HALF_TURN else 0


def load() -> None:
    """Load the library; raises StreamError when it is not installed."""
    _library()


def loaded() -> bool:
    """Whether `load` would cost nothing."""
    return _library.cache_info().currsize > 0


@cache
def _library() -> Any:
    try:
        import pylibsrtp
    except ImportError as error:
        raise StreamError(f"SRTP needs pylibsrtp, which cannot be loaded: {error}; install it") from error
    return pylibsrtp


def _session(suite: str, key: bytes, *, inbound: bool) -> pylibsrtp.Session:
    """Make a context for one direction; raises StreamError for a suite or key that does not work."""
    library = _library()
    policy = library.Policy
    profiles = {
        "AES_CM_128_HMAC_SHA1_80": policy.SRTP_PROFILE_AES128_CM_SHA1_80,
        "AES_CM_128_HMAC_SHA1_32": policy.SRTP_PROFILE_AES128_CM_SHA1_32,
        "AEAD_AES_128_GCM": policy.SRTP_PROFILE_AEAD_AES_128_GCM,
        "AEAD_AES_256_GCM": policy.SRTP_PROFILE_AEAD_AES_256_GCM,
    }
    if suite not in profiles or len(key) != sum(SUITES[suite]):
        raise StreamError(f"no SRTP with the suite {suite!r} and a key of {len(key)} octets")
    kind = policy.SSRC_ANY_INBOUND if inbound else policy.SSRC_ANY_OUTBOUND
    try:
        made = policy(key=key, ssrc_type=kind, srtp_profile=profiles[suite])
        made.window_size = WINDOW
        session: pylibsrtp.Session = library.Session(made)
        return session
    except library.Error as error:
        raise StreamError(f"libsrtp does not do {suite}: {error}") from error
