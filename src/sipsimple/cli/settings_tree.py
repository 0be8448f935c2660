"""Settings by their paths: finding them, and their values as text, as JSON and as typed on a command line."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any, Final

from sipsimple.cli.output import WRONG_USE, CommandError, clean
from sipsimple.configuration import Setting, SettingAlias, groups_of, settings_of
from sipsimple.configuration.datatypes import List

NONE_WORDS: Final = frozenset(("none", "null", ""))
MASK: Final = "********"


class Entry:
    """One setting of one settings object."""

    def __init__(self, path: str, setting: Setting[Any], container: Any) -> None:
        self.path = path
        self.setting = setting
        self.container = container

    @property
    def value(self) -> Any:
        return self.setting.__get__(self.container)

    @property
    def is_default(self) -> bool:
        return not self.setting.isset(self.container)

    def text(self, show_secrets: bool = False) -> str:
        """The value for people; a secret one is masked."""
        if self.setting.secret and self.value and not show_secrets:
            return MASK
        if self.value is None:
            return "none"
        if isinstance(self.value, bool):
            return "true" if self.value else "false"
        return clean(self.value)

    def json(self, show_secrets: bool = False) -> Any:
        """The value for programs; a secret one is masked."""
        value = self.value
        if self.setting.secret and value and not show_secrets:
            return MASK
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, int):
            return int(value)
        if isinstance(value, List):
            return [str(item) for item in value]
        return str(value)

    def parse(self, text: str) -> Any:
        """The value of what somebody typed; raises CommandError."""
        setting = self.setting
        if setting.nillable and text.strip().lower() in NONE_WORDS:
            return None
        typed: Any = text
        if issubclass(setting.type, List):
            typed = [item.strip() for item in text.split(",") if item.strip()]
        try:
            return setting.from_stored(typed)
        except ValueError as error:
            raise CommandError(f"{self.path} cannot be set to {clean(text)!r}: {error}", WRONG_USE) from error


def entries(settings: Any) -> Iterator[Entry]:
    """Every setting of the object, in the order of its declaration, without the mere aliases."""
    return _walk(settings, "")


def _walk(container: Any, prefix: str) -> Iterator[Entry]:
    for name, setting in settings_of(type(container)):
        if not isinstance(setting, SettingAlias):
            yield Entry(prefix + name, setting, container)
    for name, _ in groups_of(type(container)):
        yield from _walk(getattr(container, name), f"{prefix}{name}.")


def find(settings: Any, path: str) -> Entry:
    """The setting with this path; raises CommandError that names the nearest ones."""
    known = {entry.path: entry for entry in entries(settings)}
    if path in known:
        return known[path]
    raise CommandError(f"there is no setting {clean(path)!r}{suggestion(path, list(known))}", WRONG_USE)


def suggestion(wrong: str, known: list[str]) -> str:
    """What the user may have meant, as the end of a sentence."""
    near = difflib.get_close_matches(wrong, known, n=3, cutoff=0.5)
    near += [name for name in known if name.rpartition(".")[2] == wrong.rpartition(".")[2] and name not in near]
    return f"; did you mean {' or '.join(near[:4])}?" if near else "; `sipsimple settings list` shows all"
