"""What a chat with a conference can do besides (RFC 7701): nicknames, and messages for some of the participants.

The party that is the conference says what it knows in `a=chatroom`; the other one says nothing and asks.
"""

from __future__ import annotations

import re
import secrets
from typing import Any, Final

from sipsimple.core import SDPAttribute
from sipsimple.loop import run_in_loop
from sipsimple.msrp import MSRPData, SessionClosed
from sipsimple.streams.msrp.base import MSRPStreamBase
from sipsimple.streams.msrp.connecting import MSRPStreamError

__all__ = ["MAX_NICKNAME_LENGTH", "ChatStreamError", "ChatroomStream"]

MAX_NICKNAME_LENGTH: Final = 1023
"""Octets (RFC 7701 7.1)."""

_FORBIDDEN: Final = 403
_TIMEOUT: Final = 408
_MALFORMED_NICKNAME: Final = 424
_METHOD_UNKNOWN: Final = 501
_NICKNAME: Final = re.compile(r'"((?:[^"\\\x00-\x1f\x7f]|\\[^\x00-\x1f\x7f])*)"')


class ChatStreamError(MSRPStreamError):
    """Something cannot be sent like this; the text says why."""


class ChatroomStream(MSRPStreamBase):
    """Either side of a chat with a conference.

    Who is the conference sets `chatroom_capabilities` (`nickname`, `private-messages`) before `initialize`.
    """

    def __init__(self, account: Any, direction: str = "sendrecv") -> None:
        super().__init__(account, direction)
        self.chatroom_capabilities: list[str] = []
        self.remote_capabilities: frozenset[str] = frozenset()
        """The words of the remote's `a=chatroom` (RFC 7701 8); known at the start."""

    @property
    def private_messages_allowed(self) -> bool:
        """Whether a message may be for somebody else than the remote: the remote is a conference that passes it on."""
        return self.cpim_enabled and "private-messages" in self.remote_capabilities

    @property
    def nickname_allowed(self) -> bool:
        """Whether the remote is a conference in which we may have a nickname."""
        return "nickname" in self.remote_capabilities

    def _sdp_attributes(self, for_offer: bool) -> list[Any]:
        capabilities = self.chatroom_capabilities
        return [SDPAttribute("chatroom", " ".join(capabilities))] if capabilities else []

    def _negotiated(self, local_media: Any, remote_media: Any) -> None:
        words = (remote_media.attributes.getfirst("chatroom") or "").split()
        self.remote_capabilities = frozenset(word.lower() for word in words)

    def set_local_nickname(self, nickname: str) -> str:
        """Ask the conference for a nickname, or with the empty text to forget ours; returns the id of the request.

        `ChatStreamDidSetNickname` or `ChatStreamDidNotSetNickname` follows, with that id as `message_id`. Raises
        ChatStreamError when the remote is no conference that knows nicknames, ValueError for what can be none.
        """
        if self.state != "STARTED" or not self.nickname_allowed:
            raise ChatStreamError("the remote does not know nicknames")
        quoted = _quoted(nickname)
        request_id = secrets.token_hex(8)
        run_in_loop(self._ask_for_nickname, request_id, nickname, quoted)
        return request_id

    def _ask_for_nickname(self, request_id: str, nickname: str, quoted: str) -> None:
        self._spawn(self._set_nickname(request_id, nickname, quoted))

    async def _set_nickname(self, request_id: str, nickname: str, quoted: str) -> None:
        response: MSRPData | None = None
        reason = "the stream has ended"
        try:
            if self.msrp_session is not None and self.state == "STARTED":
                response = await self.msrp_session.request("NICKNAME", {"Use-Nickname": quoted})
                reason = "the remote did not answer"
        except SessionClosed as error:
            reason = str(error)
        finally:
            known = {"message_id": request_id, "nickname": nickname, "response": response}
            if response is not None and response.code == 200:
                self._post("ChatStreamDidSetNickname", **known)
            else:
                code = _TIMEOUT if response is None or response.code is None else response.code
                text = reason if response is None else response.comment or ""
                self._post("ChatStreamDidNotSetNickname", code=code, reason=text, **known)

    def _handle_NICKNAME(self, chunk: MSRPData) -> None:
        assert self.msrp_session is not None  # it is what the request came by
        match = _NICKNAME.fullmatch(chunk.headers.get("Use-Nickname", ""))
        if "nickname" not in self.chatroom_capabilities:
            self.msrp_session.respond(chunk, _METHOD_UNKNOWN)
        elif match is None or len(match[1].encode()) > MAX_NICKNAME_LENGTH:
            self.msrp_session.respond(chunk, _MALFORMED_NICKNAME)
        else:
            nickname = re.sub(r"\\(.)", r"\1", match[1])
            self._post("ChatStreamGotNicknameRequest", nickname=nickname, chunk=chunk)

    def accept_nickname(self, chunk: MSRPData) -> None:
        """Grant what `ChatStreamGotNicknameRequest` asked for."""
        run_in_loop(self._answer, chunk, 200, None)

    def reject_nickname(self, chunk: MSRPData, code: int = _FORBIDDEN, reason: str | None = None) -> None:
        """Refuse what `ChatStreamGotNicknameRequest` asked for; 425 says that somebody else has the name."""
        run_in_loop(self._answer, chunk, code, reason)

    def _answer(self, chunk: MSRPData, code: int, reason: str | None) -> None:
        if self.msrp_session is not None and self.state == "STARTED":
            self.msrp_session.respond(chunk, code, reason)


def _quoted(nickname: str) -> str:
    """The value of Use-Nickname; raises ValueError for what can be no nickname."""
    if len(nickname.encode()) > MAX_NICKNAME_LENGTH or any(not character.isprintable() for character in nickname):
        raise ValueError(f"a nickname is printable text of at most {MAX_NICKNAME_LENGTH} octets: {nickname[:60]!r}")
    escaped = nickname.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
