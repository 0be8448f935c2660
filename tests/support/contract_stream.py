"""A media stream written from the documented interface alone: it carries nothing, and does what a test tells it."""

from __future__ import annotations

from typing import Any

from zope.interface import implementer

from sipsimple.core import SDPAttribute, SDPMediaStream
from sipsimple.notification import NotificationCenter, TimestampedNotificationData
from sipsimple.streams import IMediaStream, MediaStreamRegistrar


@implementer(IMediaStream)
class ContractStream(metaclass=MediaStreamRegistrar):
    """Offers `m=<media>`; `fails` names a method that fails, `slow` those that do not answer by themselves."""

    type = "contract"
    priority = 5
    media = "x-contract"
    hold_supported = True
    offered: list[ContractStream] = []
    fails: str | None = None
    slow: frozenset[str] = frozenset()
    acceptable = True

    def __init__(self, account: Any, **script: Any) -> None:
        self.account = account
        self.calls: list[str] = []
        self.index: int | None = None
        self.on_hold_by_local = False
        self.on_hold_by_remote = False
        self._wants_hold = False
        for name, value in script.items():
            setattr(self, name, value)

    @classmethod
    def new_from_sdp(cls, account: Any, remote_sdp: Any, stream_index: int) -> ContractStream | None:
        if remote_sdp.media[stream_index].media != cls.media:
            return None
        stream = cls(account)
        cls.offered.append(stream)
        return stream

    @property
    def on_hold(self) -> bool:
        return self.on_hold_by_local or self.on_hold_by_remote

    def tell(self, name: str, **more: Any) -> None:
        NotificationCenter().post_notification(name, self, TimestampedNotificationData(**more))

    def break_down(self, reason: str = "it broke") -> None:
        self.tell("MediaStreamDidFail", reason=reason)

    def _done(self, method: str, success: str) -> None:
        self.calls.append(method)
        if self.fails == method:
            self.break_down(f"{method} failed")
        elif method not in self.slow:
            self.tell(success)

    def initialize(self, session: Any, direction: str) -> None:
        self.session = session
        self.direction = direction
        self._done("initialize", "MediaStreamDidInitialize")

    def get_local_media(self, for_offer: bool) -> SDPMediaStream:
        direction = "sendonly" if self._wants_hold else "sendrecv"
        attributes = [SDPAttribute(direction, "")]
        return SDPMediaStream(self.media, 9, "TCP/X", formats=["*"], attributes=attributes)

    def start(self, local_sdp: Any, remote_sdp: Any, stream_index: int) -> None:
        self._follow(local_sdp, remote_sdp, stream_index)
        self._done("start", "MediaStreamDidStart")

    def validate_update(self, remote_sdp: Any, stream_index: int) -> bool:
        return self.acceptable

    def update(self, local_sdp: Any, remote_sdp: Any, stream_index: int) -> None:
        self.calls.append("update")
        self._follow(local_sdp, remote_sdp, stream_index)

    def _follow(self, local_sdp: Any, remote_sdp: Any, index: int) -> None:
        self.on_hold_by_local = local_sdp.media[index].direction in ("sendonly", "inactive")
        self.on_hold_by_remote = remote_sdp.media[index].direction in ("sendonly", "inactive")

    def hold(self) -> None:
        self.calls.append("hold")
        self._wants_hold = True

    def unhold(self) -> None:
        self.calls.append("unhold")
        self._wants_hold = False

    def deactivate(self) -> None:
        self.calls.append("deactivate")

    def end(self) -> None:
        self.calls.append("end")
        self.tell("MediaStreamWillEnd")
        self.tell("MediaStreamDidEnd")
