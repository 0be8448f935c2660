"""Digest authentication of every method, inside dialogs and outside, by servers that verify what they get."""

from __future__ import annotations

import asyncio
import secrets
from typing import Any

import pytest

from sipsimple.core import (
    Credentials,
    FrozenSDPSession,
    Invitation,
    Message,
    Publication,
    Referral,
    Registration,
    Request,
    Subscription,
)
from sipsimple.sip.auth_server import ServerAuthenticator
from tests.support.raw_peer import RawPeer
from tests.unit.core.kit import ALICE, parties, route, sender_of, told
from tests.unit.core.test_invitation import description, reached

SDP = FrozenSDPSession.new(description(41000)).encode().decode().replace("\r\n", "\n")


def server(realm: str = "example.org", password: str = ALICE.password, **more: Any) -> ServerAuthenticator:
    return ServerAuthenticator(realm, {ALICE.username: password}.get, secrets.token_bytes, **more)


class Guard(RawPeer):
    """A peer that lets nobody pass without the right password."""

    def __init__(self, *origins: ServerAuthenticator, proxies: tuple[ServerAuthenticator, ...] = ()) -> None:
        super().__init__()
        self.spaces = [("WWW-Authenticate", "Authorization", origin) for origin in origins]
        self.spaces += [("Proxy-Authenticate", "Proxy-Authorization", proxy) for proxy in proxies]
        self.challenges = 0

    async def admit(self, method: str) -> Any:
        """The next request of this method that has every password right; others are challenged."""
        now = asyncio.get_running_loop().time()
        while True:
            request = await self.expect(method)
            lines = []
            for asking, answering, authenticator in self.spaces:
                verdict = authenticator.verify(method, request.body, request.headers.get_all(answering), now)
                if verdict.username is None:
                    challenges = authenticator.challenges(now, verdict.stale)
                    lines += [f"{asking}: {challenge}\n" for challenge in challenges]
            if not lines:
                return request
            self.challenges += 1
            code = 401 if lines[0].startswith("WWW") else 407
            self.respond(request, code, "Who are you", headers="".join(lines))
            if method == "INVITE":
                await self.expect("ACK")


@pytest.fixture
def guard(engine):
    with Guard(server()) as guard:
        yield guard


def out_of_dialog(guard: RawPeer, method: str) -> Any:
    """Send a request of this kind by the object that is made for it."""
    sender, receiver, contact = parties(guard.port)
    way = route(guard.port)
    match method:
        case "REGISTER":
            Registration(sender, ALICE).register(contact, way)
        case "PUBLISH":
            Publication(sender, "presence", "application/pidf+xml", ALICE).publish("<p/>", way)
        case "MESSAGE":
            Message(sender, receiver, way, "text/plain", "hi", ALICE).send()
        case "SUBSCRIBE":
            Subscription(sender, receiver, contact, "presence", way, ALICE).subscribe()
        case "REFER":
            Referral(sender, receiver, "sip:carol@example.org", contact, way, ALICE).send_refer()
        case "OPTIONS":
            Request("OPTIONS", sender, receiver, receiver.uri, way, ALICE).send()


@pytest.mark.parametrize("method", ["REGISTER", "PUBLISH", "MESSAGE", "SUBSCRIBE", "REFER", "OPTIONS"])
async def test_every_request_outside_a_dialog_is_repeated_with_credentials(engine, guard, method):
    out_of_dialog(guard, method)
    admitted = await guard.admit(method)
    assert guard.challenges == 1
    guard.respond(admitted, 200)


async def call(guard: Guard, credentials: Any = ALICE) -> Invitation:
    """A call to the guard, who asks for the password."""
    sender, receiver, contact = parties(guard.port)
    caller = Invitation()
    caller.send_invite(sender, receiver, route(guard.port), contact, description(), credentials)
    invite = await guard.admit("INVITE")
    guard.respond(invite, 200, body=SDP)
    ack = await guard.expect("ACK")
    # RFC 3261 13.2.2.4: the ACK of a 2xx carries the credentials of its INVITE.
    assert ack.headers.get_all("Authorization") == invite.headers.get_all("Authorization")
    assert ack.cseq[0] == invite.cseq[0]
    await reached(caller, "connected")
    guard.remote_tag = invite.from_.tag
    return caller


async def test_call_is_authenticated_with_one_challenge_from_invite_to_bye(engine, guard, record):
    caller = await call(guard)
    caller.send_reinvite()
    guard.respond(await guard.admit("INVITE"), 488)
    await guard.expect("ACK")
    Referral.within(caller, "sip:carol@example.org").send_refer()
    guard.respond(await guard.admit("REFER"), 603)
    caller.end(timeout=1)
    guard.respond(await guard.admit("BYE"), 200)
    await reached(caller, "disconnected")
    assert guard.challenges == 1


@pytest.mark.parametrize("method", ["INVITE", "UPDATE", "REFER", "BYE"])
async def test_request_of_a_dialog_answers_the_challenge_of_a_new_realm(engine, guard, method):
    caller = await call(guard)
    guard.spaces = [("Proxy-Authenticate", "Proxy-Authorization", server("proxy"))]
    match method:
        case "INVITE":
            caller.send_reinvite()
        case "UPDATE":
            caller.send_update()
        case "REFER":
            Referral.within(caller, "sip:carol@example.org").send_refer()
        case "BYE":
            caller.end(timeout=1)
    admitted = await guard.admit(method)
    assert (guard.challenges, admitted.to.tag) == (2, guard.tag)
    guard.respond(admitted, 200 if method == "BYE" else 488)


async def test_prack_of_an_authenticated_call_carries_its_credentials(engine, guard):
    sender, receiver, contact = parties(guard.port)
    Invitation().send_invite(sender, receiver, route(guard.port), contact, description(), ALICE)
    invite = await guard.admit("INVITE")
    guard.respond(invite, 180, headers="Require: 100rel\nRSeq: 1\n")
    await guard.admit("PRACK")
    assert guard.challenges == 1
    guard.spaces = [("Proxy-Authenticate", "Proxy-Authorization", server("proxy"))]
    guard.respond(invite, 183, headers="Require: 100rel\nRSeq: 2\n")
    prack = await guard.admit("PRACK")
    assert (guard.challenges, prack.headers.get("RAck").split()[0]) == (2, "2")


async def test_refreshing_subscribe_answers_a_challenge_in_its_dialog(engine, guard, record):
    sender, receiver, contact = parties(guard.port)
    subject = Subscription(sender, receiver, contact, "presence", route(guard.port), ALICE)
    subject.subscribe()
    first = await guard.admit("SUBSCRIBE")
    guard.respond(first, 200, headers="Expires: 300\n")
    await told(record, subject, "SIPSubscriptionDidStart")
    guard.spaces = [("WWW-Authenticate", "Authorization", server("another"))]
    subject.subscribe()
    refresh = await guard.admit("SUBSCRIBE")
    assert (guard.challenges, refresh.to.tag, refresh.cseq[0]) == (2, guard.tag, first.cseq[0] + 2)


async def test_notify_answers_a_challenge_with_the_credentials_it_was_given(engine, guard, record):
    engine.add_incoming_event("presence")
    guard.request("SUBSCRIBE", headers="Event: presence\n")
    theirs = await sender_of(record, "SIPIncomingSubscriptionGotSubscribe")
    theirs.credentials = ALICE
    theirs.accept()
    guard.respond(await guard.admit("NOTIFY"), 200)
    await told(record, theirs, "SIPIncomingSubscriptionNotifyDidSucceed")
    assert guard.challenges == 1


def options(guard: RawPeer, credentials: Any = ALICE, **more: Any) -> Request:
    sender, receiver, _ = parties(guard.port)
    request = Request("OPTIONS", sender, receiver, receiver.uri, route(guard.port), credentials, **more)
    request.send()
    return request


@pytest.mark.parametrize("algorithm", ["MD5", "MD5-sess", "SHA-256", "SHA-256-sess", "SHA-512-256"])
@pytest.mark.parametrize("qop", [("auth",), ("auth-int",), ("auth", "auth-int"), ()])
async def test_every_algorithm_and_quality_is_understood(engine, record, algorithm, qop):
    with Guard(server(algorithms=(algorithm,), qop=qop)) as guard:
        request = options(guard, content_type="text/plain", body="covered by auth-int")
        admitted = await guard.admit("OPTIONS")
        assert guard.challenges == 1
        guard.respond(admitted, 200)
        await told(record, request, "SIPRequestDidSucceed")


async def test_strongest_of_the_offered_algorithms_is_taken(engine):
    with Guard(server(algorithms=("MD5", "SHA-256"))) as guard:
        options(guard)
        assert "algorithm=SHA-256" in (await guard.admit("OPTIONS")).headers.get("Authorization")


async def test_401_and_407_in_one_response_and_several_realms_are_all_answered(engine, record):
    # One short algorithm for each, lest the request outgrows a datagram.
    home, work, proxy = (server(realm, algorithms=("MD5",)) for realm in ("home", "work", "proxy"))
    with Guard(home, work, proxies=(proxy,)) as guard:
        request = options(guard)
        admitted = await guard.admit("OPTIONS")
        assert guard.challenges == 1
        assert len(admitted.headers.get_all("Authorization")) == 2
        assert len(admitted.headers.get_all("Proxy-Authorization")) == 1
        guard.respond(admitted, 200)
        await told(record, request, "SIPRequestDidSucceed")


async def test_one_hop_after_the_other_may_challenge(engine, record):
    proxy, origin = server("proxy"), server("home")
    with Guard(proxies=(proxy,)) as guard:
        request = options(guard)
        behind = await guard.admit("OPTIONS")
        now = asyncio.get_running_loop().time()
        challenge = "".join(f"WWW-Authenticate: {value}\n" for value in origin.challenges(now))
        guard.respond(behind, 401, headers=challenge)
        guard.spaces.append(("WWW-Authenticate", "Authorization", origin))
        guard.respond(await guard.admit("OPTIONS"), 200)
        await told(record, request, "SIPRequestDidSucceed")
        assert guard.challenges == 1


async def test_stale_nonce_is_replaced_without_a_failure(engine, record):
    with Guard(server(nonce_lifetime=-1)) as guard:
        request = options(guard)
        first = await guard.expect("OPTIONS")
        now = asyncio.get_running_loop().time()
        _, _, old = guard.spaces[0]
        guard.respond(first, 401, headers=f"WWW-Authenticate: {old.challenges(now)[0]}\n")
        second = await guard.expect("OPTIONS")
        verdict = old.verify("OPTIONS", b"", second.headers.get_all("Authorization"), now)
        assert verdict.stale
        guard.spaces = [("WWW-Authenticate", "Authorization", server())]
        fresh = guard.spaces[0][2].challenges(now, stale=True)[0]
        guard.respond(second, 401, headers=f"WWW-Authenticate: {fresh}\n")
        guard.respond(await guard.admit("OPTIONS"), 200)
        await told(record, request, "SIPRequestDidSucceed")


async def test_next_nonce_is_used_for_the_next_request(engine, guard, record):
    sender, _, contact = parties(guard.port)
    registration = Registration(sender, ALICE)
    registration.register(contact, route(guard.port))
    first = await guard.admit("REGISTER")
    nonce = guard.spaces[0][2].new_nonce(asyncio.get_running_loop().time())
    guard.respond(first, 200, headers=f'Expires: 300\nAuthentication-Info: nextnonce="{nonce}"\n')
    await told(record, registration, "SIPRegistrationDidSucceed")
    registration.register(contact, route(guard.port))
    second = await guard.admit("REGISTER")
    assert f'nonce="{nonce}"' in second.headers.get("Authorization")
    assert guard.challenges == 1


@pytest.mark.parametrize("method", ["OPTIONS", "INVITE", "SUBSCRIBE"])
async def test_wrong_password_stops_after_one_honest_try(engine, record, method):
    wrong = Credentials("alice", "wrong")
    with Guard(server()) as guard:
        sender, receiver, contact = parties(guard.port)
        subject: Any
        if method == "OPTIONS":
            subject, failure = options(guard, wrong), "SIPRequestDidFail"
        elif method == "INVITE":
            subject, failure = Invitation(), "SIPInvitationChangedState"
            subject.send_invite(sender, receiver, route(guard.port), contact, description(), wrong)
        else:
            subject = Subscription(sender, receiver, contact, "presence", route(guard.port), wrong)
            failure = "SIPSubscriptionDidFail"
            subject.subscribe()
        admitting = asyncio.ensure_future(guard.admit(method))
        if method == "INVITE":
            await reached(subject, "disconnected")
        data = record.of(subject)[-1].data if method == "INVITE" else await told(record, subject, failure)
        assert (data.code, data.reason) == (401, "Who are you")
        assert guard.challenges == 2
        assert not admitting.done()
        admitting.cancel()


async def test_request_without_credentials_fails_at_the_first_challenge(engine, guard, record):
    request = options(guard, None)
    admitting = asyncio.ensure_future(guard.admit("OPTIONS"))
    assert (await told(record, request, "SIPRequestDidFail")).code == 401
    admitting.cancel()
    assert guard.challenges == 1


async def test_wrong_password_is_not_sent_again_by_the_next_request(engine, record):
    with Guard(server()) as guard:
        sender, _, contact = parties(guard.port)
        registration = Registration(sender, Credentials("alice", "wrong"))
        registration.register(contact, route(guard.port))
        admitting = asyncio.ensure_future(guard.admit("REGISTER"))
        assert (await told(record, registration, "SIPRegistrationDidFail")).code == 401
        registration.credentials = ALICE
        registration.register(contact, route(guard.port))
        assert (await admitting).headers.get("Authorization")
        assert guard.challenges == 3


async def test_challenge_that_nobody_understands_is_a_refusal(engine, record):
    with RawPeer() as peer:
        request = options(peer)
        challenge = 'WWW-Authenticate: Digest realm="x", nonce="y", algorithm=ROT13\n'
        peer.respond(await peer.expect("OPTIONS"), 401, headers=challenge)
        assert (await told(record, request, "SIPRequestDidFail")).code == 401
