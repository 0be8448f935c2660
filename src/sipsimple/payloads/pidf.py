"""The presence of somebody (RFC 3863, 4479, 4480): `application/pidf+xml`.

A document tells of services (tuples), of the person, and of devices. Of the rich presence extensions those are read
and written that tell what a person does; all others are passed over.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sipsimple.payloads.reading import (
    XML_LANG,
    attribute,
    child_text,
    children,
    local_name,
    moment,
    text_of,
    write_moment,
)
from sipsimple.payloads.xmldoc import MalformedDocument, encode_document, make_element, parse_document

__all__ = ["CONTENT_TYPE", "Device", "Note", "Person", "Presence", "Service"]

CONTENT_TYPE: Final = "application/pidf+xml"
PIDF: Final = "urn:ietf:params:xml:ns:pidf"
DATA_MODEL: Final = "urn:ietf:params:xml:ns:pidf:data-model"
RPID: Final = "urn:ietf:params:xml:ns:pidf:rpid"

ACTIVITIES: Final = (
    "appointment", "away", "breakfast", "busy", "dinner", "holiday", "in-transit", "looking-for-work", "meal",
    "meeting", "on-the-phone", "performance", "permanent-absence", "playing", "presentation", "shopping", "sleeping",
    "spectator", "steering", "travel", "tv", "unknown", "vacation", "working", "worship",
)  # fmt: skip
"""The activities of RFC 4480 3.2; any other one is told as a text of its own."""


@dataclass(frozen=True, slots=True)
class Note:
    """A remark for people, in a language (RFC 5646) or in none."""

    text: str
    language: str | None = None


@dataclass(frozen=True, slots=True)
class Service:
    """One way of communication; `basic` is `open`, `closed` or None, `priority` of the contact from 0 to 1."""

    id: str
    basic: str | None = None
    contact: str | None = None
    priority: float | None = None
    notes: tuple[Note, ...] = ()
    timestamp: datetime | None = None

    def __post_init__(self) -> None:
        if self.basic not in ("open", "closed", None):
            raise ValueError(f"basic is 'open' or 'closed', not {self.basic!r}")
        if self.priority is not None and not 0 <= self.priority <= 1:
            raise ValueError(f"priority is from 0 to 1, not {self.priority}")


@dataclass(frozen=True, slots=True)
class Person:
    """What the person does: activities, moods and the type of place by the words of RFC 4480."""

    id: str
    activities: tuple[str, ...] = ()
    moods: tuple[str, ...] = ()
    place_type: str | None = None
    sphere: str | None = None
    status_icon: str | None = None
    user_input: str | None = None
    time_offset: int | None = None
    """Minutes from UTC."""
    notes: tuple[Note, ...] = ()
    timestamp: datetime | None = None


@dataclass(frozen=True, slots=True)
class Device:
    """A device by its URN, and whether it is used (`active` or `idle`)."""

    id: str
    device_id: str
    user_input: str | None = None
    notes: tuple[Note, ...] = ()
    timestamp: datetime | None = None


@dataclass(frozen=True, slots=True)
class Presence:
    """The presence of `entity`, a URI such as `pres:alice@example.com`."""

    entity: str
    services: tuple[Service, ...] = ()
    persons: tuple[Person, ...] = ()
    devices: tuple[Device, ...] = ()
    notes: tuple[Note, ...] = ()

    @property
    def is_open(self) -> bool:
        """Whether the person can be reached by at least one service."""
        return any(service.basic == "open" for service in self.services)

    @classmethod
    def parse(cls, data: bytes) -> Presence:
        """Read a document; raises MalformedDocument."""
        root = parse_document(data, _pidf("presence"))
        entity = attribute(root, "entity")
        if entity is None:
            raise MalformedDocument("there is no entity")
        return cls(
            entity,
            tuple(_read_service(element, name) for element, name in _with_id(root, _pidf("tuple"))),
            tuple(_read_person(element, name) for element, name in _with_id(root, _model("person"))),
            tuple(_read_devices(root)),
            _read_notes(root, _pidf("note")),
        )

    def encode(self) -> bytes:
        """The document; times without a zone are local time."""
        root = make_element(_pidf("presence"), namespaces={None: PIDF, "dm": DATA_MODEL, "rpid": RPID})
        root.set("entity", self.entity)
        for service in self.services:
            root.append(_write_service(service))
        for note in self.notes:
            root.append(_write_note(_pidf("note"), note))
        for person in self.persons:
            root.append(_write_person(person))
        for device in self.devices:
            root.append(_write_device(device))
        return encode_document(root)


def _with_id(root: Any, tag: str) -> Iterator[tuple[Any, str]]:
    for element in children(root, tag):
        name = attribute(element, "id")
        if name is not None:
            yield element, name


# Reading


def _read_service(element: Any, name: str) -> Service:
    basic = child_text(element, f"{_pidf('status')}/{_pidf('basic')}")
    contact = element.find(_pidf("contact"))
    return Service(
        name,
        basic if basic in ("open", "closed") else None,
        text_of(contact),
        None if contact is None else _priority(attribute(contact, "priority")),
        _read_notes(element, _pidf("note")),
        moment(child_text(element, _pidf("timestamp"))),
    )


def _read_person(element: Any, name: str) -> Person:
    return Person(
        name,
        _words(element.find(_rpid("activities"))),
        _words(element.find(_rpid("mood"))),
        next(iter(_words(element.find(_rpid("place-type")))), None),
        next(iter(_words(element.find(_rpid("sphere")))), None) or child_text(element, _rpid("sphere")),
        child_text(element, _rpid("status-icon")),
        child_text(element, _rpid("user-input")),
        _minutes(child_text(element, _rpid("time-offset"))),
        _read_notes(element, _model("note")),
        moment(child_text(element, _model("timestamp"))),
    )


def _read_devices(root: Any) -> Iterator[Device]:
    for element, name in _with_id(root, _model("device")):
        device_id = child_text(element, _model("deviceID"))
        if device_id is not None:
            yield Device(
                name,
                device_id,
                child_text(element, _rpid("user-input")),
                _read_notes(element, _model("note")),
                moment(child_text(element, _model("timestamp"))),
            )


def _read_notes(element: Any, tag: str) -> tuple[Note, ...]:
    notes = ((text_of(note), attribute(note, XML_LANG)) for note in children(element, tag))
    return tuple(Note(text, language) for text, language in notes if text is not None)


def _words(element: Any) -> tuple[str, ...]:
    """The names of the elements in this one; of `other` its text (RFC 4480 3.1)."""
    if element is None:
        return ()
    found = []
    for child in list(element)[: len(ACTIVITIES)]:
        name = local_name(child)
        word = text_of(child) if name == "other" else name
        if name != "note" and word is not None:
            found.append(word)
    return tuple(found)


def _priority(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if 0 <= value <= 1 else None


def _minutes(text: str | None) -> int | None:
    digits = (text or "").removeprefix("-").removeprefix("+")
    if not digits.isascii() or not digits.isdigit() or len(digits) > 4:
        return None
    return -int(digits) if (text or "").startswith("-") else int(digits)


# Writing


def _write_service(service: Service) -> Any:
    element = make_element(_pidf("tuple"))
    element.set("id", service.id)
    status = make_element(_pidf("status"))
    if service.basic is not None:
        status.append(make_element(_pidf("basic"), service.basic))
    element.append(status)
    if service.contact is not None:
        contact = make_element(_pidf("contact"), service.contact)
        if service.priority is not None:
            contact.set("priority", f"{service.priority:g}")
        element.append(contact)
    return _finish(element, service.notes, service.timestamp, _pidf)


def _write_person(person: Person) -> Any:
    element = make_element(_model("person"))
    element.set("id", person.id)
    for name, words in (("activities", person.activities), ("mood", person.moods)):
        if words:
            element.append(_write_words(name, words))
    if person.place_type is not None:
        element.append(_write_words("place-type", (person.place_type,), _rpid("other")))
    for name, value in (
        ("sphere", person.sphere),
        ("status-icon", person.status_icon),
        ("time-offset", None if person.time_offset is None else str(person.time_offset)),
        ("user-input", person.user_input),
    ):
        if value is not None:
            element.append(make_element(_rpid(name), value))
    return _finish(element, person.notes, person.timestamp, _model)


def _write_device(device: Device) -> Any:
    element = make_element(_model("device"))
    element.set("id", device.id)
    if device.user_input is not None:
        element.append(make_element(_rpid("user-input"), device.user_input))
    element.append(make_element(_model("deviceID"), device.device_id))
    return _finish(element, device.notes, device.timestamp, _model)


def _write_words(name: str, words: tuple[str, ...], other: str | None = None) -> Any:
    """An element with one child for each word; `other` is the tag of those that have none of their own."""
    element = make_element(_rpid(name))
    for word in words:
        plain = other is None and word.isascii() and word.replace("-", "").replace("_", "").isalpha()
        element.append(make_element(_rpid(word)) if plain else make_element(other or _rpid("other"), word))
    return element


def _finish(element: Any, notes: tuple[Note, ...], timestamp: datetime | None, tag: Any) -> Any:
    for note in notes:
        element.append(_write_note(tag("note"), note))
    if timestamp is not None:
        element.append(make_element(tag("timestamp"), write_moment(timestamp)))
    return element


def _write_note(tag: str, note: Note) -> Any:
    element = make_element(tag, note.text)
    if note.language is not None:
        element.set(XML_LANG, note.language)
    return element


def _pidf(name: str) -> str:
    return f"{{{PIDF}}}{name}"


def _model(name: str) -> str:
    return f"{{{DATA_MODEL}}}{name}"


def _rpid(name: str) -> str:
    return f"{{{RPID}}}{name}"
