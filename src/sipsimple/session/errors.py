"""What can go wrong with a session, as exceptions.

IllegalStateError       a method was called in a state that does not allow it (RuntimeError)
SessionError            the session is over; raised by `await`
  SessionDidFail        it ended before it started
  SessionDidEnd         it had started
"""

from __future__ import annotations


class IllegalStateError(RuntimeError):
    """A method of a session was called in a state that does not allow it."""

    def __init__(self, method: str, state: str | None) -> None:
        super().__init__(f"Session.{method}() cannot be called in the state {state}")
        self.method = method
        self.state = state


class SessionError(Exception):
    """The session is over."""


class SessionDidFail(SessionError):
    """The session ended before it started; carries what the notification `SIPSessionDidFail` carries.

    `originator` is "local" or "remote"; `code` is the SIP status, 0 when no response was involved; `reason` its text
    or None; `failure_reason` says why in words.
    """

    def __init__(self, originator: str, code: int, reason: str | None, failure_reason: str) -> None:
        status = f"{code} {reason}" if code else "no response"
        super().__init__(f"the session failed: {status} ({failure_reason}, by the {originator} party)")
        self.originator = originator
        self.code = code
        self.reason = reason
        self.failure_reason = failure_reason


class SessionDidEnd(SessionError):
    """The session ended while something was still expected of it; carries the data of `SIPSessionDidEnd`."""

    def __init__(self, originator: str, end_reason: str) -> None:
        super().__init__(f"the session was ended by the {originator} party: {end_reason}")
        self.originator = originator
        self.end_reason = end_reason


class TransferDidFail(Exception):
    """The other party did not call whom it was asked to; carries what `SIPSessionTransferDidFail` carries.

    `code` is the SIP status of its answer or of its call, 0 when there was none.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"the transfer failed: {code} {reason}" if code else f"the transfer failed: {reason}")
        self.code = code
        self.reason = reason
