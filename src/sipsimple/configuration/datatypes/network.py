"""Types of hosts, ports, addresses and transports."""

from __future__ import annotations

import ipaddress
import re
from typing import Any, ClassVar, Final, Self
from urllib.parse import urlsplit

from sipsimple.configuration.datatypes.basic import Choice, List

MAX_HOSTNAME_LENGTH: Final = 253

_LABEL: Final = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_DOMAIN: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_ENDPOINT: Final = re.compile(
    r"(?P<host>\[[^\]]*\]|[^\[\]:;]*)(?::(?P<port>[0-9]+))?(?:;transport=(?P<transport>[A-Za-z]+))?"
)


class Port(int):
    """A port number; 0 means any, or the usual one."""

    __slots__ = ()

    def __new__(cls, value: Any) -> Self:
        number = super().__new__(cls, value)
        if not 0 <= number <= 65535:
            raise ValueError(f"{int(number)} is no port number: it has to be between 0 and 65535")
        return number


class PortRange:
    """The ports from `start` to `end`, both included; stored and shown as `50000-50400`."""

    def __init__(self, start: Any, end: Any) -> None:
        self.start = Port(start)
        self.end = Port(end)
        if not 0 < self.start <= self.end:
            raise ValueError(f"{self} is no port range: the ports have to be above 0, the first not above the last")

    def __getstate__(self) -> str:
        return str(self)

    def __setstate__(self, state: str) -> None:
        if not isinstance(state, str) or "-" not in state:
            raise ValueError("a port range is needed here, such as 50000-50400")
        self.__init__(*state.split("-", 1))  # type: ignore[misc]

    def __eq__(self, other: object) -> bool:
        return (self.start, self.end) == (other.start, other.end) if isinstance(other, PortRange) else NotImplemented

    def __hash__(self) -> int:
        return hash((self.start, self.end))

    def __str__(self) -> str:
        return f"{int(self.start)}-{int(self.end)}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}(start={int(self.start)}, end={int(self.end)})"


class Hostname(str):
    """A host name or an IP address; an IPv6 address may stand in brackets, which are dropped."""

    __slots__ = ()

    def __new__(cls, value: object) -> Self:
        text = str(value)
        if not _is_host(text):
            raise ValueError(f"{text!r} is neither a host name nor an IP address")
        return super().__new__(cls, text[1:-1] if text.startswith("[") else text)


def _is_host(text: str) -> bool:
    if ":" in text:
        return _is_ip(text[1:-1] if text[0] == "[" and text[-1] == "]" else text, ipaddress.IPv6Address)
    if len(text) > MAX_HOSTNAME_LENGTH or _DOMAIN.fullmatch(text) is None:
        return False
    # No top-level domain is a number (RFC 3696 2), so this has to be an IPv4 address, or it is a slip.
    return not text.rpartition(".")[2].isdecimal() or "." not in text or _is_ip(text, ipaddress.IPv4Address)


def _is_ip(text: str, kind: type[ipaddress.IPv4Address | ipaddress.IPv6Address]) -> bool:
    try:
        kind(text)
    except ValueError:
        return False
    return True


class Domain(str):
    """A domain name, such as `example.com`."""

    __slots__ = ()

    def __new__(cls, value: object) -> Self:
        text = str(value)
        if len(text) > MAX_HOSTNAME_LENGTH or _DOMAIN.fullmatch(text) is None:
            raise ValueError(f"{text!r} is no domain name")
        return super().__new__(cls, text)


class DomainList(List):
    """A list of domain names."""

    type = Domain


class SIPAddress(str):
    """`user@domain`; an `@` in the user part becomes `%40`."""

    __slots__ = ()

    def __new__(cls, value: object) -> Self:
        text = str(value)
        user, at, domain = text.rpartition("@")
        if not at or not user or not domain:
            raise ValueError(f"{text!r} is no SIP address: it has to be user@domain")
        if any(character.isspace() or not character.isprintable() for character in user):
            raise ValueError(f"{text!r} is no SIP address: white space has to be written as %20 there")
        return super().__new__(cls, f"{user.replace('@', '%40')}@{Hostname(domain)}")

    @property
    def username(self) -> str:
        return self.rpartition("@")[0]

    @property
    def domain(self) -> str:
        return self.rpartition("@")[2]


class EndpointAddress:
    """A host and a port, stored and shown as `host:port`."""

    default_port: ClassVar[int] = 0

    def __init__(self, host: Any, port: Any = None) -> None:
        self.host = Hostname(host)
        self.port = Port(self.default_port if port is None else port)
        if self.port == 0:
            raise ValueError(f"a port above 0 is needed for {self.host}")

    @classmethod
    def from_description(cls, description: str) -> Self | None:
        """Read `host[:port]`; the empty text is None. Raises ValueError for anything else."""
        if not description:
            return None
        return cls(*_split(cls, description, with_transport=False)[:2])

    def __getstate__(self) -> str:
        return str(self)

    def __setstate__(self, state: str) -> None:
        read = self.from_description(state) if isinstance(state, str) else None
        if read is None:
            raise ValueError("an address is needed here, such as host:port")
        self.__dict__.update(vars(read))

    def _key(self) -> tuple[object, ...]:
        return (self.host, self.port)

    def __eq__(self, other: object) -> bool:
        return self._key() == other._key() if isinstance(other, EndpointAddress) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key())

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{int(self.port)}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.host)!r}, {int(self.port)})"


class STUNServerAddress(EndpointAddress):
    """A STUN server."""

    default_port = 3478


class STUNServerAddressList(List):
    """STUN servers; a text item is read as `host[:port]`."""

    type = STUNServerAddress

    @classmethod
    def _convert(cls, value: Any) -> STUNServerAddress:
        if isinstance(value, str):
            read = STUNServerAddress.from_description(value)
            if read is not None:
                return read
        converted: STUNServerAddress = super()._convert(value)
        return converted


class MSRPTransport(Choice):
    """What MSRP runs over."""

    __slots__ = ()

    values = ("tls", "tcp")


class SIPTransport(Choice):
    """What SIP runs over."""

    __slots__ = ()

    values = ("udp", "tcp", "tls")


class SIPTransportList(List):
    """SIP transports in the order of preference."""

    type = SIPTransport


class _TransportAddress(EndpointAddress):
    """A host, a port and a transport, stored and shown as `host:port;transport=tls`."""

    transport: str

    @classmethod
    def from_description(cls, description: str) -> Self | None:
        """Read `host[:port][;transport=name]`; the empty text is None. Raises ValueError for anything else."""
        if not description:
            return None
        host, port, transport = _split(cls, description, with_transport=True)
        given = {"port": port, "transport": transport}
        return cls(host, **{name: value for name, value in given.items() if value is not None})

    def _key(self) -> tuple[object, ...]:
        return (self.host, self.port, self.transport)

    def __str__(self) -> str:
        return f"{super().__str__()};transport={self.transport}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.host)!r}, {int(self.port)}, {str(self.transport)!r})"


class MSRPRelayAddress(_TransportAddress):
    """An MSRP relay; port 0 stands for the usual one, 2855."""

    def __init__(self, host: Any, port: Any = 0, transport: Any = "tls") -> None:
        self.host = Hostname(host)
        self.port = Port(port)
        self.transport = MSRPTransport(transport)


class SIPProxyAddress(_TransportAddress):
    """A SIP proxy. The port is 5060 unless it is given, with transport tls too."""

    default_port = 5060

    def __init__(self, host: Any, port: Any = None, transport: Any = "udp") -> None:
        super().__init__(host, port)
        self.transport = SIPTransport(transport)


class TLSProtocol(Choice):
    """The name of a TLS version.

    All of them mean the newest version that both sides speak, TLS 1.2 at least: the names are those that older
    configurations hold.
    """

    __slots__ = ()

    values = ("TLSv1", "SSLv2", "SSLv3", "SSLv23")
    aliases = {"SSL3": "SSLv3", "SSL23": "SSLv23"}


class XCAPRoot(str):
    """The root URI of an XCAP server."""

    __slots__ = ()

    def __new__(cls, value: object) -> Self:
        text = str(value)
        if (reason := _xcap_fault(text)) is not None:
            raise ValueError(f"{text!r} is no XCAP root: {reason}")
        return super().__new__(cls, text)


def _xcap_fault(text: str) -> str | None:
    try:
        uri = urlsplit(text)
        port = uri.port
    except ValueError as error:
        return str(error)
    if uri.scheme not in {"http", "https"}:
        return "it has to begin with http:// or https://"
    if any(mark in text for mark in ";?#"):
        return "it has parameters, a query or a fragment"
    if not uri.hostname or not _is_host(uri.hostname):
        return "it has no valid host"
    return "port 0 cannot be used" if port == 0 else None


def _split(cls: type, description: str, *, with_transport: bool) -> tuple[str, str | None, str | None]:
    match = _ENDPOINT.fullmatch(description)
    if match is None or (match["transport"] is not None and not with_transport):
        form = "host[:port][;transport=name]" if with_transport else "host[:port]"
        raise ValueError(f"{description!r} is no {cls.__name__}: it has to be {form}")
    return match["host"], match["port"], match["transport"]
