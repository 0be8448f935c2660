"""Sockets that carry more than plain RTP: their datagrams are told apart by the first octet (RFC 7983 7).

STUN and DTLS go to whoever waits for them, SRTP is opened in place, and what nobody waits for is dropped. Only sockets
with such a `Post` are looked at; while there is none, nothing is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from .net import Address, Received
from .packet import FIRST_RTCP_TYPE, LAST_RTCP_TYPE

Open = Callable[[bytes, bool, float], bytes | None]
"""Takes an SRTP or (True) SRTCP packet and the time; the plain packet, or None when it is refused."""
Take = Callable[[bytes, Address, float], None]
"""Takes a datagram, where it came from, and the time."""

_LAST_STUN: Final = 3
_FIRST_DTLS, _LAST_DTLS = 20, 63
_FIRST_RTP, _LAST_RTP = 128, 191


class Post:
    """Who looks at what arrives on one socket; None: plain RTP passes, the others are dropped."""

    def __init__(self) -> None:
        self.open: Open | None = None
        self.stun: Take | None = None
        self.dtls: Take | None = None

    @property
    def idle(self) -> bool:
        """Whether nobody waits for anything."""
        return self.open is None and self.stun is None and self.dtls is None

    def admit(self, received: Received, index: int, now: float) -> bool:
        """Deal with one datagram; True when it is now a plain packet for the streams."""
        size, view = received.sizes[index], received.views[index]
        first = view[0] if size > 1 else 255
        if _FIRST_RTP <= first <= _LAST_RTP:
            if self.open is None:
                return True
            control = bool(received.keys[index] & 1) or FIRST_RTCP_TYPE <= view[1] <= LAST_RTCP_TYPE
            plain = self.open(bytes(view[:size]), control, now)
            if plain is None:
                return False
            view[: len(plain)] = plain
            received.sizes[index] = len(plain)
            return True
        take = self.stun if first <= _LAST_STUN else self.dtls if _FIRST_DTLS <= first <= _LAST_DTLS else None
        if take is not None:
            take(bytes(view[:size]), received.sources[index], now)
        return False


class Demultiplexer:
    """The posts of all sockets, by the keys under which their datagrams arrive."""

    def __init__(self) -> None:
        self._posts: Final[dict[int, Post]] = {}

    def __bool__(self) -> bool:
        return bool(self._posts)

    def post(self, key: int) -> Post:
        """The post of a socket, made when there is none; `review` it after a change."""
        return self._posts.setdefault(key, Post())

    def review(self, key: int) -> None:
        """Forget the post of the socket if nobody waits there any more."""
        post = self._posts.get(key)
        if post is not None and post.idle:
            del self._posts[key]

    def admit(self, received: Received, now: float) -> Received:
        """Take out of a round of datagrams what is not for the streams."""
        posts = self._posts
        kept = [
            index
            for index, key in enumerate(received.keys)
            if (post := posts.get(key)) is None or post.admit(received, index, now)
        ]
        return received if len(kept) == len(received.keys) else received.pick(kept)
