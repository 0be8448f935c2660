"""The flow of an established session: it lasts until somebody ends it."""

from __future__ import annotations

from sipsimple.session.events import DialogChanged, EndRequested, StreamFailed
from sipsimple.session.flow import CallFlow


async def converse(call: CallFlow) -> None:
    """Run an established session to its end."""
    while True:
        match await call.next():
            case EndRequested():
                await call.hang_up("user_request")
                return
            case DialogChanged(state="disconnected", data=data):
                await call.remote_hung_up(data)
                return
            case StreamFailed(stream, reason) if stream in call.streams:
                await call.hang_up(f"media stream failed: {reason}")
                return
