"""The list of all sessions, the door through which incoming ones arrive, and the end of them all."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from contextlib import suppress
from typing import Any

from zope.interface import implementer

from sipsimple.account import AccountManager
from sipsimple.core import Invitation
from sipsimple.loop import TaskOwner
from sipsimple.notification import IObserver, Notification, NotificationCenter
from sipsimple.session.events import AddressChanged
from sipsimple.session.incoming import offerable_streams, proposed_streams
from sipsimple.session.session import Session
from sipsimple.singleton import Singleton
from sipsimple.streams import MediaStreamRegistry

_BEGINNINGS = ("SIPSessionNewIncoming", "SIPSessionNewOutgoing")
_OTHERS = ("SIPInvitationChangedState", "SIPIncomingReferralGotReferRequest", "SystemIPAddressDidChange")
_ENDINGS = ("SIPSessionDidFail", "SIPSessionDidEnd")
_STREAM_ENDS = ("MediaStreamWillEnd", "MediaStreamDidEnd")


@implementer(IObserver)
class SessionManager(metaclass=Singleton):
    """Knows every active session and turns incoming invitations into sessions."""

    def __init__(self) -> None:
        self._sessions: dict[int, Session] = {}
        self._ending_streams: dict[int, object] = {}
        self._no_stream_is_ending = asyncio.Event()
        self._observing = False
        self._tasks = TaskOwner("SessionManager")

    @property
    def sessions(self) -> list[Session]:
        """The sessions between their announcement and their end; a copy."""
        return list(self._sessions.values())

    def start(self) -> None:
        """Begin to take incoming sessions."""
        if not self._observing:
            self._observing = True
            self._no_stream_is_ending = asyncio.Event()  # each run may have a loop of its own
            self._no_stream_is_ending.set()
            for name in (*_OTHERS, *_BEGINNINGS, *_ENDINGS, *_STREAM_ENDS):
                NotificationCenter().add_observer(self, name=name)

    async def stop(self, timeout: float = 2.0) -> None:
        """End every session with its streams, and take no more; returns after `timeout` seconds at most."""
        await self._tasks.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await asyncio.gather(*(_ended(session) for session in self.sessions), return_exceptions=True)
                # Streams go on writing what waits when their session has ended.
                if self._ending_streams:
                    await self._no_stream_is_ending.wait()
        for session in self.sessions:
            session._mailbox.close()
            await session._tasks.close()
        self._sessions.clear()
        self._ending_streams.clear()
        if self._observing:
            self._observing = False
            NotificationCenter().purge_observer(self)

    def handle_notification(self, notification: Notification) -> None:
        if notification.name in _BEGINNINGS:
            self._sessions[id(notification.sender)] = notification.sender  # type: ignore[assignment]
        elif notification.name in _ENDINGS:
            self._sessions.pop(id(notification.sender), None)
        elif notification.name in _STREAM_ENDS:
            self._follow_ending(notification)
        elif notification.name == "SystemIPAddressDidChange":
            for session in self.sessions:
                session._tell(AddressChanged())
        elif notification.name == "SIPIncomingReferralGotReferRequest":
            self._refer(notification.sender)
        elif notification.data.state == "incoming":
            self._take(notification.sender, notification.data)

    def _follow_ending(self, notification: Notification) -> None:
        stream = notification.sender
        if notification.name == "MediaStreamWillEnd":
            self._ending_streams[id(stream)] = stream
            self._no_stream_is_ending.clear()
            return
        self._ending_streams.pop(id(stream), None)
        if not self._ending_streams:
            self._no_stream_is_ending.set()

    def _take(self, invitation: Any, data: Any) -> None:
        assert isinstance(invitation, Invitation)
        account = AccountManager().find_account(data.request_uri)
        if account is None:
            invitation.send_response(404)
            return
        remote_sdp = invitation.sdp.proposed_remote
        media = () if remote_sdp is None else {section.media for section in remote_sdp.media}
        if not MediaStreamRegistry().is_loaded(*media):
            self._tasks.spawn(self._take_when_loaded(invitation, data, media))
            return
        streams = offerable_streams(account) if remote_sdp is None else proposed_streams(account, remote_sdp)
        if not streams:
            invitation.send_response(488)
            return
        replaced: Session | None = None
        if "Replaces" in data.headers:
            replaced = self._replaced(data.headers["Replaces"].body)
            if replaced is None:
                invitation.send_response(481)
                return
        # No 100: the transaction sends it by itself when no answer follows in 200 ms (RFC 3261 17.2.1).
        session = Session(account)
        session.replaced_session = replaced
        session._begin_incoming(invitation, streams)

    async def _take_when_loaded(self, invitation: Invitation, data: Any, media: Collection[str]) -> None:
        # The first stream of its kind: in this thread its modules would keep every call waiting.
        await asyncio.to_thread(MediaStreamRegistry().load, *media)
        if invitation.state == "incoming":
            self._take(invitation, data)

    def _replaced(self, replaces: str) -> Session | None:
        """The running session that a Replaces header means (RFC 3891 3)."""
        call_id, *parameters = (part.strip() for part in replaces.split(";"))
        tags = dict(parameter.partition("=")[::2] for parameter in parameters)
        for session in self.sessions:
            dialog = session._invitation._dialog if session._invitation is not None else None
            if dialog is not None and dialog.id == (call_id, tags.get("to-tag"), tags.get("from-tag")):
                # The dialog can be confirmed before all of our streams run.
                confirmed = session._invitation.state in ("connecting", "connected")
                return session if confirmed and session.state not in ("terminating", "terminated") else None
        return None

    def _refer(self, referral: Any) -> None:
        """Somebody asks for a transfer within a call; outside of one, the application has asked to be asked."""
        if referral.invitation is None:
            return
        for session in self.sessions:
            if session._invitation is referral.invitation:
                session._got_referral(referral)
                return
        referral.reject(603)


async def _ended(session: Session) -> None:
    await session.end()
