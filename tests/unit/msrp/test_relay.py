"""The client of a relay (RFC 4976): authorization as a machine, and sessions through a small relay on loopback."""

import asyncio

import pytest

from sipsimple.msrp import (
    DataReceived,
    Disconnected,
    Hooks,
    MessageDelivered,
    MSRPConnectError,
    MSRPTimeoutError,
    RelayConnector,
    RelayRefused,
    RelaySettings,
    SessionOptions,
)
from sipsimple.msrp.digest import Challenge, parse_challenges, proves_password, response_digest
from sipsimple.msrp.message import MSRPData
from sipsimple.msrp.relay import RelayAuthorization, RelayState
from sipsimple.msrp.uri import MSRPURI

from .conftest import Log
from .relay_server import PASSWORD, USER, RelayServer
from .wire import counter

RELAY = MSRPURI("intra.example.com", 9000, use_tls=True)
LOCAL = MSRPURI("alice.example.com", 9892, "98cjs", use_tls=True)
CHALLENGE = 'Digest realm="intra.example.com", qop="auth", nonce="UvtfpVL7XnnJ63EE244fXDthfLihlMHOY4+dd4A="'
USE_PATH = "msrps://intra.example.com:9000/jui787s2f;tcp"


def authorization(**options) -> RelayAuthorization:
    return RelayAuthorization([RELAY], LOCAL, "alice", "secret", new_id=counter("auth"), **options)


def response(code: int, **headers: str) -> MSRPData:
    return MSRPData("auth", code=code, headers={name.replace("_", "-"): value for name, value in headers.items()})


def challenge(**changes: str) -> MSRPData:
    extra = "".join(f", {name}={value}" for name, value in changes.items())
    return response(401, WWW_Authenticate=CHALLENGE + extra)


def test_a_relay_asks_for_the_password_and_gives_a_path():
    machine = authorization()
    first = machine.ask()
    assert (first.method, first.to_path, first.from_path) == ("AUTH", (RELAY,), (LOCAL,))
    assert "Authorization" not in first.headers
    second = machine.receive(challenge(), 100.0)
    assert second.transaction_id != first.transaction_id
    assert 'uri="msrps://intra.example.com:9000;tcp"' in second.headers["Authorization"]
    assert machine.receive(response(200, Use_Path=USE_PATH, Expires="900"), 100.0) is None
    assert machine.state is RelayState.AUTHORIZED
    assert [str(uri) for uri in machine.use_path] == [USE_PATH]
    assert machine.expires_at == 1000.0


@pytest.mark.parametrize(("expires", "wake"), [(900, 940.0), (60, 130.0), (None, None)])
def test_the_place_is_renewed_before_it_expires(expires, wake):
    machine = authorization()
    machine.ask()
    headers = {} if expires is None else {"Expires": str(expires)}
    machine.receive(response(200, Use_Path=USE_PATH, **headers), 100.0)
    assert machine.next_wake() == wake
    again = machine.ask()
    assert again.from_path == (LOCAL,)
    assert machine.state is RelayState.ASKING


def test_a_wrong_password_is_not_tried_twice():
    machine = authorization()
    machine.ask()
    machine.receive(challenge(), 0.0)
    assert machine.receive(challenge(), 0.0) is None
    assert machine.state is RelayState.REFUSED
    assert machine.error.code == 401
    assert machine.next_wake() is None


def test_a_nonce_that_is_too_old_is_replaced():
    machine = authorization()
    machine.ask()
    machine.receive(challenge(), 0.0)
    assert "Authorization" in machine.receive(challenge(stale="true"), 0.0).headers


def test_no_relay_may_ask_for_ever():
    machine = authorization()
    request, count = machine.ask(), 0
    while request is not None:
        request, count = machine.receive(challenge(stale="true"), 0.0), count + 1
    assert count <= 4
    assert machine.state is RelayState.REFUSED


@pytest.mark.parametrize(("own", "header", "asked"), [(None, "Min_Expires", "600"), (9999, "Max_Expires", "600")])
def test_a_time_out_of_bounds_is_asked_for_again_within_them(own, header, asked):
    machine = authorization(expires=own)
    machine.ask()
    assert machine.receive(response(423, **{header: "600"}), 0.0).headers["Expires"] == asked
    assert machine.receive(response(423, **{header: "600"}), 0.0) is None
    assert machine.error.code == 423


@pytest.mark.parametrize(
    "answer",
    [
        response(403),
        response(501),
        response(401),
        response(401, WWW_Authenticate="Basic realm=x"),
        response(401, WWW_Authenticate='Digest realm="x", nonce="y", algorithm=SHA-3'),
        response(401, WWW_Authenticate='Digest realm="x", nonce="y", qop="auth-int"'),
        response(423, Min_Expires="soon"),
        response(200),
        response(200, Use_Path="sip:relay"),
    ],
)
def test_what_cannot_be_answered_is_a_refusal(answer):
    machine = authorization()
    machine.ask()
    assert machine.receive(answer, 0.0) is None
    assert machine.state is RelayState.REFUSED
    assert isinstance(machine.error, RelayRefused)


def test_a_relay_that_does_not_know_the_password_is_not_trusted():
    machine = authorization()
    machine.ask()
    machine.receive(challenge(), 0.0)
    machine.receive(response(200, Use_Path=USE_PATH, Authentication_Info='rspauth="00ff"'), 0.0)
    assert machine.error.code == 403


# Digest


def test_the_example_of_rfc_2617_is_computed():
    example = Challenge("testrealm@host.com", "dcd98b7102dd2f0e8b11d0f600bfb0c093", has_qop=True)
    answer = response_digest(example, "Mufasa", "Circle Of Life", "/dir/index.html", "0a4f113b", 1, "GET")
    assert answer == "6629fae49393a05397450978507c4ef1"


def test_the_example_of_rfc_7616_is_computed():
    nonce, cnonce = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"
    example = Challenge("http-auth@example.org", nonce, "SHA-256", has_qop=True)
    answer = response_digest(example, "Mufasa", "Circle of Life", "/dir/index.html", cnonce, 1, "GET")
    assert answer == "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"


def test_the_best_challenge_that_is_understood_is_answered():
    md5, sha256 = 'realm="r \\"q\\"", nonce="1", algorithm=MD5', 'realm="s", nonce="2", algorithm=SHA-256'
    text = f'Basic realm="a", Digest {md5}, Digest {sha256}'
    assert [(entry.realm, entry.algorithm) for entry in parse_challenges(text)] == [("s", "SHA-256"), ('r "q"', "MD5")]
    assert 'realm="r \\"q\\""' in parse_challenges(text)[1].answer("u", "p", "msrp:x", "c")


def test_the_proof_of_a_relay_is_checked():
    example = Challenge("r", "n", has_qop=True)
    proof = response_digest(example, "u", "p", "msrp:x", "c", 1, method="")
    assert proves_password(f'rspauth="{proof}"', example, "u", "p", "msrp:x", "c")
    assert proves_password("", example, "u", "p", "msrp:x", "c")
    assert not proves_password(f'rspauth="{proof}"', example, "u", "wrong", "msrp:x", "c")


# Through a relay


def settings(relay: RelayServer, password: str = PASSWORD, **changes) -> RelaySettings:
    return RelaySettings("127.0.0.1", USER, password, port=relay.port, use_tls=False, **changes)


async def test_two_parties_behind_one_relay_talk():
    options = SessionOptions(assemble=True)
    async with RelayServer() as relay:
        alice = RelayConnector("192.0.2.1", settings(relay), is_active=True)
        bob = RelayConnector("192.0.2.2", settings(relay), is_active=False)
        alice_path, bob_path = await alice.prepare(), await bob.prepare()
        assert [uri.host for uri in alice_path] == ["127.0.0.1", "192.0.2.1"]
        alice_log, bob_log = Log(), Log()
        waiting = asyncio.ensure_future(bob.complete(alice_path, bob_log, options=options))
        alice_session = await alice.complete(bob_path, alice_log, options=options)
        bob_session = await waiting
        alice_session.send(bytes(200_000), "text/plain", success_report=True)
        bob_session.send(b"hi", "text/plain", success_report=True)
        assert len((await bob_log.wait(DataReceived))[0].chunk.data) == 200_000
        await alice_log.until(lambda: any(event.is_complete for event in alice_log.of(MessageDelivered)))
        assert (await bob_log.wait(MessageDelivered))[0].is_complete
        for session, connector in ((alice_session, alice), (bob_session, bob)):
            await session.close()
            await connector.close()
        assert alice_log.events[-1] == Disconnected(None)


async def test_the_relay_refuses_a_wrong_password():
    async with RelayServer() as relay:
        connector = RelayConnector("192.0.2.1", settings(relay, "wrong"), is_active=True)
        with pytest.raises(RelayRefused) as raised:
            await connector.prepare()
        assert raised.value.code == 401
        await connector.close()


async def test_the_password_is_never_shown():
    assert PASSWORD not in repr(RelaySettings("relay.example", USER, PASSWORD))


async def test_the_place_at_the_relay_is_renewed_while_it_is_used():
    async with RelayServer(expires=1) as relay:
        connector = RelayConnector("192.0.2.1", settings(relay), is_active=False)
        await connector.prepare()
        async with asyncio.timeout(5):
            for _ in range(4):
                await relay.asked.acquire()
        assert len({request.headers["From-Path"] for request in relay.requests}) == 1
        await connector.close()


async def test_a_place_that_cannot_be_renewed_is_logged():
    lines: asyncio.Queue[str] = asyncio.Queue()
    async with RelayServer(expires=1) as relay:
        connector = RelayConnector(
            "192.0.2.1", settings(relay), is_active=False, hooks=Hooks(log=lambda message, _: lines.put_nowait(message))
        )
        await connector.prepare()
        relay._minimum, relay._expires = 2**40, 1
        async with asyncio.timeout(5):
            assert "the place at the relay 127.0.0.1 is lost" in await lines.get()
        await connector.close()


async def test_addresses_are_tried_in_their_order():
    async with RelayServer() as relay, RelayServer() as gone:
        await gone.__aexit__()
        good, bad = ("127.0.0.1", relay.port), ("127.0.0.1", gone.port)
        connector = RelayConnector("192.0.2.1", settings(relay, addresses=(bad, good)), is_active=True)
        await connector.prepare()
        await connector.close()
        connector = RelayConnector("192.0.2.1", settings(relay, addresses=(bad,)), is_active=True)
        with pytest.raises(MSRPConnectError):
            await connector.prepare()
        await connector.close()


async def test_a_relay_that_does_not_answer_is_given_up():
    async with RelayServer() as relay:
        relay._authorize = lambda *_: None
        connector = RelayConnector("192.0.2.1", settings(relay), is_active=True, auth_timeout=0.1)
        with pytest.raises(MSRPTimeoutError) as raised:
            await connector.prepare()
        assert raised.value.phase == "the answer to AUTH"
        await connector.close()
