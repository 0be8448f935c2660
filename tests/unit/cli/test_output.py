"""What is printed: cleaned of what a terminal would obey, and in words."""

from __future__ import annotations

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipsimple.cli.config import Snapshot
from sipsimple.cli.output import CommandError, clean, clean_lines
from sipsimple.cli.status import Summary
from sipsimple.cli.trace import MAX_VALUE_LENGTH, describe, notification_text, parse_kinds, sip_text
from sipsimple.notification import Notification, TimestampedNotificationData

NOON = datetime(2026, 1, 2, 12, 0, 0, 5000)


@given(st.text())
def test_clean_text_is_printable_and_can_be_encoded(text):
    shown = clean(text)
    assert shown.isprintable() or not shown
    shown.encode("utf-8")


@pytest.mark.parametrize("hostile", ["\x1b[2J", "\x9b31m", "\u202eevil", "a\nb", "\x07", "\udcff", "\x00"])
def test_what_a_terminal_would_obey_is_escaped(hostile):
    assert hostile not in clean(hostile)
    assert "\\" in clean(hostile)


def test_plain_text_of_any_language_stays():
    assert clean("Zoë 電話 ✓ 'x'") == "Zoë 電話 ✓ 'x'"
    assert clean_lines("one\r\ntwo\x1b") == "one\ntwo\\x1b"


def test_kinds_of_traces():
    assert parse_kinds(None) == frozenset()
    assert parse_kinds("sip, notifications") == {"sip", "notifications"}
    with pytest.raises(CommandError, match="rtp cannot be traced"):
        parse_kinds("sip,rtp")


def test_a_sip_message_is_traced_with_its_direction():
    data = TimestampedNotificationData(
        timestamp=NOON, received=True, transport="UDP", data="OPTIONS sip:a SIP/2.0\r\nSubject: \x1b[2J\r\n",
        source_ip="192.0.2.1", source_port=5060, destination_ip="192.0.2.2", destination_port=5061,
    )  # fmt: skip
    assert sip_text(data) == (
        "12:00:00.005 192.0.2.2:5061 <-- 192.0.2.1:5060 UDP\nOPTIONS sip:a SIP/2.0\nSubject: \\x1b[2J\n"
    )
    data.received = False
    assert "192.0.2.1:5060 --> 192.0.2.2:5061" in sip_text(data)


class Nameless:
    pass


class Named:
    def __repr__(self) -> str:
        return "Named()"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "none"),
        (True, "True"),
        ("a\x07", "a\\x07"),
        ([1, None, Nameless()], "1, none, Nameless"),
        ([], "none"),
        (Named(), "Named()"),
        (ValueError("wrong"), "wrong"),
        ("x" * 500, "x" * MAX_VALUE_LENGTH + "…"),
    ],
)
def test_values_are_described_in_a_few_words(value, text):
    assert describe(value) == text


def test_a_notification_is_one_line():
    data = TimestampedNotificationData(timestamp=NOON, code=180, reason="Ring\ning")
    assert notification_text(Notification("SIPSessionGotRing", None, data)) == (
        "12:00:00.005 SIPSessionGotRing code=180 reason=Ring\\ning"
    )


def test_the_summary_of_a_call_that_never_had_audio():
    summary = Summary(None, None, 0)
    assert summary.loss_percent == 0
    assert summary.json()["packets_received"] == 0


def test_the_summary_counts_in_milliseconds():
    statistics = {
        "rtt": {"avg": 12_000},
        "rx": {"packets": 90, "packets_lost": 10, "jitter": {"avg": 1500, "max": 4000}, "mos": 4.2},
        "tx": {"packets": 100, "packets_lost": 3},
    }
    assert Summary("PCMU", statistics, 2).json() == {
        "codec": "PCMU",
        "seconds": 2,
        "packets_sent": 100,
        "packets_received": 90,
        "packets_lost": 10,
        "packets_lost_by_remote": 3,
        "loss_percent": 10,
        "jitter_ms": 1.5,
        "jitter_max_ms": 4,
        "round_trip_ms": 12,
        "mos": 4.2,
        "mos_remote": None,
    }


def test_a_snapshot_does_not_touch_what_it_was_made_of():
    stored = {"Accounts": {"alice@example.com": {"enabled": "true"}}, "SIPSimpleSettings": {"default_account": "x@y"}}
    snapshot = Snapshot(stored)
    assert snapshot.default_account is None
    guest = snapshot.add_guest("127.0.0.1")
    snapshot.without_devices()
    snapshot.set("sip.udp_port", "5066")
    assert stored["Accounts"] == {"alice@example.com": {"enabled": "true"}}
    data = snapshot.backend().load()
    assert data["Accounts"][guest] == {"enabled": "true", "registration": {"enabled": "false"}}
    assert data["Accounts"]["alice@example.com"]["enabled"] == "false"
    assert data["SIPSimpleSettings"]["sip"] == {"udp_port": "5066"}
    assert data["SIPSimpleSettings"]["audio"]["input_device"] is None
