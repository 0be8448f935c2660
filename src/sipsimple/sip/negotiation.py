"""Offer and answer (RFC 3264): what an answer may say, and who has to speak next.

Whether to accept a media at all is decided above; this module makes the answer that follows from the decision, and
refuses what would leave both sides with different ideas of the session.
"""

from __future__ import annotations

from typing import Final

from sipsimple.sip.errors import SDPNegotiationError, SIPCoreInvalidStateError
from sipsimple.sip.frozen import frozenlist, replaced
from sipsimple.sip.sdp import (
    FrozenSDPAttribute,
    FrozenSDPMediaStream,
    FrozenSDPSession,
    SDPMediaStream,
    SDPSession,
)
from sipsimple.sip.sdp.codecs import Codec, agreed_codecs
from sipsimple.sip.sdp.session import DIRECTIONS, BaseSDPMediaStream, BaseSDPSession

__all__ = [
    "Negotiator",
    "answer_audio",
    "direction_of",
    "intersect_direction",
    "make_answer",
    "next_version",
    "normalise",
    "refuse",
]

_SENDS: Final = frozenset({"sendrecv", "sendonly"})
_RECEIVES: Final = frozenset({"sendrecv", "recvonly"})
_NOWHERE: Final = frozenset({"0.0.0.0", "::"})
_DIRECTION: Final = {
    (True, True): "sendrecv",
    (True, False): "sendonly",
    (False, True): "recvonly",
    (False, False): "inactive",
}


def intersect_direction(wish: str, remote: str) -> str:
    """Our direction, when we wish one and the remote says another for itself (RFC 3264 6.1)."""
    return _DIRECTION[wish in _SENDS and remote in _RECEIVES, wish in _RECEIVES and remote in _SENDS]


def direction_of(session: BaseSDPSession, index: int) -> str:
    """The direction that a description asks for at `index`.

    A media that says nothing itself takes the direction of the session (RFC 4566 6), and the address 0.0.0.0 means that
    the other side must not send: so calls were put on hold before there were directions (RFC 3264 8.4).
    """
    media = session.media[index]
    names = [attribute.name for attribute in (*media.attributes, *session.attributes)]
    direction = next((name for name in names if name in DIRECTIONS), "sendrecv")
    connection = media.connection or session.connection
    # With ICE the address is only a default, and the candidates tell where to send.
    if connection is None or connection.address not in _NOWHERE or "ice-ufrag" in names:
        return direction
    return _DIRECTION[direction in _SENDS, False]


def refuse(offer: BaseSDPMediaStream) -> SDPMediaStream:
    """The section of an answer that refuses an offered media: a copy with port 0."""
    refused = SDPMediaStream.new(offer)
    refused.port = 0
    return refused


def answer_audio(
    offer: BaseSDPMediaStream, local: BaseSDPMediaStream, offered_direction: str | None = None
) -> FrozenSDPMediaStream:
    """The section of an answer that accepts an RTP media with one codec and its telephone events.

    `local` lists all that we could do; its other attributes are kept. The codec is the offerer's favourite among ours,
    under the payload type of the offer. Raises SDPNegotiationError when there is no common codec.
    """
    agreement = agreed_codecs(local, offer)
    own = FrozenSDPMediaStream.new(local)
    codecs = [_renumbered(agreement.receive, agreement.send)]
    if agreement.receive_event and agreement.send_event:
        codecs.append(_renumbered(agreement.receive_event, agreement.send_event))
    about_codecs = [attribute.name in ("rtpmap", "fmtp") for attribute in own.attributes]
    place = about_codecs.index(True) if any(about_codecs) else 0
    kept = [attribute for attribute, drop in zip(own.attributes, about_codecs, strict=True) if not drop]
    described = [FrozenSDPAttribute.parse(f"rtpmap:{codec.rtpmap}") for codec in codecs]
    described += [FrozenSDPAttribute.parse(f"fmtp:{codec.payload_type} {codec.fmtp}") for codec in codecs if codec.fmtp]
    answer = replaced(
        own,
        port_count=1,
        formats=frozenlist([str(codec.payload_type) for codec in codecs]),
        attributes=frozenlist(kept[:place] + described + kept[place:]),
    )
    return _limit_direction(answer, offered_direction or offer.direction)


def make_answer(offer: BaseSDPSession, local: BaseSDPSession) -> FrozenSDPSession:
    """The answer to an offer, from a description of what we would accept, section by section.

    A section with port 0 on either side is refused. Raises SDPNegotiationError when the sections do not correspond, or
    when an accepted RTP media has no common codec.
    """
    _check_sections(offer, local)
    own = FrozenSDPSession.new(local)
    return replaced(own, media=frozenlist([_answer_media(offer, own, index) for index in range(len(offer.media))]))


def next_version(session: BaseSDPSession) -> SDPSession:
    """A copy to change and to offer: the version of its origin is one more (RFC 3264 8)."""
    copy = SDPSession.new(session)
    copy.version += 1
    return copy


def normalise(local: BaseSDPSession, remote: BaseSDPSession) -> tuple[FrozenSDPSession, FrozenSDPSession]:
    """Both descriptions with as many media as the shorter has, and port 0 on both where one refused."""
    pair = FrozenSDPSession.new(local), FrozenSDPSession.new(remote)
    shared = list(zip(pair[0].media, pair[1].media, strict=False))
    ports = [bool(ours.port and theirs.port) for ours, theirs in shared]
    return _with_media(pair[0], ports), _with_media(pair[1], ports)


class Negotiator:
    """The exchange of offers and answers within one dialog.

    `state` goes from `idle` to `local_offer` or `remote_offer`, then to `done`; a later offer leaves `done` again. The
    `proposed_*` descriptions live as long as an offer is open, the `active_*` ones until the next is answered. Methods
    that do not fit the state raise SIPCoreInvalidStateError and change nothing.
    """

    def __init__(self) -> None:
        self.proposed_local: FrozenSDPSession | None = None
        self.proposed_remote: FrozenSDPSession | None = None
        self.active_local: FrozenSDPSession | None = None
        self.active_remote: FrozenSDPSession | None = None

    @property
    def state(self) -> str:
        """`idle`, `local_offer`, `remote_offer` or `done`."""
        if self.proposed_local is not None:
            return "local_offer"
        if self.proposed_remote is not None:
            return "remote_offer"
        return "idle" if self.active_local is None else "done"

    def set_local_offer(self, offer: BaseSDPSession) -> None:
        """We offer. Raises SDPNegotiationError when sections of the session so far are missing."""
        self._need_no_offer()
        _check_growth(self.active_local, offer)
        self.proposed_local = FrozenSDPSession.new(offer)

    def set_remote_offer(self, offer: BaseSDPSession) -> None:
        """The remote offers. Raises SDPNegotiationError when sections of the session so far are missing."""
        self._need_no_offer()
        _check_growth(self.active_remote, offer)
        self.proposed_remote = FrozenSDPSession.new(offer)

    def set_local_answer(self, local: BaseSDPSession) -> FrozenSDPSession:
        """We accept the remote's offer; returns the answer to send (see `make_answer`).

        Raises SDPNegotiationError and leaves the offer open when `local` does not fit it.
        """
        offer = self.proposed_remote
        if offer is None:
            raise SIPCoreInvalidStateError(f"nothing to answer: the remote has made no offer (state {self.state})")
        answer = make_answer(offer, local)
        self._finish(answer, offer)
        return answer

    def set_remote_answer(self, answer: BaseSDPSession) -> None:
        """The remote accepts our offer. Raises SDPNegotiationError, and drops the offer, when it cannot be right."""
        offer = self.proposed_local
        if offer is None:
            raise SIPCoreInvalidStateError(f"an answer without an offer of ours (state {self.state})")
        try:
            local = _answered_offer(offer, answer)
        except SDPNegotiationError:
            self.cancel()
            raise
        self._finish(local, FrozenSDPSession.new(answer))

    def cancel(self) -> None:
        """Drop the open offer, if any: it was refused, or its answer will not come."""
        self.proposed_local = self.proposed_remote = None

    def _finish(self, local: FrozenSDPSession, remote: FrozenSDPSession) -> None:
        self.active_local, self.active_remote = normalise(local, remote)
        self.cancel()

    def _need_no_offer(self) -> None:
        if self.proposed_local is not None or self.proposed_remote is not None:
            raise SIPCoreInvalidStateError(f"another offer has to be answered or cancelled first (state {self.state})")


def _renumbered(own: Codec, theirs: Codec) -> Codec:
    # The name as the offerer spells it, the parameters ours: they say what we want to receive.
    return Codec(theirs.payload_type, theirs.name, theirs.rate, theirs.channels, own.fmtp)


def _is_rtp(media: BaseSDPMediaStream) -> bool:
    return "RTP/" in media.transport.upper()


def _with_media(session: FrozenSDPSession, used: list[bool]) -> FrozenSDPSession:
    """The description with as many media, those that are not used with port 0."""
    media = session.media
    if len(media) == len(used) and all(use or not section.port for section, use in zip(media, used, strict=True)):
        return session
    sections = [section if use else _without_port(section) for section, use in zip(media, used, strict=False)]
    return replaced(session, media=frozenlist(sections))


def _without_port(media: FrozenSDPMediaStream) -> FrozenSDPMediaStream:
    return replaced(media, port=0) if media.port else media


def _limit_direction(media: FrozenSDPMediaStream, remote: str) -> FrozenSDPMediaStream:
    """The media with a direction that fits that of the remote; a new attribute goes last."""
    direction = intersect_direction(media.direction, remote)
    if direction == media.direction:
        return media
    others = [attribute for attribute in media.attributes if attribute.name not in DIRECTIONS]
    return replaced(media, attributes=frozenlist([*others, FrozenSDPAttribute(direction, "")]))


def _answer_media(offer: BaseSDPSession, local: FrozenSDPSession, index: int) -> FrozenSDPMediaStream:
    offered, own = offer.media[index], local.media[index]
    if not offered.port or not own.port:
        return _without_port(FrozenSDPMediaStream.new(offered))
    if _is_rtp(offered):
        return answer_audio(offered, own, direction_of(offer, index))
    return _limit_direction(own, direction_of(offer, index))


def _answered_offer(offer: FrozenSDPSession, answer: BaseSDPSession) -> FrozenSDPSession:
    """Our offer with the directions that the answer leaves of it. Raises SDPNegotiationError."""
    _check_sections(offer, answer)
    media = []
    for index, (own, theirs) in enumerate(zip(offer.media, answer.media, strict=True)):
        if not theirs.port:
            media.append(own)
            continue
        if not own.port:
            raise SDPNegotiationError(f"the answer accepts {own.media} in section {index}, which was not offered")
        if _is_rtp(own):
            # RFC 3264 6.1 lets an answer add formats of its own, but one of ours has to be among them.
            agreed_codecs(own, theirs)
        media.append(_limit_direction(own, direction_of(answer, index)))
    return replaced(offer, media=frozenlist(media))


def _check_sections(offer: BaseSDPSession, answer: BaseSDPSession) -> None:
    """Raise SDPNegotiationError unless the sections of both correspond (RFC 3264 6)."""
    if len(offer.media) != len(answer.media):
        raise SDPNegotiationError(f"an answer with {len(answer.media)} media to an offer with {len(offer.media)}")
    for index, (offered, answered) in enumerate(zip(offer.media, answer.media, strict=True)):
        if offered.media != answered.media:
            raise SDPNegotiationError(
                f"section {index} is {offered.media} in the offer, {answered.media} in the answer"
            )
        # A refused section is never used, so how it would have been carried does not matter.
        if offered.port and answered.port and offered.transport.upper() != answered.transport.upper():
            raise SDPNegotiationError(
                f"section {index} is carried by {offered.transport} in the offer, {answered.transport} in the answer"
            )


def _check_growth(active: FrozenSDPSession | None, offer: BaseSDPSession) -> None:
    """Raise SDPNegotiationError when a later offer has lost sections; a removed one keeps its place (RFC 3264 8)."""
    if active is not None and len(offer.media) < len(active.media):
        raise SDPNegotiationError(f"an offer with {len(offer.media)} media in a session that has {len(active.media)}")
