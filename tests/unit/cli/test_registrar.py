"""The server of the demonstration registers with digest authentication and stays on the path of calls; real sockets."""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections.abc import AsyncIterator
from typing import Any

import pytest

from sipsimple.cli.demo.locations import MAX_BINDINGS_PER_USER, Locations, OutOfOrder
from sipsimple.cli.demo.registrar import Registrar
from sipsimple.sip.auth import ClientAuthenticator
from sipsimple.sip.credentials import Credentials
from sipsimple.sip.endpoint import Endpoint
from sipsimple.sip.errors import LimitReached
from sipsimple.sip.message import Headers, Request, Response
from sipsimple.sip.transport import Destination
from sipsimple.sip.uri import FrozenSIPURI

DOMAIN = "demo.example"
USERS = {"alice": "wonder", "bob": "builder"}
TIMEOUT = 5.0


class Phone:
    """A user agent that keeps what arrives, and sends what it is told."""

    def __init__(self, user: str, server: Destination, password: str | None = None) -> None:
        self.user = user
        self.server = server
        self.endpoint = Endpoint(self, user_agent="phone")
        self.requests: asyncio.Queue[tuple[Any, Request]] = asyncio.Queue()
        self.acks: asyncio.Queue[Request] = asyncio.Queue()
        self.provisionals: list[int] = []
        self._password = USERS.get(user, "") if password is None else password
        self._cseq = itertools.count(1)
        self._call_id = secrets.token_hex(4)
        self._final: asyncio.Future[Response] | None = None
        self.transaction: Any = None
        self._attempt: Any = None

    async def start(self) -> None:
        self.port = await self.endpoint.listen("udp", "127.0.0.1", 0)
        self.contact = f"<sip:{self.user}@127.0.0.1:{self.port}>"

    def compose(self, method: str, uri: str, to: str, *extra: tuple[str, str], cseq: int | None = None) -> Request:
        headers = Headers(
            [
                ("From", f"<sip:{self.user}@{DOMAIN}>;tag=1"),
                ("To", to),
                ("Call-ID", self._call_id),
                ("CSeq", f"{cseq or next(self._cseq)} {method}"),
                *extra,
            ]
        )
        return Request(method, FrozenSIPURI.parse(uri), headers)

    def send(self, request: Request) -> asyncio.Future[Response]:
        """Send it, and again with credentials when it is challenged."""
        self._final = asyncio.get_running_loop().create_future()
        credentials = Credentials(self.user, self._password)
        self._attempt = ClientAuthenticator(lambda: secrets.token_hex(8)).begin(credentials)
        self.transaction = self.endpoint.send_request(request, self.server, self)
        return self._final

    async def ask(self, request: Request) -> Response:
        return await asyncio.wait_for(self.send(request), TIMEOUT)

    async def register(self, *contacts: str, of: str | None = None, **more: Any) -> Response:
        headers = [("Contact", contact) for contact in contacts]
        headers += [(name, str(value)) for name, value in more.items() if name != "cseq"]
        to = f"<sip:{of or self.user}@{DOMAIN}>"
        return await self.ask(self.compose("REGISTER", f"sip:{DOMAIN}", to, *headers, cseq=more.get("cseq")))

    async def next_request(self, method: str) -> tuple[Any, Request]:
        transaction, request = await asyncio.wait_for(self.requests.get(), TIMEOUT)
        assert request.method == method
        return transaction, request

    def answer(self, transaction: Any, code: int) -> None:
        response = transaction.request.make_response(code, to_tag=f"{self.user}-tag")
        response.headers.add("Contact", self.contact)
        self.endpoint.respond(transaction, response)

    def on_response(self, transaction: Any, response: Response, now: float) -> None:
        if response.code < 200:
            self.provisionals.append(response.code)
            return
        request = transaction.request
        answers = self._attempt.authorize(request, response) if response.code in (401, 407) else None
        if answers:
            headers = request.headers.copy()
            headers.remove("Via")
            headers.set("CSeq", f"{next(self._cseq)} {request.method}")
            for name, value in answers:
                headers.add(name, value)
            again = Request(request.method, request.uri, headers)
            self.transaction = self.endpoint.send_request(again, self.server, self)
        elif self._final is not None and not self._final.done():
            self._final.set_result(response)

    def on_request(self, transaction: Any, request: Request) -> None:
        self.requests.put_nowait((transaction, request))

    def on_acknowledgement(self, ack: Request) -> None:
        self.acks.put_nowait(ack)

    def on_cancel(self, transaction: Any, cancel: Request) -> None:
        self.answer(transaction, 487)

    def on_ack(self, transaction: Any, ack: Request, now: float) -> None: ...
    def on_timeout(self, transaction: Any, now: float) -> None: ...
    def on_transport_error(self, transaction: Any, error: Exception, now: float) -> None: ...
    def on_connection_lost(self, destination: Any, error: Exception) -> None: ...


@pytest.fixture
async def registrar(nothing_left: None) -> AsyncIterator[Registrar]:
    registrar = Registrar(DOMAIN, USERS)
    registrar.port = await registrar.start()  # type: ignore[attr-defined]
    yield registrar
    await registrar.stop()


@pytest.fixture
async def phone(registrar: Any) -> AsyncIterator[Any]:
    phones: list[Phone] = []

    async def make(user: str, password: str | None = None) -> Phone:
        made = Phone(user, Destination("udp", "127.0.0.1", registrar.port), password)
        await made.start()
        phones.append(made)
        return made

    yield make
    for made in phones:
        await made.endpoint.close()


def bound(registrar: Registrar, user: str) -> list[str]:
    return [str(binding.uri) for binding in registrar.locations.of(user, registrar.endpoint.now())]


async def test_register_is_challenged_then_binds_the_contact(registrar, phone):
    alice = await phone("alice")
    seen = []
    alice.endpoint.on_trace = lambda received, *rest: (
        seen.append(rest[-1].split(b"\r\n")[0].split()[:2]) if received else None
    )
    response = await alice.register(alice.contact, Expires=300)
    assert seen == [[b"SIP/2.0", b"401"], [b"SIP/2.0", b"200"]]
    assert response.contacts[0].expires == 300
    assert bound(registrar, "alice") == [f"sip:alice@127.0.0.1:{alice.port}"]


@pytest.mark.parametrize(("user", "password"), [("alice", "wrong"), ("mallory", "wonder"), ("alice", "")])
async def test_wrong_credentials_are_refused(registrar, phone, user, password):
    stranger = await phone(user, password)
    assert (await stranger.register(stranger.contact)).code == 401
    assert bound(registrar, user) == []


async def test_nobody_registers_for_somebody_else(registrar, phone):
    alice = await phone("alice")
    assert (await alice.register(alice.contact, of="bob")).code == 403
    assert bound(registrar, "bob") == []


async def test_contacts_are_listed_and_removed(registrar, phone):
    alice = await phone("alice")
    await alice.register("<sip:a@127.0.0.1:1000>", "<sip:a@127.0.0.1:1001>;expires=60")
    assert len((await alice.register()).contacts) == 2
    await alice.register("<sip:a@127.0.0.1:1000>;expires=0")
    assert bound(registrar, "alice") == ["sip:a@127.0.0.1:1001"]
    assert (await alice.register("*", Expires=10)).code == 400
    assert (await alice.register("*", Expires=0)).contacts == []
    assert bound(registrar, "alice") == []


async def test_a_user_has_a_bounded_number_of_contacts(phone):
    alice = await phone("alice")
    contacts = [f"<sip:a@127.0.0.1:{1000 + number}>" for number in range(MAX_BINDINGS_PER_USER + 1)]
    assert (await alice.register(*contacts)).code == 503


def test_locations_expire_and_refuse_what_is_old():
    locations = Locations()
    uri = FrozenSIPURI.parse("sip:a@127.0.0.1:1")
    locations.bind("a", uri, 60, "call", 2, now=0)
    assert len(locations.of("a", 59)) == 1
    assert locations.of("a", 60) == []
    locations.bind("a", uri, 60, "call", 2, now=100)
    with pytest.raises(OutOfOrder):
        locations.bind("a", uri, 60, "call", 2, now=101)
    locations.bind("a", uri, 60, "other call", 1, now=101)
    for number in range(2, MAX_BINDINGS_PER_USER + 1):
        locations.bind("a", FrozenSIPURI.parse(f"sip:a@127.0.0.1:{number}"), 60, "call", number, now=101)
    with pytest.raises(LimitReached):
        locations.bind("a", FrozenSIPURI.parse("sip:a@127.0.0.1:99"), 60, "call", 99, now=101)


async def test_a_call_passes_the_proxy_in_all_its_parts(registrar, phone):
    alice, bob = await phone("alice"), await phone("bob")
    await bob.register(bob.contact)
    invite = alice.compose(
        "INVITE", f"sip:bob@{DOMAIN}", f"<sip:bob@{DOMAIN}>", ("Contact", alice.contact),
        ("Route", f"<sip:127.0.0.1:{registrar.port};lr>"),
    )  # fmt: skip
    answered = alice.send(invite)
    transaction, arrived = await bob.next_request("INVITE")
    assert str(arrived.uri) == f"sip:bob@127.0.0.1:{bob.port}"
    assert arrived.routes == []
    assert arrived.max_forwards == 69
    assert "Proxy-Authorization" not in arrived.headers
    assert len(arrived.vias) == 1
    bob.answer(transaction, 180)
    bob.answer(transaction, 200)
    response = await asyncio.wait_for(answered, TIMEOUT)
    assert response.code == 200
    assert alice.provisionals == [100, 180]
    assert response.via.port == alice.port

    route = response.headers.get("Record-Route")
    assert route == f"<sip:127.0.0.1:{registrar.port};lr>"
    target = str(response.contacts[0].uri)
    ack = alice.compose(
        "ACK", target, response.headers.get("To"), ("Route", route), cseq=alice.transaction.request.cseq[0]
    )
    alice.endpoint.send_stateless(ack, alice.server)
    assert (await asyncio.wait_for(bob.acks.get(), TIMEOUT)).routes == []

    ended = alice.send(alice.compose("BYE", target, response.headers.get("To"), ("Route", route)))
    transaction, _ = await bob.next_request("BYE")
    bob.answer(transaction, 200)
    assert (await asyncio.wait_for(ended, TIMEOUT)).code == 200


async def test_a_cancel_passes_the_proxy(phone):
    alice, bob = await phone("alice"), await phone("bob")
    await bob.register(bob.contact)
    answered = alice.send(
        alice.compose("INVITE", f"sip:bob@{DOMAIN}", f"<sip:bob@{DOMAIN}>", ("Contact", alice.contact))
    )
    transaction, _ = await bob.next_request("INVITE")
    bob.answer(transaction, 180)
    alice.endpoint.cancel(alice.transaction)
    assert (await asyncio.wait_for(answered, TIMEOUT)).code == 487


@pytest.mark.parametrize(
    ("uri", "extra", "code"),
    [
        (f"sip:bob@{DOMAIN}", (), 480),
        (f"sip:nobody@{DOMAIN}", (), 480),
        ("sip:bob@elsewhere.invalid", (), 404),
        ("sips:bob@127.0.0.1", (), 404),
        (f"sip:bob@{DOMAIN}", (("Max-Forwards", "0"),), 483),
        ("sip:bob@127.0.0.1;transport=tcp", (), 503),
    ],
)
async def test_what_cannot_be_forwarded_is_answered(phone, uri, extra, code):
    alice = await phone("alice")
    assert (await alice.ask(alice.compose("OPTIONS", uri, f"<{uri}>", *extra))).code == code


async def test_strangers_do_not_call(phone):
    mallory = await phone("mallory", "guess")
    assert (await mallory.ask(mallory.compose("OPTIONS", f"sip:bob@{DOMAIN}", f"<sip:bob@{DOMAIN}>"))).code == 407


async def test_an_ack_that_leads_nowhere_is_dropped(registrar, phone):
    alice = await phone("alice")
    alice.endpoint.send_stateless(alice.compose("ACK", "sip:bob@elsewhere.invalid", "<sip:b@c>;tag=2"), alice.server)
    # The answer to the next request comes after the ACK was looked at.
    await alice.ask(alice.compose("OPTIONS", f"sip:bob@{DOMAIN}", f"<sip:bob@{DOMAIN}>"))
    assert registrar.endpoint.statistics.stray_acks == 1
