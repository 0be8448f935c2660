"""Session descriptions and their media, as values and as text (RFC 4566).

The text has the lines v, o, s, i, c, t, a and for each media m, i, c, a. Other lines (bandwidth, time zones, keys,
contacts) are accepted and not kept.
"""

from __future__ import annotations

import time
from functools import cached_property, lru_cache
from typing import Any, Final

from sipsimple.sip.frozen import Frozen, Mutable, Twin, frozenlist
from sipsimple.sip.sdp.attributes import (
    AttributeList,
    BaseSDPConnection,
    FrozenAttributeList,
    FrozenSDPConnection,
    attribute_list,
    line_text,
    line_text_or_none,
    members,
    unsigned,
    word,
    words,
)
from sipsimple.sip.sdp.reader import MAX_FORMATS, MAX_MEDIA, media_fields, sections, session_fields

__all__ = [
    "BaseSDPMediaStream",
    "BaseSDPSession",
    "FrozenSDPMediaStream",
    "FrozenSDPSession",
    "SDPMediaStream",
    "SDPSession",
]

MAX_REMEMBERED: Final = 128
"""Descriptions that are known without being read again, when they are no longer than this:"""
MAX_REMEMBERED_SIZE: Final = 2048  # octets

NTP_EPOCH: Final = 2208988800  # seconds from 1900, where NTP begins, to 1970
DIRECTIONS: Final = ("sendrecv", "sendonly", "recvonly", "inactive")
_ICE: Final = ("ice-pwd", "ice-ufrag", "candidate")


def port_number(name: str, value: Any, frozen: bool) -> int:
    """Rule: a port; 0 stands for a media that is refused or removed."""
    port = unsigned(name, value, frozen)
    if port > 65535:
        raise ValueError(f"{name} must be between 0 and 65535, not {port}")
    return port


def connection_or_none(name: str, value: Any, frozen: bool) -> BaseSDPConnection | None:
    """Rule: a connection of the owner's kind, or `None`."""
    wanted = FrozenSDPConnection if frozen else BaseSDPConnection
    if value is not None and not isinstance(value, wanted):
        raise TypeError(f"{name} must be a {wanted.__name__} or None, not {type(value).__name__}")
    return value


class BaseSDPMediaStream(Twin):
    """One media of a session: the `m=` line and what follows it."""

    _rules = {
        "media": word,
        "port": port_number,
        "transport": word,
        "port_count": unsigned,
        "formats": words(MAX_FORMATS),
        "info": line_text_or_none,
        "connection": connection_or_none,
        "attributes": attribute_list,
    }
    _compared = ("media", "port", "port_count", "transport", "formats", "connection", "attributes")
    _lists = ("formats", "attributes")

    media: str
    port: int
    transport: str
    port_count: int
    formats: list[str] | frozenlist[str]
    info: str | None
    connection: BaseSDPConnection | None
    attributes: AttributeList | FrozenAttributeList

    def __init__(  # the documented order
        self,
        media: str,
        port: int,
        transport: str,
        port_count: int = 1,
        formats: list[str] | frozenlist[str] | None = None,
        info: str | None = None,
        connection: BaseSDPConnection | None = None,
        attributes: list[Any] | frozenlist[Any] | None = None,
    ) -> None:
        self._fill(
            media=media,
            port=port,
            transport=transport,
            port_count=port_count,
            formats=frozenlist() if formats is None else formats,
            info=info,
            connection=connection,
            attributes=frozenlist() if attributes is None else attributes,
        )

    @property
    def direction(self) -> str:
        """The first direction among the attributes of this media, `sendrecv` without one."""
        return next((attribute.name for attribute in self.attributes if attribute.name in DIRECTIONS), "sendrecv")

    @property
    def has_ice_proposal(self) -> bool:
        """Whether the media carries credentials and at least one candidate for ICE."""
        return all(name in self.attributes for name in _ICE)

    def __str__(self) -> str:
        return f'<{type(self).__name__} for "{self.media}" on port {self.port}>'

    def _lines(self) -> list[str]:
        port = str(self.port) if self.port_count == 1 else f"{self.port}/{self.port_count}"
        return [" ".join([f"m={self.media}", port, self.transport, *self.formats]), *_common_lines(self)]


class SDPMediaStream(Mutable, BaseSDPMediaStream):
    """A media that may be changed."""

    formats: list[str]
    attributes: AttributeList


class FrozenSDPMediaStream(Frozen, BaseSDPMediaStream, normal=SDPMediaStream):
    """A media that never changes."""

    formats: frozenlist[str]
    attributes: FrozenAttributeList
    connection: FrozenSDPConnection | None


class BaseSDPSession(Twin):
    """A session description."""

    _rules = {
        "address": word,
        "id": unsigned,
        "version": unsigned,
        "user": word,
        "net_type": word,
        "address_type": word,
        "name": line_text,
        "info": line_text_or_none,
        "connection": connection_or_none,
        "start_time": unsigned,
        "stop_time": unsigned,
        "attributes": attribute_list,
        "media": members(BaseSDPMediaStream, MAX_MEDIA),
    }
    _compared = (
        *("id", "version", "user", "net_type", "address_type", "address", "name", "connection"),
        *("start_time", "stop_time", "attributes", "media"),
    )
    _lists = ("attributes", "media")

    address: str
    id: int
    version: int
    user: str
    net_type: str
    address_type: str
    name: str
    info: str | None
    connection: BaseSDPConnection | None
    start_time: int
    stop_time: int
    attributes: AttributeList | FrozenAttributeList
    media: list[Any] | frozenlist[FrozenSDPMediaStream]

    def __init__(  # the documented order
        self,
        address: str,
        id: int | None = None,
        version: int | None = None,
        user: str = "-",
        net_type: str = "IN",
        address_type: str = "IP4",
        name: str = " ",
        info: str | None = None,
        connection: BaseSDPConnection | None = None,
        start_time: int = 0,
        stop_time: int = 0,
        attributes: list[Any] | frozenlist[Any] | None = None,
        media: list[Any] | frozenlist[Any] | None = None,
    ) -> None:
        now = int(time.time()) + NTP_EPOCH
        self._fill(
            address=address,
            id=now if id is None else id,
            version=now if version is None else version,
            user=user,
            net_type=net_type,
            address_type=address_type,
            name=name,
            info=info,
            connection=connection,
            start_time=start_time,
            stop_time=stop_time,
            attributes=frozenlist() if attributes is None else attributes,
            media=frozenlist() if media is None else media,
        )

    @property
    def has_ice_proposal(self) -> bool:
        """Whether the credentials and candidates of ICE stand at session level, or in one audio media."""
        if all(name in self.attributes for name in _ICE):
            return True
        return any(media.media == "audio" and media.has_ice_proposal for media in self.media)

    def encode(self) -> bytes:
        """The description as it goes into the body of a message.

        Raises what the constructors raise when a list was filled with what does not belong there.
        """
        return FrozenSDPSession.new(self)._encoded

    def __str__(self) -> str:
        return f'<{type(self).__name__} for "{self.address}": {", ".join(str(media) for media in self.media)}>'

    def _lines(self) -> list[str]:
        lines = [
            "v=0",
            f"o={self.user} {self.id} {self.version} {self.net_type} {self.address_type} {self.address}",
            f"s={self.name}",
            *_common_lines(self, f"t={self.start_time} {self.stop_time}"),
        ]
        for media in self.media:
            lines += media._lines()
        return lines


class SDPSession(Mutable, BaseSDPSession):
    """A session description that may be changed."""

    attributes: AttributeList
    media: list[Any]


class FrozenSDPSession(Frozen, BaseSDPSession, normal=SDPSession):
    """A session description that never changes."""

    attributes: FrozenAttributeList
    media: frozenlist[FrozenSDPMediaStream]
    connection: FrozenSDPConnection | None

    @cached_property
    def _encoded(self) -> bytes:
        return "\r\n".join([*self._lines(), ""]).encode("utf-8", "surrogateescape")

    @classmethod
    def parse(cls, data: bytes) -> FrozenSDPSession:
        """Read a description, leniently: bare line feeds, lines out of order, missing `s=` and `t=` are accepted.

        Raises MalformedSDP and nothing else, whatever the octets.
        """
        # Offers that only refresh a session, and descriptions that are passed on, come again as they were.
        # Keys come once, and are not kept longer than the call.
        once = len(data) > MAX_REMEMBERED_SIZE or b"\na=crypto:" in data
        return _read_session(data) if once else _known_session(data)


def _read_session(data: bytes) -> FrozenSDPSession:
    session, *media = sections(data)
    streams = [FrozenSDPMediaStream._adopt(media_fields(lines)) for lines in media]
    return FrozenSDPSession._adopt(session_fields(session) | {"media": frozenlist(streams)})


_known_session: Final = lru_cache(maxsize=MAX_REMEMBERED)(_read_session)


def _common_lines(owner: BaseSDPSession | BaseSDPMediaStream, timing: str | None = None) -> list[str]:
    lines = []
    if owner.info is not None:
        lines.append(f"i={owner.info}")
    if owner.connection is not None:
        lines.append(f"c={owner.connection}")
    if timing is not None:
        lines.append(timing)
    return lines + [f"a={attribute}" for attribute in owner.attributes]
