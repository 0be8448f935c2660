"""The session descriptions that a session writes (RFC 4566, RFC 3264).

One media section per stream; a section keeps its place for the life of the session, and one that is not wanted stays
with port 0 (RFC 3264 6 and 8.2).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sipsimple.configuration.settings import SIPSimpleSettings
from sipsimple.core import FrozenSDPSession, SDPConnection, SDPMediaStream, SDPSession
from sipsimple.sip.negotiation import next_version, refuse


def offer(address: str, streams: Iterable[Any]) -> SDPSession:
    """Describe the streams in their order, and tell each its `index`."""
    media = []
    for index, stream in enumerate(streams):
        stream.index = index
        media.append(stream.get_local_media(for_offer=True))
    return _session(address, media)


def answer(address: str, remote_sdp: FrozenSDPSession, streams: Iterable[Any]) -> SDPSession:
    """Answer an offer with these streams (each knows its `index`); every other section is refused."""
    return _session(address, _answers(remote_sdp, streams))


def reoffer(active: FrozenSDPSession, streams: Iterable[Any]) -> SDPSession:
    """Offer a change of the running session: these streams, and every other section with port 0.

    A stream without a section yet (its `index` is None) gets a new one at the end; no section is used again.
    """
    session = next_version(active)
    media = [refuse(section) for section in session.media]
    for stream in streams:
        if stream.index is None:
            stream.index = len(media)
        section = stream.get_local_media(for_offer=True)
        if stream.index == len(media):
            media.append(section)
        else:
            media[stream.index] = section
    session.media = media
    return session


def reanswer(active: FrozenSDPSession, remote_sdp: FrozenSDPSession, streams: Iterable[Any]) -> SDPSession:
    """Answer a change of the running session with these streams; every other section is refused."""
    session = next_version(active)
    session.media = _answers(remote_sdp, streams)
    return session


def at_address(session: SDPSession, address: str) -> SDPSession:
    """The same description, media received at another address.

    The origin stays: it names the session, not the place (RFC 3264 8).
    """
    session.connection = SDPConnection(address, address_type="IP6" if ":" in address else "IP4")
    for media in session.media:
        media.connection = None
    return session


def accepts(remote_sdp: FrozenSDPSession, index: int) -> bool:
    """True when the description has the media section and does not refuse it."""
    return index < len(remote_sdp.media) and remote_sdp.media[index].port != 0


def _answers(remote_sdp: FrozenSDPSession, streams: Iterable[Any]) -> list[SDPMediaStream]:
    accepted = {stream.index: stream for stream in streams if accepts(remote_sdp, stream.index)}
    return [
        accepted[index].get_local_media(for_offer=False) if index in accepted else refuse(section)
        for index, section in enumerate(remote_sdp.media)
    ]


def _session(address: str, media: list[SDPMediaStream]) -> SDPSession:
    family = "IP6" if ":" in address else "IP4"
    return SDPSession(
        address,
        address_type=family,
        name=str(SIPSimpleSettings().user_agent),
        connection=SDPConnection(address, address_type=family),
        media=media,
    )
