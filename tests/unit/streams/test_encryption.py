"""What an account wants of encryption, by the way that its descriptions go."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from sipsimple.sip.errors import SDPNegotiationError
from sipsimple.streams.encryption import EncryptionPolicy


def policy(encryption: str, keying: str | None = None, *, signalling: str | None = "udp", without_tls: bool = False):
    rtp = SimpleNamespace(srtp_encryption=encryption, use_srtp_without_tls=without_tls)
    if keying is not None:
        rtp.srtp_keying = keying
    return EncryptionPolicy.of(SimpleNamespace(rtp=rtp), signalling)


@pytest.mark.parametrize(
    ("signalling", "without_tls", "ways"),
    [
        ("tls", False, {"sdes", "dtls"}),
        (None, False, {"sdes", "dtls"}),
        ("udp", True, {"sdes", "dtls"}),
        ("udp", False, {"dtls"}),
        ("tcp", False, {"dtls"}),
    ],
)
def test_keys_in_descriptions_need_a_way_that_nobody_reads(signalling, without_tls, ways):
    assert policy("optional", signalling=signalling, without_tls=without_tls).ways == ways
    assert policy("disabled", signalling=signalling, without_tls=without_tls).ways == set()


def test_only_who_demands_it_forces_it():
    assert [policy(name).forced for name in ("disabled", "optional", "mandatory")] == [False, False, True]


@pytest.mark.parametrize(("keying", "method"), [(None, "sdes"), ("sdes", "sdes"), ("dtls", "dtls")])
def test_the_method_of_offers_is_a_setting(keying, method):
    assert policy("optional", keying).method == method


def test_what_is_demanded_and_must_not_be_said_is_an_error():
    with pytest.raises(SDPNegotiationError, match="use TLS"):
        policy("mandatory").transport(None, None)
    assert policy("mandatory", "dtls").transport(None, None).srtp_forced
    assert policy("mandatory", signalling="tls").transport(None, None).use_srtp
    assert not policy("disabled").transport(None, None).use_srtp
