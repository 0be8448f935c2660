"""What announcements of others are taken for, and how ours are named."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipsimple.account.neighbourhood import SERVICE, Neighbour, _label, _neighbour


def announcement(properties, server="pc.local."):
    return SimpleNamespace(properties=properties, server=server)


def test_an_announcement_names_a_neighbour():
    text = {b"txtvers": b"1", b"Name": "Zoë".encode(), b"contact": b"<sip:abc@192.0.2.1:5060;transport=tcp>"}
    found = _neighbour(f"anything.{SERVICE}", announcement(text))
    assert found == Neighbour(found.uri, "Zoë", "pc")
    assert str(found.uri) == "sip:abc@192.0.2.1:5060;transport=tcp"


def test_without_a_contact_its_name_is_the_address():
    found = _neighbour(f"sip:abc@192.0.2.1.{SERVICE}", announcement({b"name": None}, None))
    assert (str(found.uri), found.display_name, found.host) == ("sip:abc@192.0.2.1", None, "")


@pytest.mark.parametrize("contact", [b"http://example.com", b"", b"\xff\xfe", b"sip:"])
def test_what_is_no_address_is_no_neighbour(contact):
    assert _neighbour(f"printer.{SERVICE}", announcement({b"contact": contact})) is None


@given(st.dictionaries(st.binary(max_size=20), st.none() | st.binary(max_size=100), max_size=5), st.text(max_size=60))
def test_any_announcement_is_a_neighbour_or_none(properties, name):
    found = _neighbour(f"{name}.{SERVICE}", announcement(properties))
    assert found is None or found.uri.host


def test_a_name_fits_into_a_label():
    assert _label("sip:abcdefgh@192.0.2.1:5060;transport=tcp") == "sip:abcdefgh@192.0.2.1:5060;transport=tcp"
    long = "sip:abcdefgh@[2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff]:50600;transport=tcp"
    assert len(_label(long).encode()) <= 63
    assert _label(long).startswith("abcdefgh@[2001:db8")
