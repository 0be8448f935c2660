"""Targets and proxies as people type them."""

from __future__ import annotations

import pytest

from sipsimple.cli.output import CommandError
from sipsimple.cli.target import local_address_for, parse_proxy, parse_target, proxy_uri


@pytest.mark.parametrize(
    ("typed", "domain", "uri"),
    [
        ("sip:bob@example.com", None, "sip:bob@example.com"),
        ("sips:bob@example.com", None, "sips:bob@example.com"),
        ("SIP:bob@example.com", None, "sip:bob@example.com"),
        ("bob@example.com", None, "sip:bob@example.com"),
        ("bob", "example.com", "sip:bob@example.com"),
        ("+15551234", "example.com", "sip:+15551234@example.com"),
        (" sip:192.0.2.1:5070 ", None, "sip:192.0.2.1:5070"),
        ("192.0.2.1", "example.com", "sip:192.0.2.1"),
        ("localhost:5070;transport=tcp", None, "sip:localhost:5070;transport=tcp"),
        ("sip:[::1]:5070", None, "sip:[::1]:5070"),
    ],
)
def test_targets_are_completed(typed, domain, uri):
    assert str(parse_target(typed, domain)) == uri


@pytest.mark.parametrize(
    ("typed", "advice"),
    [("bob", "--account"), ("", "no domain"), ("sip:", "no SIP address"), ("bob@a b", "no SIP address")],
)
def test_what_is_no_target_is_refused(typed, advice):
    with pytest.raises(CommandError, match=advice):
        parse_target(typed, None)


def test_what_is_refused_is_shown_without_control_characters():
    with pytest.raises(CommandError) as caught:
        parse_target("sip:\x1b[2J", None)
    assert "\x1b" not in caught.value.message


@pytest.mark.parametrize(
    ("typed", "uri"),
    [
        ("192.0.2.1", "sip:192.0.2.1:5060;transport=udp"),
        ("proxy.example.com:5070;transport=tcp", "sip:proxy.example.com:5070;transport=tcp"),
        ("[::1]:5070", "sip:[::1]:5070;transport=udp"),
    ],
)
def test_proxies_become_uris(typed, uri):
    assert str(proxy_uri(parse_proxy(typed))) == uri


@pytest.mark.parametrize("typed", ["", "host:port", "host;transport=pigeon"])
def test_what_is_no_proxy_is_refused(typed):
    with pytest.raises(CommandError, match="proxy"):
        parse_proxy(typed)


def test_the_local_address_is_known_for_literals_only():
    assert local_address_for("127.0.0.1") == local_address_for("localhost") == "127.0.0.1"
    assert local_address_for("example.com") is None
