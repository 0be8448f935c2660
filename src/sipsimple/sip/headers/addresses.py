"""The headers that hold an address (RFC 3261 20.10, 20.20, 20.30, 20.34, 20.39).

They are Contact, From, To, Route and Record-Route.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property
from typing import Any, Final, Self

from sipsimple.sip.frozen import EMPTY, Frozen, Mutable, frozendict, mapping, text_or_none, thaw
from sipsimple.sip.headers.base import BaseHeader, FrozenTextParameter, NumberParameter, TextParameter
from sipsimple.sip.lexer import LWS, format_parameters, parse_parameters, quote, split_address
from sipsimple.sip.uri import SIPURI, BaseSIPURI, FrozenSIPURI, parse_any_uri

__all__ = [
    "BaseContactHeader",
    "BaseIdentityHeader",
    "ContactHeader",
    "FromHeader",
    "FrozenContactHeader",
    "FrozenFromHeader",
    "FrozenIdentityHeader",
    "FrozenRecordRouteHeader",
    "FrozenRouteHeader",
    "FrozenToHeader",
    "IdentityHeader",
    "RecordRouteHeader",
    "RouteHeader",
    "ToHeader",
]

_Q: Final = re.compile(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?")


def address_uri(name: str, value: Any, frozen: bool) -> BaseSIPURI:
    """Rule: a frozen header holds a `FrozenSIPURI`, a mutable one a `SIPURI`."""
    if isinstance(value, FrozenSIPURI if frozen else SIPURI):
        return value
    if not frozen and isinstance(value, FrozenSIPURI):
        return thaw(value)  # type: ignore[no-any-return]
    raise TypeError(f"{name} must be a {'FrozenSIPURI' if frozen else 'SIPURI'}, not {type(value).__name__}")


def address_uri_or_none(name: str, value: Any, frozen: bool) -> BaseSIPURI | None:
    """Rule: a URI or, for the wildcard, `None`."""
    return None if value is None else address_uri(name, value, frozen)


class _AddressHeader(BaseHeader):
    """An address with a display name and parameters."""

    _compared = ("name", "uri", "display_name", "parameters")

    uri: BaseSIPURI | None
    display_name: str | None
    parameters: Mapping[str, str | None]

    @property
    def body(self) -> str:
        """The address as it stands on the wire."""
        address = f"<{self.uri}>" if self.display_name is None else f"{quote(self.display_name)} <{self.uri}>"
        return address + format_parameters(self.parameters) if self.parameters else address

    @classmethod
    def parse(cls, body: str) -> Self:
        display_name, uri, parameters = split_address(body)
        return cls._adopt(
            {
                "uri": parse_any_uri(uri),
                "display_name": display_name,
                "parameters": frozendict(parse_parameters(parameters)) if parameters else EMPTY,
            }
        )


class _QualityParameter:
    """The `q` parameter as a number; `None` when it is absent or not one."""

    def __get__(self, header: BaseContactHeader | None, owner: type) -> Any:
        if header is None:
            return self
        value = header.parameters.get("q")
        return float(value) if value is not None and _Q.fullmatch(value) is not None else None

    def __set__(self, header: ContactHeader, value: float | None) -> None:
        if value is None:
            header.parameters.pop("q", None)
        elif 0 <= value <= 1:
            header.parameters["q"] = f"{value:.3f}".rstrip("0").rstrip(".") if value else "0"
        else:
            raise ValueError(f"q must be between 0 and 1, not {value}")


class BaseContactHeader(_AddressHeader):
    """Where somebody can be reached; without a URI it is the wildcard `*` of a registration."""

    _rules = {"uri": address_uri_or_none, "display_name": text_or_none, "parameters": mapping}
    _compared = ("name", "uri", "display_name", "parameters")

    name = "Contact"
    expires = NumberParameter("expires")
    q = _QualityParameter()

    def __init__(
        self,
        uri: BaseSIPURI | None,
        display_name: str | None = None,
        parameters: Mapping[str, str | None] | None = None,
    ) -> None:
        if uri is None and (display_name or parameters):
            raise ValueError("the wildcard contact has neither a display name nor parameters")
        parameters = EMPTY if parameters is None else parameters
        self._fill(uri=uri, display_name=display_name, parameters=parameters)

    @property
    def body(self) -> str:
        """The address, or `*`."""
        return "*" if self.uri is None else super().body

    @classmethod
    def parse(cls, body: str) -> Self:
        if body.strip(LWS) == "*":
            return cls._adopt({"uri": None, "display_name": None, "parameters": EMPTY})
        return super().parse(body)


class ContactHeader(Mutable, BaseContactHeader):
    """A contact that may be changed."""

    uri: SIPURI | None
    parameters: dict[str, str | None]

    def __setattr__(self, name: str, value: Any) -> None:
        if value and self.uri is None and name != "uri":
            raise ValueError(f"the wildcard contact has no {name}")
        if name == "uri" and value is None and (self.display_name or self.parameters):
            raise ValueError("a contact with a display name or parameters cannot become the wildcard")
        super().__setattr__(name, value)


class FrozenContactHeader(Frozen, BaseContactHeader, normal=ContactHeader):
    """A contact that never changes."""

    uri: FrozenSIPURI | None
    parameters: frozendict[str, str | None]

    @cached_property
    def body(self) -> str:
        """The address, or `*`; written once."""
        return super().body


class BaseIdentityHeader(_AddressHeader):
    """Who or what a message is from, to, or passes through."""

    _rules = {"uri": address_uri, "display_name": text_or_none, "parameters": mapping}
    _compared = ("name", "uri", "display_name", "parameters")

    uri: BaseSIPURI

    def __init__(
        self,
        uri: BaseSIPURI,
        display_name: str | None = None,
        parameters: Mapping[str, str | None] | None = None,
    ) -> None:
        parameters = EMPTY if parameters is None else parameters
        self._fill(uri=uri, display_name=display_name, parameters=parameters)


class IdentityHeader(Mutable, BaseIdentityHeader):
    """An address header that may be changed; its subclasses have names."""

    uri: SIPURI
    parameters: dict[str, str | None]


class FrozenIdentityHeader(Frozen, BaseIdentityHeader):
    """An address header that never changes; its subclasses have names."""

    uri: FrozenSIPURI
    parameters: frozendict[str, str | None]

    @cached_property
    def body(self) -> str:
        """The address as it stands on the wire; written once."""
        return super().body


class FromHeader(IdentityHeader):
    """Who sent the request."""

    name = "From"
    tag = TextParameter("tag")


class FrozenFromHeader(FrozenIdentityHeader, normal=FromHeader):
    """Who sent the request, frozen."""

    name = "From"
    tag = FrozenTextParameter("tag")


class ToHeader(IdentityHeader):
    """Whom the request is meant for."""

    name = "To"
    tag = TextParameter("tag")


class FrozenToHeader(FrozenIdentityHeader, normal=ToHeader):
    """Whom the request is meant for, frozen."""

    name = "To"
    tag = FrozenTextParameter("tag")


class RouteHeader(IdentityHeader):
    """A proxy that the request must pass."""

    name = "Route"


class FrozenRouteHeader(FrozenIdentityHeader, normal=RouteHeader):
    """A proxy that the request must pass, frozen."""

    name = "Route"


class RecordRouteHeader(IdentityHeader):
    """A proxy that wants to stay on the path of the dialog."""

    name = "Record-Route"


class FrozenRecordRouteHeader(FrozenIdentityHeader, normal=RecordRouteHeader):
    """A proxy that wants to stay on the path of the dialog, frozen."""

    name = "Record-Route"
