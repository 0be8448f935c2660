"""Documents of event packages: read leniently, written strictly, changes applied; nothing else than their error."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sipsimple.payloads.conference import ConferenceInfo, Endpoint, Media, User
from sipsimple.payloads.dialoginfo import Dialog, DialogInfo, Participant
from sipsimple.payloads.imdn import IMDN
from sipsimple.payloads.messagesummary import MalformedSummary, MessageCount, MessageSummary
from sipsimple.payloads.pidf import Device, Note, Person, Presence, Service
from sipsimple.payloads.watcherinfo import Watcher, WatcherInfo, WatcherList
from sipsimple.payloads.xmldoc import MalformedDocument

MOMENT = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)
EXAMPLES = [
    IMDN("34jk324j", MOMENT, "delivery", "delivered", "im:bob@example.com", "im:bob@example.com", "dinner"),
    IMDN("x", MOMENT, "display", "displayed"),
    DialogInfo(
        "sip:alice@example.com",
        3,
        False,
        (
            Dialog(
                "as7d900as8", "terminated", "local-bye", 487, "a84b4c76e66710", "1928301774", "456887766",
                "initiator", 274, Participant("sip:alice@example.com", "Alice", "sip:alice@pc33.example.com"),
                Participant("sip:bob@example.org"),
            ),
            Dialog("other", "trying"),
        ),
    ),
    Presence(
        "pres:alice@example.com",
        (
            Service("bs35r9", "open", "sip:alice@example.com", 0.8, (Note("Don't Disturb Please!", "en"),), MOMENT),
            Service("eg92n8"),
        ),
        (
            Person(
                "p1", ("away", "having-tea", "réunion"), ("happy",), "office", "work", "http://example.com/i.png",
                "idle", -240, (Note("Back at five"),), MOMENT,
            ),
        ),
        (Device("d1", "urn:device:0003ba4811e3", "active", (Note("PC"),), MOMENT),),
        (Note("I'll be in Tokyo next week", "en"), Note("来週", "ja")),
    ),
    WatcherInfo(
        1,
        True,
        (
            WatcherList(
                "sip:professor@example.net",
                "presence",
                (
                    Watcher("8ajksjda7s", "sip:userA@example.net", "active", "approved", "User A", 3600, 509),
                    Watcher("hh8juja87s997-ass7", "sip:userB@example.org", "pending", "subscribe"),
                ),
            ),
        ),
    ),
    ConferenceInfo(
        "sip:conf233@example.com", 7, "full", "Agenda", "This month's goal", "free", 2, True, False,
        (
            User(
                "sip:bob@example.com", "Bob Hoskins", ("participant", "moderator"),
                (Endpoint("sip:bob@pc33.example.com", "Bob's Laptop", "disconnected", "dialed-in",
                          (Media("1", "audio", "34567", "sendrecv", "main audio"), Media("2"))),),
            ),
            User("sip:alice@example.com"),
        ),
    ),
]  # fmt: skip
KINDS = [type(example) for example in EXAMPLES]


@pytest.mark.parametrize("document", EXAMPLES, ids=lambda document: type(document).__name__)
def test_what_is_written_is_read_again(document):
    assert type(document).parse(document.encode()) == document


@pytest.mark.parametrize("kind", sorted(set(KINDS), key=str))
@pytest.mark.parametrize(
    "data",
    [b"", b"<a/>", b"\xff\xfe", b'<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>', b"<a>" * 100, b"x" * (2 << 20)],
)
def test_what_is_no_document_says_so(kind, data):
    with pytest.raises(MalformedDocument):
        kind.parse(data)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(EXAMPLES), st.lists(st.tuples(st.integers(0, 2000), st.binary(max_size=6)), max_size=6))
def test_damaged_documents_are_read_or_refused(document, damages):
    data = bytearray(document.encode())
    for place, replacement in damages:
        data[place % len(data) : place % len(data) + len(replacement)] = replacement
    try:
        found = type(document).parse(bytes(data))
    except MalformedDocument:
        return
    assert isinstance(found, type(document))


def test_an_example_of_rfc_4480():
    presence = Presence.parse(
        b"""<?xml version="1.0" encoding="UTF-8"?>
        <presence xmlns="urn:ietf:params:xml:ns:pidf" xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model"
          xmlns:rpid="urn:ietf:params:xml:ns:pidf:rpid" xmlns:lt="urn:ietf:params:xml:ns:location-type"
          entity="pres:someone@example.com">
          <tuple id="bs35r9"><status><basic>open</basic></status>
            <dm:deviceID>urn:device:0003ba4811e3</dm:deviceID>
            <rpid:relationship><rpid:self/></rpid:relationship>
            <contact priority="0.8">im:someone@mobile.example.net</contact>
            <note xml:lang="en">Don't Disturb Please!</note>
            <timestamp>2005-10-27T16:49:29Z</timestamp></tuple>
          <dm:person id="p1"><rpid:activities from="2005-05-30T12:00:00+05:00"><rpid:note>Far away</rpid:note>
              <rpid:away/></rpid:activities>
            <rpid:mood><rpid:angry/><rpid:other>brooding</rpid:other></rpid:mood>
            <rpid:place-type><lt:residence/></rpid:place-type>
            <rpid:time-offset>-240</rpid:time-offset></dm:person>
        </presence>"""
    )
    assert presence.is_open
    (person,) = presence.persons
    assert (person.activities, person.moods) == (("away",), ("angry", "brooding"))
    assert (person.place_type, person.time_offset) == ("residence", -240)
    assert presence.services[0].priority == 0.8


def test_a_message_summary_of_rfc_3842():
    summary = MessageSummary.parse(
        b"Messages-Waiting: yes\r\nMessage-Account: sip:alice@vmail.example.com\r\n"
        b"Voice-Message: 4/8 (1/2)\r\nX-Other: 1\r\nFax-Message: nonsense\r\n\r\nPriority: urgent\r\n"
    )
    assert summary.messages_waiting
    assert summary.account == "sip:alice@vmail.example.com"
    assert summary.counts == {"voice": MessageCount(4, 8, 1, 2)}
    assert MessageSummary.parse(summary.encode()) == summary
    for data in (b"", b"Messages-Waiting: perhaps\r\n", b"Voice-Message: 1/2\r\n", b"x" * 100_000):
        with pytest.raises(MalformedSummary):
            MessageSummary.parse(data)
    with pytest.raises(ValueError, match="control"):
        MessageSummary(True, "sip:a\r\nMessages-Waiting: no").encode()


@given(st.binary(max_size=300))
def test_any_bytes_are_a_summary_or_none(data):
    try:
        MessageSummary.parse(data)
    except MalformedSummary:
        return


def test_changes_of_dialogs():
    first = DialogInfo("sip:a@b", 0, True, (Dialog("1", "early"),))
    later = first.updated(DialogInfo("sip:a@b", 1, False, (Dialog("1", "confirmed"), Dialog("2", "trying"))))
    assert [(dialog.id, dialog.state) for dialog in later.dialogs] == [("1", "confirmed"), ("2", "trying")]
    assert later.updated(DialogInfo("sip:a@b", 1, False, (Dialog("1", "early"),))) is later
    with pytest.raises(ValueError, match="lost"):
        later.updated(DialogInfo("sip:a@b", 3, False))


def test_changes_of_watchers():
    watcher = Watcher("1", "sip:x@y", "pending", "subscribe")
    first = WatcherInfo(0, True, (WatcherList("sip:a@b", "presence", (watcher,)),))
    change = WatcherInfo(
        1, False, (WatcherList("sip:a@b", "presence", (Watcher("1", "sip:x@y", "active", "approved"),)),)
    )
    assert first.updated(change).lists[0].watchers[0].status == "active"
    with pytest.raises(ValueError, match="lost"):
        first.updated(WatcherInfo(2, False))


def test_changes_of_a_conference():
    conference = EXAMPLES[-1]
    change = ConferenceInfo(
        conference.entity, 8, "partial", user_count=3,
        users=(
            User("sip:alice@example.com", state="deleted"),
            User("sip:carol@example.com", "Carol"),
            User(
                "sip:bob@example.com", state="partial",
                endpoints=(Endpoint("sip:bob@pc33.example.com", status="connected", state="partial",
                                    media=(Media("2", state="deleted"),)),),
            ),
        ),
    )  # fmt: skip
    now = conference.updated(ConferenceInfo.parse(change.encode()))
    assert [user.entity for user in now.users] == ["sip:bob@example.com", "sip:carol@example.com"]
    bob = now.users[0]
    assert (bob.display_text, bob.endpoints[0].status, len(bob.endpoints[0].media)) == ("Bob Hoskins", "connected", 1)
    assert (now.user_count, now.subject, now.version, now.state) == (3, "This month's goal", 8, "full")
    with pytest.raises(ValueError, match="lost"):
        conference.updated(ConferenceInfo(conference.entity, 9, "partial"))


@pytest.mark.parametrize(
    "make",
    [
        lambda: Service("1", "half"),
        lambda: Service("1", priority=2),
        lambda: Dialog("1", "gone"),
        lambda: Watcher("1", "sip:a@b", "active", "whim"),
        lambda: IMDN("1", MOMENT, "delivery", "displayed"),
        lambda: MessageCount(-1, 0),
        lambda: Presence("pres:a@b", notes=(Note("\x00"),)).encode(),
    ],
)
def test_what_cannot_be_written_is_refused(make):
    with pytest.raises(ValueError, match=r"\w"):
        make()
