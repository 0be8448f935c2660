"""Who watches somebody (RFC 3858): `application/watcherinfo+xml`, in full or as changes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

from sipsimple.payloads.reading import attribute, children, integer, text_of
from sipsimple.payloads.xmldoc import MalformedDocument, encode_document, make_element, parse_document

__all__ = ["CONTENT_TYPE", "Watcher", "WatcherInfo", "WatcherList"]

CONTENT_TYPE: Final = "application/watcherinfo+xml"
NAMESPACE: Final = "urn:ietf:params:xml:ns:watcherinfo"
STATUSES: Final = ("pending", "active", "waiting", "terminated")
EVENTS: Final = ("subscribe", "approved", "deactivated", "probation", "rejected", "timeout", "giveup", "noresource")


@dataclass(frozen=True, slots=True)
class Watcher:
    """Somebody who watches: a URI, and the state of the subscription; `expiration` and `duration` in seconds."""

    id: str
    uri: str
    status: str
    event: str
    display_name: str | None = None
    expiration: int | None = None
    duration: int | None = None

    def __post_init__(self) -> None:
        if self.status not in STATUSES or self.event not in EVENTS:
            raise ValueError(f"{self.status} by {self.event} is no state of a watcher (RFC 3858 3.3)")


@dataclass(frozen=True, slots=True)
class WatcherList:
    """The watchers of one resource for one event package."""

    resource: str
    package: str
    watchers: tuple[Watcher, ...] = ()


@dataclass(frozen=True, slots=True)
class WatcherInfo:
    """The watchers of one or more resources; `is_full` says whether they are all, or those that changed."""

    version: int
    is_full: bool
    lists: tuple[WatcherList, ...] = ()

    @classmethod
    def parse(cls, data: bytes) -> WatcherInfo:
        """Read a document; raises MalformedDocument. What makes no sense in it is passed over."""
        root = parse_document(data, _tag("watcherinfo"))
        version = integer(attribute(root, "version"))
        if version is None:
            raise MalformedDocument("there is no version")
        lists = (_read_list(element) for element in children(root, _tag("watcher-list")))
        return cls(version, attribute(root, "state") != "partial", tuple(one for one in lists if one is not None))

    def encode(self) -> bytes:
        """The document."""
        root = make_element(_tag("watcherinfo"), namespaces={None: NAMESPACE})
        root.set("version", str(self.version))
        root.set("state", "full" if self.is_full else "partial")
        for one in self.lists:
            root.append(_write_list(one))
        return encode_document(root)

    def updated(self, change: WatcherInfo) -> WatcherInfo:
        """This state after a later document; one that is older changes nothing (RFC 3858 4).

        Raises ValueError when documents between the two are missing: subscribe anew to get the full state.
        """
        if change.version <= self.version:
            return self
        if change.is_full:
            return change
        if change.version > self.version + 1:
            raise ValueError(f"version {change.version} follows on {self.version}: changes were lost")
        lists = {(one.resource, one.package): one for one in self.lists}
        for one in change.lists:
            before = lists.get((one.resource, one.package), replace(one, watchers=()))
            watchers = {watcher.id: watcher for watcher in (*before.watchers, *one.watchers)}
            lists[one.resource, one.package] = replace(one, watchers=tuple(watchers.values()))
        return replace(self, version=change.version, lists=tuple(lists.values()))


def _read_list(element: Any) -> WatcherList | None:
    resource, package = attribute(element, "resource"), attribute(element, "package")
    if resource is None or package is None:
        return None
    watchers = (_read_watcher(watcher) for watcher in children(element, _tag("watcher")))
    return WatcherList(resource, package, tuple(watcher for watcher in watchers if watcher is not None))


def _read_watcher(element: Any) -> Watcher | None:
    identity, uri = attribute(element, "id"), text_of(element)
    status, event = attribute(element, "status"), attribute(element, "event")
    if identity is None or uri is None or status not in STATUSES or event not in EVENTS:
        return None
    return Watcher(
        identity,
        uri,
        status,
        event,
        attribute(element, "display-name"),
        integer(attribute(element, "expiration")),
        integer(attribute(element, "duration-subscribed")),
    )


def _write_list(one: WatcherList) -> Any:
    element = make_element(_tag("watcher-list"))
    element.set("resource", one.resource)
    element.set("package", one.package)
    for watcher in one.watchers:
        child = make_element(_tag("watcher"), watcher.uri)
        for name, value in (
            ("id", watcher.id),
            ("status", watcher.status),
            ("event", watcher.event),
            ("display-name", watcher.display_name),
            ("expiration", watcher.expiration),
            ("duration-subscribed", watcher.duration),
        ):
            if value is not None:
                child.set(name, str(value))
        element.append(child)
    return element


def _tag(name: str) -> str:
    return f"{{{NAMESPACE}}}{name}"
