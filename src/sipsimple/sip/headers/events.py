"""The headers of subscriptions (RFC 6665 8.2) and of refusals: Event, Subscription-State, Retry-After, Warning."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, Self

from sipsimple.sip.errors import MalformedMessage
from sipsimple.sip.frozen import EMPTY, Frozen, Mutable, frozendict, integer, mapping, text, text_or_none
from sipsimple.sip.headers.base import BaseHeader, NumberParameter, TextParameter
from sipsimple.sip.lexer import LWS, check_token, format_parameters, parse_integer, parse_parameters, quote, unquote

__all__ = [
    "BaseEventHeader",
    "BaseRetryAfterHeader",
    "BaseSubscriptionStateHeader",
    "BaseWarningHeader",
    "EventHeader",
    "FrozenEventHeader",
    "FrozenRetryAfterHeader",
    "FrozenSubscriptionStateHeader",
    "FrozenWarningHeader",
    "RetryAfterHeader",
    "SubscriptionStateHeader",
    "WarningHeader",
]

_COMMENT_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)


def warning_code(name: str, value: Any, frozen: bool) -> int:
    """Rule: a warning code has three digits."""
    code = integer(name, value, frozen)
    if not 100 <= code <= 999:
        raise ValueError(f"{name} must be between 100 and 999, not {code}")
    return code


class BaseEventHeader(BaseHeader):
    """The event package that a subscription is about."""

    _rules = {"event": text, "parameters": mapping}

    name = "Event"
    event: str
    parameters: Mapping[str, str | None]
    id = TextParameter("id")

    def __init__(self, event: str, parameters: Mapping[str, str | None] | None = None) -> None:
        self._fill(event=event, parameters=EMPTY if parameters is None else parameters)

    @property
    def body(self) -> str:
        """The package and its parameters."""
        return self.event + format_parameters(vars(self)["parameters"])

    @classmethod
    def parse(cls, body: str) -> Self:
        event, parameters = _split_word(body)
        return cls._adopt({"event": event, "parameters": parameters})


class EventHeader(Mutable, BaseEventHeader):
    """An event package that may be changed."""

    @property
    def parameters(self) -> dict[str, str | None]:  # type: ignore[override]  # a copy, assigned through the rule
        """A copy of the parameters; assign to change them."""
        return dict(vars(self)["parameters"])


class FrozenEventHeader(Frozen, BaseEventHeader, normal=EventHeader):
    """An event package that never changes."""

    parameters: frozendict[str, str | None]


class BaseSubscriptionStateHeader(BaseHeader):
    """How a subscription stands: `active`, `pending` or `terminated`; times are in seconds."""

    _rules = {"state": text, "parameters": mapping}

    name = "Subscription-State"
    state: str
    parameters: Mapping[str, str | None]
    reason = TextParameter("reason")
    expires = NumberParameter("expires")
    retry_after = NumberParameter("retry-after")

    def __init__(self, state: str, parameters: Mapping[str, str | None] | None = None) -> None:
        self._fill(state=state, parameters=EMPTY if parameters is None else parameters)

    @property
    def body(self) -> str:
        """The state and its parameters."""
        return self.state + format_parameters(vars(self)["parameters"])

    @classmethod
    def parse(cls, body: str) -> Self:
        state, parameters = _split_word(body)
        return cls._adopt({"state": state, "parameters": parameters})


class SubscriptionStateHeader(Mutable, BaseSubscriptionStateHeader):
    """A subscription state that may be changed."""

    @property
    def parameters(self) -> dict[str, str | None]:  # type: ignore[override]  # a copy, assigned through the rule
        """A copy of the parameters; assign to change them."""
        return dict(vars(self)["parameters"])


class FrozenSubscriptionStateHeader(Frozen, BaseSubscriptionStateHeader, normal=SubscriptionStateHeader):
    """A subscription state that never changes."""

    parameters: frozendict[str, str | None]


class BaseRetryAfterHeader(BaseHeader):
    """When to try again (RFC 3261 20.33): `seconds`, and `duration` seconds during which it will work."""

    _rules = {"seconds": integer, "comment": text_or_none, "parameters": mapping}

    name = "Retry-After"
    seconds: int
    comment: str | None
    parameters: Mapping[str, str | None]
    duration = NumberParameter("duration")

    def __init__(
        self, seconds: int, comment: str | None = None, parameters: Mapping[str, str | None] | None = None
    ) -> None:
        self._fill(seconds=seconds, comment=comment, parameters=EMPTY if parameters is None else parameters)

    @property
    def body(self) -> str:
        """The seconds, the comment in parentheses and the parameters."""
        comment = "" if self.comment is None else f" ({_escape_comment(self.comment)})"
        return f"{self.seconds}{comment}{format_parameters(self.parameters)}"

    @classmethod
    def parse(cls, body: str) -> Self:
        seconds, comment, tail = _split_comment(body.strip(LWS))
        parameters: frozendict[str, str | None] = EMPTY
        if tail:
            if not tail.startswith(";"):
                raise MalformedMessage(f"not a Retry-After: {body[:60]!r}")
            parameters = frozendict(parse_parameters(tail[1:]))
        number = parse_integer(seconds, "Retry-After")
        return cls._adopt({"seconds": number, "comment": comment, "parameters": parameters})


class RetryAfterHeader(Mutable, BaseRetryAfterHeader):
    """A time to try again that may be changed."""

    parameters: dict[str, str | None]


class FrozenRetryAfterHeader(Frozen, BaseRetryAfterHeader, normal=RetryAfterHeader):
    """A time to try again that never changes."""

    parameters: frozendict[str, str | None]


class BaseWarningHeader(BaseHeader):
    """What went wrong, in words for a person (RFC 3261 20.43)."""

    _rules = {"code": warning_code, "agent": text, "text": text}

    name = "Warning"
    code: int
    agent: str
    text: str

    def __init__(self, code: int, agent: str, text: str) -> None:
        self._fill(code=code, agent=agent, text=text)

    @property
    def body(self) -> str:
        """The code, who says so, and the text in quotes."""
        return f"{self.code} {self.agent} {quote(self.text)}"

    @classmethod
    def parse(cls, body: str) -> Self:
        code, _, rest = body.strip(LWS).partition(" ")
        agent, _, quoted = rest.lstrip(LWS).partition(" ")
        number = parse_integer(code, "a warning code", 999)
        if number < 100 or not agent:
            raise MalformedMessage(f"not a Warning: {body[:60]!r}")
        return cls._adopt({"code": number, "agent": agent, "text": unquote(quoted.strip(LWS))})


class WarningHeader(Mutable, BaseWarningHeader):
    """A warning that may be changed."""


class FrozenWarningHeader(Frozen, BaseWarningHeader, normal=WarningHeader):
    """A warning that never changes."""


def _split_word(body: str) -> tuple[str, frozendict[str, str | None]]:
    word, semicolon, parameters = body.partition(";")
    word = check_token(word.strip(LWS), "the value of a header")
    return word, frozendict(parse_parameters(parameters)) if semicolon else EMPTY


def _split_comment(body: str) -> tuple[str, str | None, str]:
    """Split `seconds (comment) tail`; comments nest (RFC 3261 25.1)."""
    start = body.find("(")
    semicolon = body.find(";")
    if start < 0 or 0 <= semicolon < start:
        seconds, _, _ = body.partition(";")
        return seconds.strip(LWS), None, "" if semicolon < 0 else body[semicolon:]
    depth = 0
    position = start
    while position < len(body):
        character = body[position]
        if character == "\\":
            position += 1
        elif character == "(":
            depth += 1
        elif character == ")":
            depth -= 1
            if depth == 0:
                comment = _COMMENT_ESCAPED.sub(r"\1", body[start + 1 : position])
                return body[:start].strip(LWS), comment, body[position + 1 :].strip(LWS)
        position += 1
    raise MalformedMessage("the parentheses of a comment do not close")


def _escape_comment(comment: str) -> str:
    return comment.replace("\\", "\\\\").replace("(", "\\(").replace(")", "\\)")
