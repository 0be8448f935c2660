"""SRTP of RTP transports and of the audio streams over them, as the core has it."""

from __future__ import annotations

import pytest

from sipsimple.core.media.audio import AudioTransport
from sipsimple.core.media.client import MediaClient
from sipsimple.core.media.rtp import RTPTransport
from sipsimple.media import commands
from sipsimple.media.errors import StreamError
from sipsimple.media.keys import DTLSKeying, SRTPKeys
from sipsimple.sip.errors import SDPNegotiationError
from sipsimple.sip.sdp import SDPAttribute, SDPMediaStream, SDPSession
from sipsimple.sip.sdp.crypto import Crypto
from sipsimple.sip.sdp.fingerprint import Fingerprint

AES80, AES32 = "AES_CM_128_HMAC_SHA1_80", "AES_CM_128_HMAC_SHA1_32"
THEIRS = bytes(range(30))


@pytest.fixture(autouse=True)
def codecs(host, monkeypatch):
    monkeypatch.setattr(MediaClient, "available_codecs", ["PCMU"])


def opened(**options) -> RTPTransport:
    transport = RTPTransport("127.0.0.1", **options)
    transport.set_INIT()
    return transport


def remote(*lines: tuple[str, str], transport: str = "RTP/AVP") -> SDPSession:
    attributes = [SDPAttribute(name, value) for name, value in lines]
    media = SDPMediaStream("audio", 4000, transport, formats=["0"], attributes=attributes)
    return SDPSession("192.0.2.5", media=[media])


def crypto(tag: int = 1, suite: str = AES80) -> tuple[str, str]:
    return "crypto", str(Crypto(tag, suite, THEIRS))


def described(stream: AudioTransport) -> SDPSession:
    return SDPSession("127.0.0.1", media=[stream.get_local_media(True)])


FINGERPRINT = ("fingerprint", str(Fingerprint.of(b"theirs")))


def test_the_suites_are_offered_over_avp_unless_forced(host, mixer):
    for forced, transport in ((False, "RTP/AVP"), (True, "RTP/SAVP")):
        stream = AudioTransport(mixer, opened(use_srtp=True, srtp_forced=forced))
        media = stream.get_local_media(True)
        assert media.transport == transport
        offered = [Crypto.parse(value) for value in media.attributes.getall("crypto")]
        assert [(line.tag, line.suite) for line in offered] == [(1, AES80), (2, AES32)]
        assert media.attributes[-1].name == "sendrecv"
        again = stream.get_local_media(True)
        assert again.attributes.getall("crypto") == media.attributes.getall("crypto")


def test_without_srtp_nothing_is_offered_or_taken(host, mixer):
    stream = AudioTransport(mixer, opened(srtp_forced=True))
    assert "crypto" not in stream.get_local_media(True).attributes
    stream = AudioTransport(mixer, opened(), remote(crypto()))
    assert "crypto" not in stream.get_local_media(False).attributes
    assert stream.transport.srtp_active is False


def test_the_engine_is_told_the_keys_of_both_sides(host, mixer):
    transport = opened(use_srtp=True)
    stream = AudioTransport(mixer, transport)
    ours = described(stream)
    stream.start(ours, remote(crypto(2, AES32)), 0)
    own = Crypto.parse(ours.media[0].attributes.getall("crypto")[1])
    (start,) = host.sent(commands.StartStream)
    assert start.config.security == SRTPKeys(AES32, own.key, THEIRS)
    assert (transport.srtp_active, transport.srtp_cipher, transport.srtp_keying) == (True, AES32, "sdes")
    stream.stop()
    assert (transport.srtp_active, transport.srtp_cipher, transport.srtp_keying) == (False, None, None)


def test_an_answer_has_the_line_that_was_chosen(host, mixer):
    transport = opened(use_srtp=True)
    stream = AudioTransport(mixer, transport, remote(crypto(5), transport="RTP/SAVP"))
    media = stream.get_local_media(False)
    (value,) = media.attributes.getall("crypto")
    assert (Crypto.parse(value).tag, media.transport) == (5, "RTP/SAVP")
    assert transport.srtp_active
    transport.close()
    assert not transport.srtp_active


def test_a_peer_that_does_not_encrypt_is_talked_to_or_refused(host, mixer):
    stream = AudioTransport(mixer, opened(use_srtp=True))
    stream.start(described(stream), remote(), 0)
    assert stream.transport.srtp_active is False
    forced = AudioTransport(mixer, opened(use_srtp=True, srtp_forced=True))
    with pytest.raises(SDPNegotiationError, match="does not encrypt"):
        forced.start(described(forced), remote(transport="RTP/SAVP"), 0)
    assert not forced.is_started
    with pytest.raises(SDPNegotiationError, match="no keys"):
        AudioTransport(mixer, opened(use_srtp=True, srtp_forced=True), remote())


def test_a_handshake_comes_before_the_encryption(host, mixer, seen):
    transport = opened(use_srtp=True, srtp_keying="dtls")
    assert host.sent(commands.LoadSecurity) == [commands.LoadSecurity(True)]
    stream = AudioTransport(mixer, transport)
    ours = described(stream)
    assert ours.media[0].attributes.getfirst("setup") == "actpass"
    stream.start(ours, remote(FINGERPRINT, ("setup", "active")), 0)
    (start,) = host.sent(commands.StartStream)
    keying = start.config.security
    assert isinstance(keying, DTLSKeying)
    assert (keying.active, keying.algorithm) == (False, "sha256")
    assert keying.fingerprint == Fingerprint.of(b"theirs").digest
    assert str(Fingerprint.parse(ours.media[0].attributes.getfirst("fingerprint"))).startswith("sha-256")
    assert (transport.srtp_active, transport.srtp_keying) == (False, "dtls")
    host.on_event(commands.StreamSecured(start.stream, "AEAD_AES_256_GCM"))
    assert (transport.srtp_active, transport.srtp_cipher) == (True, "AEAD_AES_256_GCM")
    assert "RTPAudioTransportDidSecure" in seen.names
    # The same again changes nothing.
    stream.update(ours, remote(FINGERPRINT, ("setup", "active")), 0)
    assert transport.srtp_active
    stream.update(ours, remote(("fingerprint", str(Fingerprint.of(b"another"))), ("setup", "active")), 0)
    assert not transport.srtp_active


def test_a_handshake_that_fails_is_told(host, mixer, seen):
    stream = AudioTransport(mixer, opened(use_srtp=True, srtp_keying="dtls"))
    stream.start(described(stream), remote(FINGERPRINT, ("setup", "passive")), 0)
    (start,) = host.sent(commands.StartStream)
    assert start.config.security.active
    host.on_event(commands.StreamSecurityFailed(start.stream, "another certificate"))
    assert seen.names[-1] == "RTPAudioTransportDidFail"
    assert seen[-1].data.reason == "another certificate"


@pytest.mark.parametrize(
    "options", [{"srtp_keying": "zrtp"}, {"srtp_suites": ()}, {"srtp_suites": ("NULL_HMAC_SHA1_80",)}]
)
def test_what_nobody_speaks_is_an_error(host, options):
    with pytest.raises(ValueError, match="srtp_"):
        RTPTransport("127.0.0.1", use_srtp=True, **options)


def test_other_suites_may_be_offered(host, mixer):
    stream = AudioTransport(mixer, opened(use_srtp=True, srtp_suites=["AEAD_AES_256_GCM", AES80]))
    suites = [Crypto.parse(value).suite for value in stream.get_local_media(True).attributes.getall("crypto")]
    assert suites == ["AEAD_AES_256_GCM", AES80]


def test_keys_do_not_get_into_the_log(host, mixer):
    stream = AudioTransport(mixer, opened(use_srtp=True))
    ours = described(stream)
    stream.start(ours, remote(crypto()), 0)
    stream.update_direction("recvonly")
    logged = repr(commands.CommandFailed(host.sent(commands.UpdateStream)[-1], StreamError("no")))
    assert "UpdateStream" in logged
    assert "SRTPKeys(suite=" in logged
    own = Crypto.parse(ours.media[0].attributes.getfirst("crypto"))
    for key in (own.key, THEIRS):
        assert repr(key)[2:12] not in logged
