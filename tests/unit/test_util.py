"""Routes, timestamps, multilingual texts and small functions."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta, timezone

import pytest

from sipsimple.util import MultilingualText, Route, Timestamp, classproperty, combinations, limit, makedirs


@pytest.mark.spec(15, 16)
def test_route_has_the_port_of_its_transport():
    assert Route("192.0.2.1").port == 5060
    assert Route("192.0.2.1", transport="TLS").port == 5061
    assert Route("192.0.2.1", "5070").port == 5070
    route = Route("192.0.2.1", transport="tcp")
    route.transport = "Tls"
    assert (route.transport, route.port) == ("tls", 5061)


@pytest.mark.parametrize("address", ["example.com", "", None, "1.2.3", "1.2.3.4.5", 5])
def test_route_wants_an_address(address):
    with pytest.raises(ValueError):
        Route(address)


@pytest.mark.spec(17)
@pytest.mark.parametrize("port", [0, 65536, -1, "x", object()])
def test_route_wants_a_port_number(port):
    with pytest.raises(ValueError):
        Route("192.0.2.1", port)


@pytest.mark.spec(18)
def test_route_wants_a_transport():
    with pytest.raises(ValueError):
        Route("192.0.2.1", transport="sctp")


@pytest.mark.spec(19)
def test_route_uri_leaves_defaults_out():
    assert str(Route("1.2.3.4", 1234, "tls").get_uri()) == "sip:1.2.3.4:1234;transport=tls"
    assert str(Route("1.2.3.4", 5061, "tls").get_uri()) == "sip:1.2.3.4;transport=tls"
    assert str(Route("1.2.3.4", 5060).get_uri()) == "sip:1.2.3.4"
    assert str(Route("[2001:db8::1]").get_uri()) == "sip:[2001:db8::1]"


def test_route_shows_itself():
    assert str(Route("1.2.3.4")) == "sip:1.2.3.4:5060;transport=udp"
    assert repr(Route("1.2.3.4")) == "Route('1.2.3.4', 5060, 'udp')"
    assert Route("1.2.3.4") == Route("1.2.3.4", 5060, "UDP") != Route("1.2.3.5")


def test_timestamp_reads_what_it_writes():
    moment = datetime(2024, 2, 29, 12, 30, 15, 999)
    text = Timestamp.format(moment)
    assert "." not in text
    assert Timestamp.parse(text) == moment.replace(microsecond=0)
    assert isinstance(Timestamp.parse(text), Timestamp)


def test_timestamp_reads_any_offset():
    assert Timestamp.parse("2024-01-01T12:00:00Z") == Timestamp.parse("2024-01-01T14:00:00+02:00")
    aware = datetime(2024, 1, 1, 12, tzinfo=timezone(timedelta(hours=-3)))
    assert Timestamp.parse(Timestamp.format(aware)) == aware.astimezone().replace(tzinfo=None)
    with pytest.raises(ValueError):
        Timestamp.parse("yesterday")


def test_timestamp_offset_is_that_of_the_clock():
    assert Timestamp.utc_offset() * 60 == datetime.now(UTC).astimezone().utcoffset().total_seconds()


def test_multilingual_text_is_its_default():
    text = MultilingualText("Room", de="Zimmer")
    assert text == "Room"
    assert text.translations == {"de": "Zimmer"}
    assert (text.get_translation("de"), text.get_translation("fr")) == ("Zimmer", "Room")


def test_limit_keeps_within():
    assert [limit(value, min=1, max=3) for value in (0, 2, 5)] == [1, 2, 3]
    assert limit(7) == 7


def test_makedirs_accepts_what_exists(tmp_path):
    path = tmp_path / "a" / "b"
    makedirs(path)
    makedirs(path)
    assert os.path.isdir(path)


def test_combinations_are_unordered_pairs():
    assert list(combinations("abc", 2)) == [("a", "b"), ("a", "c"), ("b", "c")]


def test_classproperty_belongs_to_the_class():
    class Shape:
        @classproperty
        def label(cls):
            return cls.__name__.lower()

    assert (Shape.label, Shape().label) == ("shape", "shape")
    with pytest.raises(AttributeError):
        Shape().label = "x"


def test_a_tls_route_with_a_domain_names_it_with_the_address_beside():
    assert str(Route("192.0.2.1", 5071, "tls", "example.org").get_uri()) == (
        "sip:example.org:5071;transport=tls;maddr=192.0.2.1"
    )
    assert str(Route("2001:db8::1", None, "tls", "example.org").get_uri()) == (
        "sip:example.org;transport=tls;maddr=[2001:db8::1]"
    )
    # Without TLS nobody proves anything, so the address does.
    assert str(Route("192.0.2.1", None, "tcp", "example.org").get_uri()) == "sip:192.0.2.1;transport=tcp"
    assert Route("192.0.2.1", None, "tls", "example.org") == Route("192.0.2.1", None, "tls")
