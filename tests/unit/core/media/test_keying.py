"""How two sides come to keys: every pair of policies, later offers, and offers that are refused."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipsimple.core.media.keying import Keying, objection
from sipsimple.media.keys import DTLSKeying, SRTPKeys
from sipsimple.sip.errors import SDPNegotiationError
from sipsimple.sip.sdp import FrozenSDPAttribute, FrozenSDPSession, SDPMediaStream, SDPSession
from sipsimple.sip.sdp.crypto import KEY_SIZES, Crypto
from sipsimple.sip.sdp.fingerprint import Fingerprint

BOTH = frozenset({"sdes", "dtls"})
AES80, AES32 = "AES_CM_128_HMAC_SHA1_80", "AES_CM_128_HMAC_SHA1_32"

POLICIES = {
    "disabled": lambda: Keying(),
    "sdes": lambda: Keying("sdes", BOTH),
    "dtls": lambda: Keying("dtls", BOTH),
    "only sdes": lambda: Keying("sdes", BOTH, forced=True),
    "only dtls": lambda: Keying("dtls", BOTH, forced=True),
}


def media(*lines: tuple[str, str], transport: str = "RTP/AVP") -> SDPMediaStream:
    attributes = [FrozenSDPAttribute(name, value) for name, value in (*lines, ("sendrecv", ""))]
    return SDPMediaStream("audio", 4000, transport, formats=["0"], attributes=attributes)


def described(section: SDPMediaStream) -> FrozenSDPSession:
    return FrozenSDPSession.parse(SDPSession("192.0.2.1", media=[section]).encode())


def exchange(offerer: Keying, answerer: Keying) -> tuple:
    """An offer and its answer; what each side says and has agreed on."""
    section = media()
    offerer.offer(section)
    offer = described(section)
    section = media()
    answerer.answer(section, offer, 0)
    answer = described(section)
    return offerer.agree(offer, answer, 0), answerer.agree(answer, offer, 0), offer, answer


def line(*, suite: str = AES80, tag: int = 1) -> tuple[str, str]:
    return "crypto", str(Crypto(tag, suite, bytes(KEY_SIZES[suite])))


FINGERPRINT = ("fingerprint", str(Fingerprint.of(b"somebody")))


# What two policies make together: the method, or None for plain RTP, or who refuses.
OUTCOMES = {
    ("disabled", "disabled"): None,
    ("disabled", "sdes"): None,
    ("disabled", "dtls"): None,
    ("disabled", "only sdes"): "refused",
    ("disabled", "only dtls"): "refused",
    ("sdes", "disabled"): None,
    ("dtls", "disabled"): None,
    ("only sdes", "disabled"): "refused",
    ("only dtls", "disabled"): "refused",
    **{(one, two): one.split()[-1] for one, two in product(POLICIES, POLICIES) if "disabled" not in (one, two)},
}


@pytest.mark.parametrize(("offers", "answers"), sorted(OUTCOMES))
def test_policies_meet(offers, answers):
    one, two = POLICIES[offers](), POLICIES[answers]()
    outcome = OUTCOMES[offers, answers]
    if outcome == "refused":
        with pytest.raises(SDPNegotiationError, match="keys that may be used"):
            exchange(one, two)
        return
    ours, theirs, offer, answer = exchange(one, two)
    assert one.method == two.method == outcome
    assert offer.media[0].transport == answer.media[0].transport
    assert offer.media[0].attributes[-1].name == answer.media[0].attributes[-1].name == "sendrecv"
    if outcome == "sdes":
        assert (ours.send, ours.receive) == (theirs.receive, theirs.send)
        assert ours.suite == theirs.suite == AES80
    elif outcome == "dtls":
        assert (ours.active, theirs.active) == (False, True)
    else:
        assert ours is theirs is None


@pytest.mark.parametrize(
    ("policy", "transport"),
    [
        ("disabled", "RTP/AVP"),
        ("sdes", "RTP/AVP"),
        ("dtls", "RTP/AVP"),
        ("only sdes", "RTP/SAVP"),
        ("only dtls", "UDP/TLS/RTP/SAVP"),
    ],
)
def test_an_offer_says_how_it_is_carried(policy, transport):
    section = media()
    POLICIES[policy]().offer(section)
    assert section.transport == transport
    names = [attribute.name for attribute in section.attributes]
    wanted = {"sdes": ["crypto", "crypto"], "dtls": ["fingerprint", "setup"]}.get(policy.split()[-1], [])
    assert names == [*wanted, "sendrecv"]


def test_the_suites_are_offered_in_their_order_each_with_its_key():
    section = media()
    POLICIES["sdes"]().offer(section)
    first, second = (Crypto.parse(value) for value in section.attributes.getall("crypto"))
    assert ((first.tag, first.suite), (second.tag, second.suite)) == ((1, AES80), (2, AES32))
    assert first.key != second.key


@pytest.mark.parametrize("suite", sorted(KEY_SIZES))
def test_every_suite_is_taken_from_others(suite):
    ours, theirs, offer, _ = exchange(Keying("sdes", BOTH, suites=(suite,)), POLICIES["sdes"]())
    assert ours.suite == theirs.suite == suite
    assert len(offer.media[0].attributes.getall("crypto")) == 1


def test_the_answer_takes_the_first_line_that_it_knows_and_keeps_its_tag():
    offer = described(media(("crypto", "3 F8_128_HMAC_SHA1_80 inline:AAAA"), line(suite=AES32, tag=7), line(tag=9)))
    section = media()
    POLICIES["sdes"]().answer(section, offer, 0)
    (value,) = section.attributes.getall("crypto")
    crypto = Crypto.parse(value)
    assert (crypto.tag, crypto.suite) == (7, AES32)
    assert crypto.key != bytes(30)


def test_keys_stay_until_somebody_changes_his():
    one, two = POLICIES["sdes"](), POLICIES["sdes"]()
    before, _, _, _ = exchange(one, two)
    again, mirrored, _, _ = exchange(two, one)
    assert (mirrored, again.send) == (before, before.receive)
    other = Keying("sdes", BOTH)
    _, after, _, _ = exchange(other, one)
    assert after.send == before.send
    assert after.receive != before.receive
    one.forget()
    fresh, _, _, _ = exchange(one, two)
    assert fresh.send != before.send


def test_a_later_offer_keeps_the_suite_and_the_way_it_is_carried():
    one, two = POLICIES["sdes"](), POLICIES["sdes"]()
    offer = described(media(line(suite="AEAD_AES_256_GCM", tag=4), transport="RTP/SAVP"))
    section = media()
    one.answer(section, offer, 0)
    assert isinstance(one.agree(described(section), offer, 0), SRTPKeys)
    ours, _, again, _ = exchange(one, two)
    assert again.media[0].transport == "RTP/SAVP"
    assert ours.suite == "AEAD_AES_256_GCM"


def test_a_plain_session_may_become_secret_later():
    one, two = POLICIES["sdes"](), POLICIES["disabled"]()
    assert exchange(one, two)[0] is None
    assert exchange(one, POLICIES["sdes"]())[0] is not None
    assert exchange(two, one)[1] is None  # and plain again, since nobody insists


@pytest.mark.parametrize(("offered", "answered"), [("actpass", "active"), ("passive", "active"), ("active", "passive")])
def test_who_begins_is_the_answerers_choice_of_what_is_offered(offered, answered):
    offer = described(media(FINGERPRINT, ("setup", offered), transport="UDP/TLS/RTP/SAVP"))
    keying, section = POLICIES["dtls"](), media()
    keying.answer(section, offer, 0)
    assert section.attributes.getfirst("setup") == answered
    assert keying.agree(described(section), offer, 0).active is (answered == "active")


def test_an_association_goes_on_whoever_offers_next():
    one, two = POLICIES["dtls"](), POLICIES["dtls"]()
    first, second, _, _ = exchange(one, two)
    for offerer, answerer in ((one, two), (two, one), (one, two)):
        exchange(offerer, answerer)
        assert one.agree.__self__._agreed is first
        assert two.agree.__self__._agreed is second
    offer = described(media(FINGERPRINT, ("setup", "active"), transport="UDP/TLS/RTP/SAVP"))
    section = media()
    one.answer(section, offer, 0)
    renewed = one.agree(described(section), offer, 0)
    assert isinstance(renewed, DTLSKeying)
    assert renewed.fingerprint != first.fingerprint


def test_who_can_do_both_is_answered_with_dtls():
    offer = described(media(line(), FINGERPRINT, ("setup", "actpass")))
    section = media()
    POLICIES["sdes"]().answer(section, offer, 0)
    assert [attribute.name for attribute in section.attributes] == ["fingerprint", "setup", "sendrecv"]
    section = media()
    Keying("sdes", frozenset({"sdes"})).answer(section, offer, 0)
    assert [attribute.name for attribute in section.attributes] == ["crypto", "sendrecv"]


@pytest.mark.parametrize(
    ("section", "reason"),
    [
        (media(transport="RTP/SAVP"), "RTP/SAVP without keys"),
        (media(line(), transport="UDP/TLS/RTP/SAVP"), "UDP/TLS/RTP/SAVP without keys"),
        (media(FINGERPRINT, ("setup", "holdconn"), transport="UDP/TLS/RTP/SAVP"), "without keys"),
        (media(("crypto", f"1 {AES80} nonsense"), transport="RTP/SAVP"), "without keys"),
        (media(transport="RTP/AVPF"), "RTP/AVPF is not supported"),
        (media(transport="TCP/TLS/RTP/SAVP"), "not supported"),
    ],
)
def test_offers_that_nobody_takes(section, reason):
    offer = described(section)
    assert reason in objection(offer, 0, BOTH, forced=False)
    with pytest.raises(SDPNegotiationError, match=reason.replace("/", ".")):
        POLICIES["sdes"]().answer(media(), offer, 0)


def test_keys_that_others_could_read_are_neither_taken_nor_told():
    offer = described(media(line(), transport="RTP/SAVP"))
    assert objection(offer, 0, BOTH, forced=True) is None
    assert "without keys" in objection(offer, 0, frozenset({"dtls"}), forced=False)
    assert objection(described(media(line())), 0, frozenset({"dtls"}), forced=False) is None
    keying, section = Keying("sdes", frozenset({"dtls"})), media()
    keying.offer(section)
    assert (section.transport, len(section.attributes)) == ("RTP/AVP", 1)
    with pytest.raises(SDPNegotiationError, match="use TLS"):
        Keying("sdes", frozenset({"dtls"}), forced=True).offer(media())


def test_an_answer_that_does_not_encrypt_is_refused_by_who_insists():
    keying, section = POLICIES["only sdes"](), media()
    keying.offer(section)
    offer = described(section)
    with pytest.raises(SDPNegotiationError, match="does not encrypt"):
        keying.agree(offer, described(media(transport="RTP/SAVP")), 0)
    keying = POLICIES["sdes"]()
    keying.offer(section)
    offer = described(section)
    assert keying.agree(offer, described(media()), 0) is None
    assert keying.agree(offer, described(media(line(tag=5))), 0) is None  # a tag that was not offered


HOSTILE = st.text(max_size=40) | st.sampled_from(
    [line()[1], FINGERPRINT[1], "actpass", "holdconn", "1 AES_CM_128_HMAC_SHA1_80 inline:", "sha-256 00", "md5 00:11"]
)


@given(
    st.lists(st.tuples(st.sampled_from(["crypto", "fingerprint", "setup"]), HOSTILE), max_size=6),
    st.sampled_from(["RTP/AVP", "RTP/SAVP", "UDP/TLS/RTP/SAVP", "RTP/SAVPF", "x"]),
    st.sampled_from(sorted(POLICIES)),
)
def test_a_hostile_offer_is_answered_or_refused(lines, transport, policy):
    text = "".join(f"a={name}:{value}\r\n" for name, value in lines if not set(value) & set("\r\n\0"))
    head = f"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\nm=audio 4 {transport} 0\r\n"
    offer = FrozenSDPSession.parse(f"{head}{text}".encode("utf-8", "surrogatepass"))
    keying, section = POLICIES[policy](), media()
    try:
        keying.answer(section, offer, 0)
        agreed = keying.agree(described(section), offer, 0)
    except SDPNegotiationError:
        return
    assert agreed is not None or (transport == "RTP/AVP" and not keying.forced)
