"""The dialogs of somebody (RFC 4235): `application/dialog-info+xml`, in full or as changes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

from sipsimple.payloads.reading import attribute, child_text, children, integer, text_of
from sipsimple.payloads.xmldoc import MalformedDocument, encode_document, make_element, parse_document

__all__ = ["CONTENT_TYPE", "Dialog", "DialogInfo", "Participant"]

CONTENT_TYPE: Final = "application/dialog-info+xml"
NAMESPACE: Final = "urn:ietf:params:xml:ns:dialog-info"
STATES: Final = ("trying", "proceeding", "early", "confirmed", "terminated")
EVENTS: Final = ("cancelled", "rejected", "replaced", "local-bye", "remote-bye", "error", "timeout")


@dataclass(frozen=True, slots=True)
class Participant:
    """One end of a dialog: who (a URI and a name), and where (the URI of the device)."""

    identity: str | None = None
    display_name: str | None = None
    target: str | None = None


@dataclass(frozen=True, slots=True)
class Dialog:
    """One dialog, or several of a fork; `state` is one of `STATES`, `event` (why it ended) one of `EVENTS`.

    `direction` is `initiator`, `recipient` or None; `duration` is in seconds.
    """

    id: str
    state: str
    event: str | None = None
    code: int | None = None
    call_id: str | None = None
    local_tag: str | None = None
    remote_tag: str | None = None
    direction: str | None = None
    duration: int | None = None
    local: Participant | None = None
    remote: Participant | None = None

    def __post_init__(self) -> None:
        if self.state not in STATES:
            raise ValueError(f"{self.state!r} is no state of a dialog (RFC 4235 3.7.1)")


@dataclass(frozen=True, slots=True)
class DialogInfo:
    """The dialogs of `entity`; `is_full` says whether they are all, or those that changed."""

    entity: str
    version: int
    is_full: bool
    dialogs: tuple[Dialog, ...] = ()

    @classmethod
    def parse(cls, data: bytes) -> DialogInfo:
        """Read a document; raises MalformedDocument. A dialog without id or known state is passed over."""
        root = parse_document(data, _tag("dialog-info"))
        entity, version = attribute(root, "entity"), integer(attribute(root, "version"))
        if entity is None or version is None:
            raise MalformedDocument("there is no entity, or no version")
        dialogs = tuple(dialog for element in children(root, _tag("dialog")) if (dialog := _read(element)) is not None)
        return cls(entity, version, attribute(root, "state") != "partial", dialogs)

    def encode(self) -> bytes:
        """The document."""
        root = make_element(_tag("dialog-info"), namespaces={None: NAMESPACE})
        root.set("version", str(self.version))
        root.set("state", "full" if self.is_full else "partial")
        root.set("entity", self.entity)
        for dialog in self.dialogs:
            root.append(_write(dialog))
        return encode_document(root)

    def updated(self, change: DialogInfo) -> DialogInfo:
        """This state after a later document; one that is older changes nothing (RFC 4235 4.3).

        Raises ValueError when documents between the two are missing: subscribe anew to get the full state.
        """
        if change.is_full and change.version > self.version:
            return change
        if change.version <= self.version:
            return self
        if change.version > self.version + 1:
            raise ValueError(f"version {change.version} follows on {self.version}: changes were lost")
        dialogs = {dialog.id: dialog for dialog in (*self.dialogs, *change.dialogs)}
        return replace(self, version=change.version, dialogs=tuple(dialogs.values()))


def _read(element: Any) -> Dialog | None:
    identity, state = attribute(element, "id"), element.find(_tag("state"))
    name = text_of(state)
    if identity is None or name not in STATES:
        return None
    return Dialog(
        identity,
        name,
        attribute(state, "event"),
        integer(attribute(state, "code"), 100, 699),
        attribute(element, "call-id"),
        attribute(element, "local-tag"),
        attribute(element, "remote-tag"),
        attribute(element, "direction"),
        integer(child_text(element, _tag("duration"))),
        _read_participant(element.find(_tag("local"))),
        _read_participant(element.find(_tag("remote"))),
    )


def _read_participant(element: Any) -> Participant | None:
    if element is None:
        return None
    identity, target = element.find(_tag("identity")), element.find(_tag("target"))
    return Participant(
        text_of(identity),
        None if identity is None else attribute(identity, "display"),
        None if target is None else attribute(target, "uri"),
    )


def _write(dialog: Dialog) -> Any:
    element = make_element(_tag("dialog"))
    for name, value in (
        ("id", dialog.id),
        ("call-id", dialog.call_id),
        ("local-tag", dialog.local_tag),
        ("remote-tag", dialog.remote_tag),
        ("direction", dialog.direction),
    ):
        if value is not None:
            element.set(name, value)
    state = make_element(_tag("state"), dialog.state)
    for name, value in (("event", dialog.event), ("code", None if dialog.code is None else str(dialog.code))):
        if value is not None:
            state.set(name, value)
    element.append(state)
    if dialog.duration is not None:
        element.append(make_element(_tag("duration"), str(dialog.duration)))
    for name, participant in (("local", dialog.local), ("remote", dialog.remote)):
        if participant is not None:
            element.append(_write_participant(name, participant))
    return element


def _write_participant(name: str, participant: Participant) -> Any:
    element = make_element(_tag(name))
    if participant.identity is not None:
        identity = make_element(_tag("identity"), participant.identity)
        if participant.display_name is not None:
            identity.set("display", participant.display_name)
        element.append(identity)
    if participant.target is not None:
        target = make_element(_tag("target"))
        target.set("uri", participant.target)
        element.append(target)
    return element


def _tag(name: str) -> str:
    return f"{{{NAMESPACE}}}{name}"
