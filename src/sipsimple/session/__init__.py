"""SIP sessions (the contract's `sipsimple.session`)."""

from sipsimple.session.errors import IllegalStateError, SessionDidEnd, SessionDidFail, SessionError, TransferDidFail
from sipsimple.session.manager import SessionManager
from sipsimple.session.session import Session

__all__ = [
    "IllegalStateError",
    "Session",
    "SessionDidEnd",
    "SessionDidFail",
    "SessionError",
    "SessionManager",
    "TransferDidFail",
]
