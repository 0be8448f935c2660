"""Chat messages and those who send them, as applications see them; plain ones, and those in CPIM (RFC 3862).

The body of a text type is text, that of any other type bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

from sipsimple.payloads.cpim import (
    CPIMDocument,
    CPIMField,
    CPIMNamespace,
    CPIMParserError,
    charset_of,
    escape,
    format_address,
    parse_address,
    unescape,
)
from sipsimple.sip.errors import MalformedURI
from sipsimple.sip.uri import FrozenSIPURI, parse_any_uri

__all__ = [
    "CPIMHeader",
    "CPIMIdentity",
    "CPIMMessage",
    "CPIMNamespace",
    "CPIMParserError",
    "ChatIdentity",
    "ChatMessage",
    "MultilingualText",
    "decode_body",
]

UTF_8: Final = "utf-8"
REMEMBERED_ADDRESSES: Final = 256
"""Addresses that are not read or written again: the same few are in every message of a chat."""


class MultilingualText(str):
    """Text, and what it is in other languages: `MultilingualText("Hello", fr="Salut")`."""

    translations: dict[str, str]

    def __new__(cls, text: object = "", **translations: str) -> MultilingualText:
        multilingual = super().__new__(cls, text)
        multilingual.translations = translations
        return multilingual

    def get_translation(self, language: str) -> str:
        """The text in this language, or as it is when nobody has translated it."""
        return self.translations.get(language, str(self))


class ChatIdentity:
    """Who takes part in a chat; equal when `uri` and `display_name` are."""

    def __init__(self, uri: Any, display_name: str | None = None) -> None:
        self.uri = uri
        self.display_name = display_name

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ChatIdentity):
            return NotImplemented
        return bool(self.uri == other.uri) and self.display_name == other.display_name

    def __hash__(self) -> int:
        return hash((str(self.uri), self.display_name))

    def __str__(self) -> str:
        return format_address(self.display_name, str(self.uri))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.uri)!r}, {self.display_name!r})"


class CPIMIdentity(ChatIdentity):
    """An identity of a CPIM header; it equals a `ChatIdentity` with the same content."""

    @classmethod
    def parse(cls, text: str) -> CPIMIdentity:
        """Read `Name <uri>`, `"Name" <uri>`, `<uri>` or a URI, which is one of SIP when it has no scheme.

        Raises ValueError.
        """
        return cls(*_read_address(text))


class CPIMHeader:
    """A header of an extension; `namespace` is its URI, a `CPIMNamespace` when the prefix matters."""

    def __init__(self, name: str, namespace: str | None, value: str) -> None:
        self.name = name
        self.namespace: CPIMNamespace | None
        if namespace is None or isinstance(namespace, CPIMNamespace):
            self.namespace = namespace
        else:
            self.namespace = CPIMNamespace(namespace)
        self.value = value

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, CPIMHeader):
            return NotImplemented
        return (self.name, self.namespace, self.value) == (other.name, other.namespace, other.value)

    def __hash__(self) -> int:
        return hash((self.name, self.namespace, self.value))

    def __repr__(self) -> str:
        return f"CPIMHeader({self.name!r}, {self.namespace!r}, {self.value!r})"


class ChatMessage:
    """A message without an envelope: who it is from and for is known by the session it came in."""

    def __init__(
        self,
        body: str | bytes,
        content_type: str,
        sender: ChatIdentity | None = None,
        recipient: ChatIdentity | None = None,
        timestamp: datetime | None = None,
    ) -> None:
        self.body = body
        self.content_type = content_type
        self.sender = sender
        self.recipients: list[ChatIdentity] = [] if recipient is None else [recipient]
        self.courtesy_recipients: list[ChatIdentity] = []
        self.subject: str | None = None
        self.timestamp = timestamp
        self.required: list[str] = []
        self.additional_headers: list[CPIMHeader] = []

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.content_type}, {len(self.body)} long, from {self.sender}>"


class CPIMMessage(ChatMessage):
    """A message with its envelope. `required` names headers that a receiver has to understand."""

    def __init__(
        self,
        body: str | bytes,
        content_type: str,
        sender: ChatIdentity | None = None,
        recipients: Iterable[ChatIdentity] | None = None,
        courtesy_recipients: Iterable[ChatIdentity] | None = None,
        subject: str | None = None,
        timestamp: datetime | None = None,
        required: Iterable[str] | None = None,
        additional_headers: Iterable[CPIMHeader] | None = None,
    ) -> None:
        super().__init__(body, content_type, sender, timestamp=timestamp)
        self.recipients = list(recipients or ())
        self.courtesy_recipients = list(courtesy_recipients or ())
        self.subject = (
            subject if subject is None or isinstance(subject, MultilingualText) else MultilingualText(subject)
        )
        self.required = list(required or ())
        self.additional_headers = list(additional_headers or ())

    @classmethod
    def parse(cls, data: str | bytes) -> CPIMMessage:
        """Read a message; raises CPIMParserError. A header that cannot be understood counts as missing."""
        document = CPIMDocument.parse(data.encode() if isinstance(data, str) else data)
        core: dict[str, list[CPIMField]] = {}
        additional = []
        for field in document.fields:
            name = field.name.lower()
            if field.namespace is None and name in _CORE:
                core.setdefault(_CORE[name], []).append(field)
            else:
                additional.append(CPIMHeader(field.name, field.namespace, field.text))
        senders = _identities(core.get("from", ()))
        dates = [moment for field in core.get("datetime", ()) if (moment := _moment(field.value)) is not None]
        required = [name.strip() for field in core.get("require", ()) for name in field.value.split(",")]
        return cls(
            *decode_body(document.content, document.content_type),
            sender=senders[0] if senders else None,
            recipients=_identities(core.get("to", ())),
            courtesy_recipients=_identities(core.get("cc", ())),
            subject=_subject(core.get("subject", ())),
            timestamp=dates[0] if dates else None,
            required=[name for name in required if name],
            additional_headers=additional,
        )

    def encode(self) -> bytes:
        """The wire form. Raises ValueError when a name, URI or header cannot be written."""
        fields = []
        if self.sender is not None:
            fields.append(_address("From", self.sender))
        fields += [_address("To", identity) for identity in self.recipients]
        fields += [_address("cc", identity) for identity in self.courtesy_recipients]
        if self.subject is not None:
            fields.append(CPIMField("Subject", escape(self.subject)))
            translations = getattr(self.subject, "translations", {})
            fields += [CPIMField("Subject", escape(text), None, tag) for tag, text in translations.items()]
        if self.timestamp is not None:
            # A time without a zone is local.
            moment = self.timestamp if self.timestamp.tzinfo is not None else self.timestamp.astimezone()
            fields.append(CPIMField("DateTime", moment.isoformat()))
        for header in self.additional_headers:
            fields.append(CPIMField(header.name, escape(header.value), header.namespace))
        if self.required:
            # After the namespaces, whose prefixes these names may have.
            fields.append(CPIMField("Require", ",".join(self.required)))
        if isinstance(self.body, str):
            return CPIMDocument(tuple(fields), f'{self.content_type}; charset="{UTF_8}"', self.body.encode()).encode()
        return CPIMDocument(tuple(fields), self.content_type, self.body).encode()

    def __str__(self) -> str:
        """The wire form as text; of a body that is no text, what can be shown."""
        return self.encode().decode(errors="replace")


# RFC 3862 4.7 says Require; others have always written Required.
_CORE: Final = {name: name for name in ("from", "to", "cc", "subject", "datetime", "require")} | {"required": "require"}


def decode_body(data: bytes, content_type: str) -> tuple[str | bytes, str]:
    """Body and type for applications: text of `text/*` without the parameters, bytes of anything else as it is.

    Octets that are not of the character set are replaced; the default set, and that for unknown ones, is UTF-8.
    """
    media_type = content_type.partition(";")[0].strip().lower()
    if not media_type.startswith("text/"):
        return data, content_type.strip()
    try:
        return data.decode(charset_of(content_type) or UTF_8, errors="replace"), media_type
    except (LookupError, ValueError):
        # LookupError: also for those that Python knows and that make no text, such as `hex`.
        return data.decode(errors="replace"), media_type


def _address(name: str, identity: ChatIdentity) -> CPIMField:
    return _written_address(name, identity.display_name, str(identity.uri))


@lru_cache(maxsize=REMEMBERED_ADDRESSES)
def _written_address(name: str, display_name: str | None, uri: str) -> CPIMField:
    return CPIMField(name, format_address(display_name, uri))


def _identities(fields: Iterable[CPIMField]) -> list[ChatIdentity]:
    identities: list[ChatIdentity] = []
    for field in fields:
        try:
            identities.append(CPIMIdentity(*_read_address(field.value)))
        except ValueError:
            continue
    return identities


@lru_cache(maxsize=REMEMBERED_ADDRESSES)
def _read_address(text: str) -> tuple[FrozenSIPURI, str | None]:
    """URI and name; raises ValueError."""
    name, uri = parse_address(text)
    if ":" not in uri.partition("@")[0]:
        uri = f"sip:{uri}"
    try:
        return parse_any_uri(uri), name
    except MalformedURI as error:
        raise ValueError(f"{text[:80]!r} names nobody: {error}") from error


def _subject(subjects: Sequence[CPIMField]) -> MultilingualText | None:
    if not subjects:
        return None
    plain = next((field for field in subjects if field.language is None), subjects[0])
    translations = {field.language: field.text for field in subjects if field.language is not None}
    return MultilingualText(plain.text, **translations)


def _moment(value: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(unescape(value).strip().upper())
        return moment if moment.tzinfo is not None else moment.astimezone()
    except (ValueError, OverflowError, OSError):
        return None
