"""The session timer with a jumping clock, and its header."""

from __future__ import annotations

import pytest

from sipsimple.sip.errors import MalformedMessage
from sipsimple.sip.message import Headers, Response
from sipsimple.sip.session_timer import SessionExpires, SessionTimer, min_se_of, session_expires_of


class User:
    def __init__(self) -> None:
        self.now = 0.0
        self.told: list[tuple[str, float]] = []

    def on_refresh_due(self) -> None:
        self.told.append(("refresh", self.now))

    def on_session_expired(self) -> None:
        self.told.append(("expired", self.now))


def run(timer: SessionTimer, user: User, until: float) -> list[tuple[str, float]]:
    while (when := timer.next_wake()) is not None and when <= until:
        user.now = when
        timer.wake(when)
    return user.told


def message(**headers: str) -> Response:
    fields = Headers()
    for name, value in headers.items():
        fields.add(name.replace("_", "-"), value)
    return Response(422, "x", fields)


def test_refresher_refreshes_at_half_the_time_and_gives_up_shortly_before_the_end():
    user = User()
    timer = SessionTimer(user)
    timer.agree(1800, True, 0.0)
    assert run(timer, user, 10_000) == [("refresh", 900.0), ("expired", 1768.0)]
    assert timer.next_wake() is None


def test_other_side_only_watches_and_short_sessions_have_a_margin_of_a_third():
    user = User()
    timer = SessionTimer(user)
    timer.agree(90, False, 0.0)
    assert run(timer, user, 10_000) == [("expired", 60.0)]


def test_refresh_starts_the_time_anew_and_a_failed_one_is_tried_again_while_there_is_time():
    user = User()
    timer = SessionTimer(user)
    timer.agree(1800, True, 0.0)
    run(timer, user, 900)
    timer.agree(1800, True, 900.0)
    run(timer, user, 1800)
    timer.postpone(1800.0)
    run(timer, user, 2300)
    assert user.told == [("refresh", 900.0), ("refresh", 1800.0), ("refresh", 2234.0)]
    timer.stop()
    timer.wake(5000.0)
    timer.postpone(5000.0)
    assert (timer.next_wake(), len(user.told)) == (None, 3)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1800", SessionExpires(1800)),
        ("90;refresher=uas", SessionExpires(90, "uas")),
        (" 90 ; Refresher=UAC;x=y", SessionExpires(90, "uac")),
        ("90;refresher=proxy", SessionExpires(90)),
    ],
)
def test_header_is_read(text, value):
    assert SessionExpires.parse(text) == value
    assert SessionExpires.parse(str(value)) == value


def test_header_that_cannot_be_read_is_none():
    with pytest.raises(MalformedMessage):
        SessionExpires.parse("soon")
    assert session_expires_of(message(Session_Expires="soon")) is None
    assert session_expires_of(message()) is None
    assert session_expires_of(message(Session_Expires="60")) == SessionExpires(60)
    assert min_se_of(message()) is None
    assert min_se_of(message(Min_SE="x")) is None
    assert min_se_of(message(Min_SE="120;x=y")) == 120
