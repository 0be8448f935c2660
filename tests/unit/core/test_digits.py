"""Digits in the bodies of INFO."""

from __future__ import annotations

import pytest

from sipsimple.core.digits import DTMF, DTMF_RELAY, digit_body, digit_in


@pytest.mark.parametrize("digit", "0123456789*#ABCD")
def test_what_is_written_is_read(digit):
    assert digit_in(*digit_body(digit)) == digit


@pytest.mark.parametrize(
    ("content_type", "body", "digit"),
    [
        (DTMF_RELAY, b"Signal=5\r\nDuration=160", "5"),
        (DTMF_RELAY, b"Signal= 11\r\nDuration= 250\r\n", "#"),
        (DTMF_RELAY, b"duration=1\nsignal=c", "C"),
        (DTMF_RELAY, b"Signal=16\r\n", None),
        (DTMF_RELAY, b"Signal=555\r\n", None),
        (DTMF_RELAY, b"Signal=5*\r\n", None),
        (DTMF_RELAY, b"5", None),
        (DTMF_RELAY, b"\xff\x00" * 1000, None),
        (DTMF, b"5", "5"),
        (DTMF, b" 10\r\n", "*"),
        (DTMF, b"Signal=8\r\n", "8"),
        (DTMF, b"16", None),
        (DTMF, b"", None),
    ],
)
def test_bodies_in_use(content_type, body, digit):
    assert digit_in(content_type, body) == digit
