"""What media sections say about MSRP, and what we write."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sipsimple.core import FrozenSDPSession
from sipsimple.msrp import MSRPURI, Fingerprint, Setup
from sipsimple.streams.msrp.description import InvalidDescription, MSRPDescription, local_media

PATH = "a=path:msrps://192.0.2.1:2855/abc;tcp"
SHA_1 = "sha-1 " + ":".join(["4A"] * 20)
SHA_256 = "sha-256 " + ":".join(["4B"] * 32)


def described(*lines: str, session: tuple[str, ...] = ()) -> MSRPDescription:
    text = ["v=0", "o=- 1 1 IN IP4 192.0.2.1", "s=-", "c=IN IP4 192.0.2.1", "t=0 0", *session]
    text += ["m=message 2855 TCP/TLS/MSRP *", *lines]
    return MSRPDescription.read(FrozenSDPSession.parse("\r\n".join([*text, ""]).encode()), 0)


def test_the_whole_section_is_read():
    found = described(
        "a=path:msrps://relay.example:2855/r;tcp msrps://192.0.2.1:2855/abc;tcp",
        "a=accept-types:message/cpim text/*",
        "a=accept-wrapped-types:*",
        "a=max-size:1000",
        "a=setup:actpass",
        "a=recvonly",
    )
    assert [uri.host for uri in found.path] == ["relay.example", "192.0.2.1"]
    assert (found.transport, found.uses_tls, found.direction) == ("TCP/TLS/MSRP", True, "recvonly")
    assert (found.accept_types, found.accept_wrapped_types) == (("message/cpim", "text/*"), ("*",))
    assert (found.max_size, found.setup, found.fingerprints) == (1000, Setup.ACTPASS, ())


def test_what_is_missing_or_makes_no_sense_counts_as_not_said():
    found = described(PATH, "a=max-size:lots", "a=setup:holdconn")
    assert (found.accept_types, found.accept_wrapped_types) == ((), ())
    assert (found.max_size, found.setup, found.direction) == (None, None, "sendrecv")
    for size in ("0", "-1", "9" * 100, "٣"):
        assert described(PATH, f"a=max-size:{size}").max_size is None


def test_the_better_fingerprints_count_and_those_of_the_media_before_those_of_the_session():
    def found(*lines: str, session: tuple[str, ...] = ()) -> list[str]:
        return [str(fingerprint) for fingerprint in described(PATH, *lines, session=session).fingerprints]

    assert found(f"a=fingerprint:{SHA_1}") == [SHA_1]
    assert found(f"a=fingerprint:{SHA_1}", f"a=fingerprint:{SHA_256}", "a=fingerprint:md5 AA") == [SHA_256]
    assert found(session=(f"a=fingerprint:{SHA_256}",)) == [SHA_256]
    assert found(f"a=fingerprint:{SHA_1}", session=(f"a=fingerprint:{SHA_256}",)) == [SHA_1]


@pytest.mark.parametrize(
    "lines",
    [
        (),
        ("a=path:",),
        ("a=path:sip:a@b",),
        ("a=path:msrp://192.0.2.1:99999/x;tcp",),
        (PATH + f" {PATH[7:]}" * 40,),
        (PATH, "a=fingerprint:md5 AA:BB"),
    ],
)
def test_nobody_could_connect_by_this(lines):
    with pytest.raises(InvalidDescription):
        described(*lines)


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n\0"), max_size=60))
@example("0\x1f")
def test_nothing_but_the_one_error(text):
    for line in ("path:", "fingerprint:", "max-size:", "setup:", "accept-types:"):
        try:
            described(PATH if line != "path:" else "a=x", f"a={line}{text}")
        except InvalidDescription:
            continue


def test_our_section_in_the_order_of_the_documentation():
    path = (MSRPURI("relay.example", 2855, "r", use_tls=True), MSRPURI("192.0.2.1", 5000, "own", use_tls=True))
    media = local_media(
        "message",
        path,
        direction="sendonly",
        accept_types=["text/plain", "image/*"],
        accept_wrapped_types=["*"],
        setup=Setup.PASSIVE,
        fingerprints=[Fingerprint.parse(SHA_256)],
    )
    assert [str(attribute) for attribute in media.attributes] == [
        "path:msrps://relay.example:2855/r;tcp msrps://192.0.2.1:5000/own;tcp",
        "sendonly",
        "accept-types:text/plain image/*",
        "accept-wrapped-types:*",
        "setup:passive",
        f"fingerprint:{SHA_256}",
    ]
    assert (media.port, media.transport, list(media.formats)) == (5000, "TCP/TLS/MSRP", ["*"])


def test_our_section_says_no_more_than_it_has_to():
    media = local_media("application", [MSRPURI("192.0.2.1", 2855, "own")])
    assert (media.transport, [attribute.name for attribute in media.attributes]) == ("TCP/MSRP", ["path"])
