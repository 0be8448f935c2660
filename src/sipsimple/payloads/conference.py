"""The state of a conference (RFC 4575): `application/conference-info+xml`, in full or as changes.

Read for who takes part and how: the subject, the users, their endpoints and media. A later document with
`state="partial"` is applied by `updated`, by the rules of RFC 4575 4.6.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import Any, Final, TypeVar

from sipsimple.payloads.reading import attribute, boolean, child_text, children, integer
from sipsimple.payloads.xmldoc import MalformedDocument, encode_document, make_element, parse_document

__all__ = ["CONTENT_TYPE", "ConferenceInfo", "Endpoint", "Media", "User"]

CONTENT_TYPE: Final = "application/conference-info+xml"
NAMESPACE: Final = "urn:ietf:params:xml:ns:conference-info"
STATES: Final = ("full", "partial", "deleted")


Item = TypeVar("Item", bound="User | Endpoint | Media")


@dataclass(frozen=True, slots=True)
class Media:
    """One media of an endpoint; `status` is its direction, such as `sendrecv`."""

    id: str
    type: str | None = None
    label: str | None = None
    status: str | None = None
    display_text: str | None = None
    state: str = "full"

    @property
    def key(self) -> str:
        return self.id


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A device of a user; `status` is `connected`, `on-hold`, `dialing-in`, `disconnected` ..."""

    entity: str
    display_text: str | None = None
    status: str | None = None
    joining_method: str | None = None
    media: tuple[Media, ...] = ()
    state: str = "full"

    @property
    def key(self) -> str:
        return self.entity


@dataclass(frozen=True, slots=True)
class User:
    """Somebody in the conference, by URI."""

    entity: str
    display_text: str | None = None
    roles: tuple[str, ...] = ()
    endpoints: tuple[Endpoint, ...] = ()
    state: str = "full"

    @property
    def key(self) -> str:
        return self.entity


@dataclass(frozen=True, slots=True)
class ConferenceInfo:
    """The conference `entity`; what was not said is None."""

    entity: str
    version: int = 1
    state: str = "full"
    display_text: str | None = None
    subject: str | None = None
    free_text: str | None = None
    user_count: int | None = None
    is_active: bool | None = None
    is_locked: bool | None = None
    users: tuple[User, ...] = ()

    @classmethod
    def parse(cls, data: bytes) -> ConferenceInfo:
        """Read a document; raises MalformedDocument. What makes no sense in it counts as missing."""
        root = parse_document(data, _tag("conference-info"))
        entity = attribute(root, "entity")
        if entity is None:
            raise MalformedDocument("there is no entity")
        description, state = _tag("conference-description"), _tag("conference-state")
        return cls(
            entity,
            integer(attribute(root, "version")) or 0,
            _state(root),
            child_text(root, f"{description}/{_tag('display-text')}"),
            child_text(root, f"{description}/{_tag('subject')}"),
            child_text(root, f"{description}/{_tag('free-text')}"),
            integer(child_text(root, f"{state}/{_tag('user-count')}")),
            boolean(child_text(root, f"{state}/{_tag('active')}")),
            boolean(child_text(root, f"{state}/{_tag('locked')}")),
            tuple(_read_users(root.find(_tag("users")))),
        )

    def encode(self) -> bytes:
        """The document."""
        root = make_element(_tag("conference-info"), namespaces={None: NAMESPACE})
        root.set("entity", self.entity)
        root.set("state", self.state)
        root.set("version", str(self.version))
        _group(
            root,
            "conference-description",
            (("display-text", self.display_text), ("subject", self.subject), ("free-text", self.free_text)),
        )
        _group(
            root,
            "conference-state",
            (("user-count", self.user_count), ("active", self.is_active), ("locked", self.is_locked)),
        )
        if self.users:
            users = make_element(_tag("users"))
            for user in self.users:
                users.append(_write_user(user))
            root.append(users)
        return encode_document(root)

    def updated(self, change: ConferenceInfo) -> ConferenceInfo:
        """This state after a later document; one that is older changes nothing.

        Raises ValueError when documents between the two are missing: subscribe anew to get the full state.
        """
        if change.version <= self.version:
            return self
        if change.state == "full":
            return change
        if change.version > self.version + 1:
            raise ValueError(f"version {change.version} follows on {self.version}: changes were lost")
        overlaid: ConferenceInfo = _overlaid(self, change)
        return replace(overlaid, state="full", users=_merged(self.users, change.users))


# Changes


def _overlaid(before: Any, change: Any) -> Any:
    """`before` with all that the change says."""
    said = {field.name: getattr(change, field.name) for field in fields(change)}
    return replace(before, **{name: value for name, value in said.items() if value not in (None, ())})


def _merged(before: Iterable[Item], changes: Iterable[Item]) -> tuple[Item, ...]:
    """The items after the changes: replaced, overlaid or removed, as the state of each says."""
    items = {item.key: item for item in before}
    for change in changes:
        old = items.get(change.key)
        if change.state == "deleted":
            items.pop(change.key, None)
        elif change.state == "full" or old is None:
            items[change.key] = replace(change, state="full")
        else:
            items[change.key] = _merged_item(old, change)
    return tuple(items.values())


def _merged_item(old: Any, change: Any) -> Any:
    new = replace(_overlaid(old, change), state="full")
    for name in ("endpoints", "media"):
        if hasattr(old, name):
            new = replace(new, **{name: _merged(getattr(old, name), getattr(change, name))})
    return new


# Reading


def _state(element: Any) -> str:
    state = attribute(element, "state")
    return state if state in STATES else "full"


def _read_users(element: Any) -> Iterable[User]:
    for user in () if element is None else children(element, _tag("user")):
        entity = attribute(user, "entity")
        if entity is not None:
            roles = user.find(_tag("roles"))
            names = () if roles is None else (str(role.text).strip() for role in children(roles, _tag("entry")))
            endpoints = tuple(_read_endpoints(user))
            text = child_text(user, _tag("display-text"))
            yield User(entity, text, tuple(name for name in names if name), endpoints, _state(user))


def _read_endpoints(user: Any) -> Iterable[Endpoint]:
    for element in children(user, _tag("endpoint")):
        entity = attribute(element, "entity")
        if entity is not None:
            yield Endpoint(
                entity,
                child_text(element, _tag("display-text")),
                child_text(element, _tag("status")),
                child_text(element, _tag("joining-method")),
                tuple(_read_media(element)),
                _state(element),
            )


def _read_media(endpoint: Any) -> Iterable[Media]:
    for element in children(endpoint, _tag("media")):
        name = attribute(element, "id")
        if name is not None:
            kind, label, status, text = (
                child_text(element, _tag(tag)) for tag in ("type", "label", "status", "display-text")
            )
            yield Media(name, kind, label, status, text, _state(element))


# Writing


def _group(root: Any, name: str, values: Iterable[tuple[str, Any]]) -> None:
    known = [(tag, value) for tag, value in values if value is not None]
    if known:
        element = make_element(_tag(name))
        for tag, value in known:
            element.append(make_element(_tag(tag), str(value).lower() if isinstance(value, bool) else str(value)))
        root.append(element)


def _write_user(user: User) -> Any:
    element = _item("user", "entity", user.entity, user.state, (("display-text", user.display_text),))
    if user.roles:
        roles = make_element(_tag("roles"))
        for role in user.roles:
            roles.append(make_element(_tag("entry"), role))
        element.append(roles)
    for endpoint in user.endpoints:
        values = (
            ("display-text", endpoint.display_text),
            ("status", endpoint.status),
            ("joining-method", endpoint.joining_method),
        )
        child = _item("endpoint", "entity", endpoint.entity, endpoint.state, values)
        for media in endpoint.media:
            child.append(_write_media(media))
        element.append(child)
    return element


def _write_media(media: Media) -> Any:
    values = (
        ("display-text", media.display_text),
        ("type", media.type),
        ("label", media.label),
        ("status", media.status),
    )
    return _item("media", "id", media.id, media.state, values)


def _item(tag: str, key: str, name: str, state: str, values: Iterable[tuple[str, str | None]]) -> Any:
    element = make_element(_tag(tag))
    element.set(key, name)
    if state != "full":
        element.set("state", state)
    for child, value in values:
        if value is not None:
            element.append(make_element(_tag(child), value))
    return element


def _tag(name: str) -> str:
    return f"{{{NAMESPACE}}}{name}"
