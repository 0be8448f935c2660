"""What is refused before anybody is told of it: demands, contacts and answers that lead nowhere."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.raw_peer import RawPeer

NOT_REACHABLE = ["*", "<tel:+15550100>", "<mailto:a@example.org>", ""]
EVENTS = {"SUBSCRIBE": "Event: presence\n", "REFER": "Refer-To: <sip:a@example.org>\n", "INVITE": ""}


class ContactPeer(RawPeer):
    """Writes another Contact than its own, or none."""

    contact = ""

    def send(self, text: str, body: str = "", content_type: str = "application/sdp") -> None:
        own = f"Contact: <sip:raw@127.0.0.1:{self.port}>\n"
        super().send(text.replace(own, f"Contact: {self.contact}\n" if self.contact else ""), body, content_type)


@pytest.mark.parametrize("method", EVENTS)
@pytest.mark.parametrize("contact", NOT_REACHABLE)
async def test_nobody_makes_a_dialog_whom_no_request_could_reach(
    engine: Any, record: Any, method: str, contact: str
) -> None:
    engine.add_incoming_event("presence")
    engine.add_event("refer", ["message/sipfrag"])
    engine.add_incoming_event("refer")
    with ContactPeer() as peer:
        peer.contact = contact
        peer.request(method, headers=EVENTS[method])
        await peer.response(400)
    assert [n.name for n in record.all if "Incoming" in n.name or "Invitation" in n.name] == []


@pytest.mark.parametrize("method", ["INVITE", "OPTIONS", "MESSAGE", "BYE"])
async def test_an_extension_that_is_required_and_unknown_is_refused(engine: Any, method: str) -> None:
    with RawPeer() as peer:
        peer.request(method, headers="Require: timer, teleportation\nRequire: levitation\n")
        assert (await peer.response(420)).headers.get("Unsupported") == "teleportation, levitation"


@pytest.mark.parametrize(
    ("accept", "code"),
    [("text/plain", 406), ("text/plain, application/sdp;level=1", None), ("*/*", None), ("application/*", None)],
)
async def test_a_caller_has_to_take_descriptions(engine: Any, record: Any, accept: str, code: int | None) -> None:
    with RawPeer() as peer:
        peer.request("INVITE", headers=f"Accept: {accept}\n")
        if code is not None:
            await peer.response(code)
            return
        await peer.response(100)
        states = [n for n in record.all if n.name == "SIPInvitationChangedState"]
        assert [n.data.state for n in states] == ["incoming"]
        states[0].sender.send_response(486)
        peer.request("ACK", cseq=1)
