from __future__ import annotations

import asyncio
import time

import pytest

from sipsimple.account import AccountManager, registration
from sipsimple.core import Registration
from sipsimple.lookup import DNSLookupError
from sipsimple.loop import in_loop_thread
from sipsimple.notification import NotificationCenter, TimestampedNotificationData
from sipsimple.util import Route
from tests.unit.account.conftest import header, new_account, told

REFUSAL = ["403 Forbidden"]


async def saved(account, notification: str):
    """Save the account and wait for what it brings about."""
    waiting = asyncio.ensure_future(told(notification, account))
    await asyncio.sleep(0)
    account.save()
    return await waiting


async def enabled(account):
    account.enabled = True
    return await saved(account, "SIPAccountRegistrationDidSucceed")


@pytest.fixture
def at_once(monkeypatch):
    """Retries come without delay."""
    for name in ("DNS_RETRY", "CREDENTIALS_RETRY"):
        monkeypatch.setattr(registration, name, (0.0, 0.0))
    monkeypatch.setattr(registration, "FIRST_RETRY", 0.0)


@pytest.mark.spec(237, 247, 248, 250, 252, 256)
async def test_enabling_registers(alice, registrar, record):
    notification = await enabled(alice)
    assert record.of(alice) == [
        "CFGSettingsObjectDidChange",
        "SIPAccountDidActivate",
        "SIPAccountWillRegister",
        "SIPAccountRegistrationGotAnswer",
        "SIPAccountRegistrationDidSucceed",
    ]
    request = registrar.requests[0]
    contact = alice.contact
    port = alice.contact["udp"].port
    assert request.startswith("REGISTER sip:example.com SIP/2.0\r\n")
    assert header(request, "Contact") == f"<sip:{contact.username}@127.0.0.1:{port}>"
    assert header(request, "Expires") == "600"
    assert header(request, "From").startswith("<sip:alice@example.com>")
    data = notification.data
    assert data.timestamp is not None
    assert data.expires == 600
    assert data.contact_header.uri == contact["udp"]
    assert len(data.contact_header_list) == 2
    assert data.registrar == Route("127.0.0.1", registrar.port, "udp")
    answer = record.last("SIPAccountRegistrationGotAnswer").data
    assert (answer.code, answer.reason, answer.registrar) == (200, "OK", data.registrar)
    assert isinstance(answer.registration, Registration)
    assert alice.registered


@pytest.mark.spec(239, 249, 254)
async def test_disabling_removes_the_registration(alice, registrar, record):
    await enabled(alice)
    alice.enabled = False
    await saved(alice, "SIPAccountDidDeactivate")
    assert record.of(alice)[-3:] == [
        "CFGSettingsObjectDidChange",
        "SIPAccountRegistrationDidEnd",
        "SIPAccountDidDeactivate",
    ]
    assert isinstance(record.last("SIPAccountRegistrationDidEnd").data.registration, Registration)
    assert header(registrar.requests[-1], "Expires") == "0"
    assert header(registrar.requests[-1], "Call-ID") == header(registrar.requests[0], "Call-ID")
    assert not alice.registered


@pytest.mark.spec(236)
@pytest.mark.parametrize("path", ["registration.enabled", "sip.register"])
async def test_the_registration_flag_registers_and_unregisters(alice, registrar, record, path):
    group = getattr(alice, path.split(".")[0])
    name = path.split(".")[1]
    await enabled(alice)
    setattr(group, name, False)
    await saved(alice, "SIPAccountRegistrationDidEnd")
    assert set(record.last("CFGSettingsObjectDidChange").data.modified) == {"registration.enabled", "sip.register"}
    assert "SIPAccountDidDeactivate" not in record
    setattr(group, name, True)
    await saved(alice, "SIPAccountRegistrationDidSucceed")
    assert [header(request, "Expires") for request in registrar.requests] == ["600", "0", "600"]
    assert record.of(alice).count("SIPAccountWillRegister") == 2


async def test_an_account_that_does_not_register_is_active(alice, registrar, record):
    alice.registration.enabled = False
    alice.enabled = True
    await saved(alice, "SIPAccountDidActivate")
    alice.display_name = "Alice"
    alice.save()
    await asyncio.sleep(0)
    assert registrar.requests == []
    alice.enabled = False
    await saved(alice, "SIPAccountDidDeactivate")
    assert "SIPAccountRegistrationDidEnd" not in record
    assert "SIPAccountRegistrationDidNotEnd" not in record


@pytest.mark.spec(251)
@pytest.mark.parametrize("name", ["SystemIPAddressDidChange", "SystemDidWakeUpFromSleep"])
async def test_a_network_change_refreshes_at_once(alice, registrar, record, name):
    await enabled(alice)
    username = alice.contact.username
    waiting = asyncio.ensure_future(told("SIPAccountRegistrationDidSucceed", alice))
    await asyncio.sleep(0)
    NotificationCenter().post_notification(name, object(), TimestampedNotificationData())
    await waiting
    assert record.of(alice)[-3:] == [
        "SIPAccountRegistrationWillRefresh",
        "SIPAccountRegistrationGotAnswer",
        "SIPAccountRegistrationDidSucceed",
    ]
    first, second = registrar.requests
    assert header(first, "Call-ID") == header(second, "Call-ID")
    assert int(header(second, "CSeq").split()[0]) == int(header(first, "CSeq").split()[0]) + 1
    assert alice.contact.username == username


async def test_a_network_change_during_a_registration_is_followed_by_another(alice, registrar, record):
    def answer(request):
        if len(registrar.requests) == 1:
            NotificationCenter().post_notification("SystemIPAddressDidChange", object())
        return registrar.accept(request)

    registrar.answer = answer
    await enabled(alice)
    await told("SIPAccountRegistrationDidSucceed", alice)
    assert len(registrar.requests) == 2


@pytest.mark.spec(251)
async def test_the_registration_is_refreshed_before_it_expires(alice, registrar, record):
    registrar.expires = 2
    await enabled(alice)
    began = time.monotonic()
    await told("SIPAccountRegistrationDidSucceed", alice)
    assert time.monotonic() - began < 2
    assert "SIPAccountRegistrationWillRefresh" in record


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda account: setattr(account, "password", "other"), "600"),
        (lambda account: setattr(account.sip, "register_interval", 300), "300"),
    ],
)
async def test_what_the_registration_was_made_with_starts_it_over(alice, registrar, record, change, expected):
    await enabled(alice)
    change(alice)
    await saved(alice, "SIPAccountRegistrationDidSucceed")
    first, second = registrar.requests
    assert header(second, "Expires") == expected
    assert header(first, "Call-ID") != header(second, "Call-ID")
    assert record.of(alice).count("SIPAccountWillRegister") == 2
    assert "SIPAccountRegistrationDidEnd" not in record


@pytest.mark.spec(238, 253)
async def test_a_refusal_is_reported_and_tried_again(alice, registrar, record):
    registrar.answer = lambda request: REFUSAL
    alice.enabled = True
    failure = (await saved(alice, "SIPAccountRegistrationDidFail")).data
    assert failure.error == "No more routes to try"
    assert isinstance(failure.timeout, float)
    assert 1 <= failure.timeout <= 2
    assert failure.timestamp is not None
    assert record.of(alice)[-2:] == ["SIPAccountRegistrationGotAnswer", "SIPAccountRegistrationDidFail"]
    answer = record.last("SIPAccountRegistrationGotAnswer").data
    assert (answer.code, answer.reason) == (403, "Forbidden")
    assert not alice.registered
    registrar.answer = registrar.accept
    await told("SIPAccountRegistrationDidSucceed", alice)
    assert record.of(alice).count("SIPAccountWillRegister") == 2


async def test_waits_grow_and_a_success_makes_them_short_again(alice, registrar, record, monkeypatch):
    monkeypatch.setattr(registration, "FIRST_RETRY", 0.001)
    monkeypatch.setattr(registration, "LONGEST_RETRY", 0.004)
    registrar.answer = lambda request: REFUSAL if len(registrar.requests) not in (6,) else registrar.accept(request)
    await enabled(alice)
    waits = [n.data.timeout for n in record.all if n.name == "SIPAccountRegistrationDidFail"]
    for wait, least in zip(waits, [0.001, 0.002, 0.004, 0.004, 0.004], strict=True):
        assert least <= wait <= 2 * least
    NotificationCenter().post_notification("SystemDidWakeUpFromSleep")
    failure = await told("SIPAccountRegistrationDidFail", alice)
    assert 0.001 <= failure.data.timeout <= 0.002


@pytest.mark.parametrize("challenge", ["401 Unauthorized", "407 Proxy Authentication Required"])
async def test_refused_credentials_are_not_tried_elsewhere(alice, registrar, record, monkeypatch, challenge):
    routes(monkeypatch, [Route("127.0.0.1", registrar.port), Route("127.0.0.1", registrar.port)])
    name = "WWW" if challenge.startswith("401") else "Proxy"
    registrar.answer = lambda request: [challenge, f'{name}-Authenticate: Digest realm="r", nonce="n{len(request)}"']
    alice.enabled = True
    failure = (await saved(alice, "SIPAccountRegistrationDidFail")).data
    assert failure.error == "Authentication failed"
    assert 60 <= failure.timeout <= 120
    assert record.of(alice).count("SIPAccountRegistrationGotAnswer") == 1
    assert len(registrar.requests) == 2, "one without and one with an answer to the challenge"


async def test_a_corrected_password_is_tried_at_once(alice, registrar, record):
    def answer(request):
        if 'username="alice"' in request and good:
            return registrar.accept(request)
        return ["401 Unauthorized", f'WWW-Authenticate: Digest realm="r", nonce="n{len(registrar.requests)}"']

    good = False
    registrar.answer = answer
    alice.enabled = True
    await saved(alice, "SIPAccountRegistrationDidFail")
    good = True
    alice.password = "right"
    await saved(alice, "SIPAccountRegistrationDidSucceed")


async def test_the_next_route_is_tried(alice, registrar, record, monkeypatch):
    good = Route("127.0.0.1", registrar.port)
    # Nothing listens there: a TCP connection is refused.
    routes(monkeypatch, [Route("127.0.0.1", registrar.port, "tcp"), good])
    notification = await enabled(alice)
    assert notification.data.registrar == good
    assert record.of(alice).count("SIPAccountRegistrationGotAnswer") == 2


async def test_a_registrar_that_grants_no_time_has_not_taken_the_contact(alice, registrar, record):
    registrar.expires = 0
    alice.enabled = True
    await saved(alice, "SIPAccountRegistrationDidFail")
    assert not alice.registered


async def test_a_failed_lookup_is_retried(alice, registrar, record, monkeypatch, at_once):
    results = [DNSLookupError("no such domain"), [Route("127.0.0.1", registrar.port)]]

    async def lookup(self, uri, transports):
        result = results.pop(0)
        if isinstance(result, Exception):
            raise result
        return result

    monkeypatch.setattr(registration.DNSLookup, "lookup_sip_proxy", lookup)
    await enabled(alice)
    failure = record.last("SIPAccountRegistrationDidFail").data
    assert failure.error == "DNS lookup failed: no such domain"


async def test_the_lookup_is_for_the_domain_or_the_proxy(alice, registrar, monkeypatch):
    asked = routes(monkeypatch, [Route("127.0.0.1", registrar.port)])
    await enabled(alice)
    assert asked == [(f"sip:127.0.0.1:{registrar.port};transport=udp", ["udp", "tcp"])]
    alice.sip.outbound_proxy = None
    await saved(alice, "SIPAccountRegistrationDidSucceed")
    assert asked[1] == ("sip:example.com", ["udp", "tcp"])


async def test_an_attempt_is_limited_in_time_and_so_is_the_round(alice, registrar, record, monkeypatch):
    routes(monkeypatch, [Route("127.0.0.1", registrar.port)] * 3)
    monkeypatch.setattr(registration, "ATTEMPT_LIMIT", 0.02)
    monkeypatch.setattr(registration, "ATTEMPT_MINIMUM", 0.01)
    monkeypatch.setattr(registration, "ROUND_LIMIT", 0.03)
    registrar.answer = lambda request: None
    alice.enabled = True
    await saved(alice, "SIPAccountRegistrationDidFail")
    codes = [n.data.code for n in record.all if n.name == "SIPAccountRegistrationGotAnswer"]
    assert codes == [408, 408]


@pytest.mark.spec(255)
@pytest.mark.parametrize(("answer", "code"), [(REFUSAL, 403), (None, 408)])
async def test_a_registrar_that_does_not_let_go_is_left(alice, registrar, record, monkeypatch, answer, code):
    monkeypatch.setattr(registration, "UNREGISTER_LIMIT", 0.1)
    await enabled(alice)
    registrar.answer = lambda request: answer
    alice.enabled = False
    await saved(alice, "SIPAccountDidDeactivate")
    data = record.last("SIPAccountRegistrationDidNotEnd").data
    assert data.code == code
    assert data.reason
    assert isinstance(data.registration, Registration)
    assert data.timestamp is not None


async def asked(alice, registrar) -> None:
    """Have the registrar asked for the first time, and say nothing."""
    registrar.answer = lambda request: None
    alice.enabled = True
    alice.save()
    await registrar.wait_for(1)
    alice.enabled = False


async def test_disabling_in_the_middle_of_an_attempt_takes_back_what_may_have_been_taken(
    alice, registrar, record, monkeypatch
):
    monkeypatch.setattr(registration, "UNREGISTER_LIMIT", 0.2)
    await asked(alice, registrar)
    await saved(alice, "SIPAccountDidDeactivate")
    assert record.of(alice)[-2:] == ["CFGSettingsObjectDidChange", "SIPAccountDidDeactivate"]
    assert [header(request, "Expires") for request in registrar.requests] == ["600", "0"]
    first, last = (header(request, "CSeq").split()[0] for request in registrar.requests)
    assert int(last) == int(first) + 1


async def test_disabling_before_the_answer_waits_for_it(alice, registrar, record):
    await asked(alice, registrar)
    stopping = asyncio.ensure_future(saved(alice, "SIPAccountDidDeactivate"))
    registrar.answer = registrar.accept
    # The request is repeated, and answered then.
    registrar.forget_answers()
    await stopping
    assert record.of(alice)[-3:] == [
        "CFGSettingsObjectDidChange",
        "SIPAccountRegistrationDidEnd",
        "SIPAccountDidDeactivate",
    ]
    assert [header(request, "Expires") for request in registrar.requests] == ["600", "600", "0"]


async def test_disabling_before_a_refusal_leaves_nothing_to_take_back(alice, registrar, record):
    await asked(alice, registrar)
    stopping = asyncio.ensure_future(saved(alice, "SIPAccountDidDeactivate"))
    registrar.answer = lambda request: REFUSAL
    registrar.forget_answers()
    await stopping
    assert record.of(alice)[-2:] == ["CFGSettingsObjectDidChange", "SIPAccountDidDeactivate"]
    assert [header(request, "Expires") for request in registrar.requests] == ["600", "600"]


async def test_disabling_and_enabling_at_once_changes_nothing(alice, registrar, record):
    await enabled(alice)
    alice.enabled = False
    alice.save()
    alice.enabled = True
    alice.save()
    alice.password = "other"
    await saved(alice, "SIPAccountRegistrationDidSucceed")
    assert "SIPAccountDidDeactivate" not in record
    assert len(registrar.requests) == 2


async def test_enabling_while_saying_farewell_registers_afterwards(alice, registrar, record):
    await enabled(alice)
    farewell = asyncio.ensure_future(told("SIPAccountRegistrationDidEnd", alice))
    alice.enabled = False
    alice.save()
    await registrar.wait_for(2)
    alice.enabled = True
    await saved(alice, "SIPAccountRegistrationDidSucceed")
    await farewell
    assert record.of(alice)[-5:] == [
        "SIPAccountDidDeactivate",
        "SIPAccountDidActivate",
        "SIPAccountWillRegister",
        "SIPAccountRegistrationGotAnswer",
        "SIPAccountRegistrationDidSucceed",
    ]


async def test_stopping_while_saying_farewell_waits_for_it(alice, registrar, record, manager):
    await enabled(alice)
    alice.enabled = False
    alice.save()
    await registrar.wait_for(2)
    await manager.stop()
    assert record.of(alice)[-2:] == ["SIPAccountRegistrationDidEnd", "SIPAccountDidDeactivate"]
    assert record.of(alice).count("SIPAccountDidDeactivate") == 1


async def test_stopping_the_manager_unregisters_all_accounts_in_parallel(
    alice, registrar, record, manager, monkeypatch
):
    bob = new_account("bob@example.com", registrar)
    await enabled(alice)
    await enabled(bob)
    monkeypatch.setattr(registration, "UNREGISTER_LIMIT", 0.3)
    registrar.answer = lambda request: None
    began = time.monotonic()
    await manager.stop()
    assert time.monotonic() - began < 0.55
    for account in (alice, bob):
        assert record.of(account)[-2:] == ["SIPAccountRegistrationDidNotEnd", "SIPAccountDidDeactivate"]
    assert record.of(manager)[-2:] == ["SIPAccountManagerWillEnd", "SIPAccountManagerDidEnd"]


async def test_an_engine_that_ends_takes_the_registration_along(alice, registrar, record, engine):
    await enabled(alice)
    await engine.stop()
    assert record.of(alice)[-1] == "SIPAccountDidDeactivate"
    assert not alice.registered
    assert len(registrar.requests) == 1
    waiting = asyncio.ensure_future(told("SIPAccountRegistrationDidSucceed", alice))
    await engine.start(local_ip="127.0.0.1", udp_port=0, tcp_port=0)
    await waiting


async def test_all_is_told_in_the_loop_thread(alice, registrar):
    threads = []

    class Observer:
        def handle_notification(self, notification):
            threads.append(in_loop_thread())

    observer = Observer()
    NotificationCenter().add_observer(observer, sender=alice)
    alice.enabled = True
    waiting = asyncio.ensure_future(told("SIPAccountRegistrationDidSucceed", alice))
    await asyncio.to_thread(alice.save)
    await waiting
    NotificationCenter().remove_observer(observer, sender=alice)
    assert len(threads) == 5
    assert all(threads)


async def test_a_deleted_account_is_unregistered_and_gone(alice, registrar, record, manager, configuration):
    await enabled(alice)
    assert alice.id in configuration.data["Accounts"]
    await alice.delete()
    assert alice.id not in configuration.data.get("Accounts", {})
    assert not manager.has_account(alice.id)
    assert [n.name for n in record.all if n.sender in (alice, manager)][-3:] == [
        "SIPAccountRegistrationDidEnd",
        "SIPAccountDidDeactivate",
        "SIPAccountManagerDidRemoveAccount",
    ]
    assert record.last("SIPAccountManagerDidRemoveAccount").data.account is alice
    assert AccountManager() is manager


def routes(monkeypatch, found):
    """Have every lookup find these routes; returns the list of what is asked."""
    asked = []

    async def lookup(self, uri, transports):
        asked.append((str(uri), transports))
        return found

    monkeypatch.setattr(registration.DNSLookup, "lookup_sip_proxy", lookup)
    return asked
