from __future__ import annotations

import asyncio

import pytest

from sipsimple.account import Account, AccountManager, BonjourAccount
from sipsimple.configuration.settings import SIPSimpleSettings
from sipsimple.core import SIPURI
from sipsimple.notification import NotificationCenter, TimestampedNotificationData
from tests.unit.account.conftest import told

ALICE, BOB = "alice@example.com", "bob@example.com"
STORED = {
    "Accounts": {
        ALICE: {"enabled": "true", "registration": {"enabled": "false"}},
        "bonjour@local": {"display_name": "Me"},
        BOB: {},
    }
}


def enable(*accounts):
    for account in accounts:
        account.enabled = True
        account.save()


@pytest.mark.spec(264, 265, 266, 276)
@pytest.mark.parametrize("stored", [STORED])
async def test_starting_loads_and_activates_the_accounts(engine, record):
    manager = AccountManager()
    assert AccountManager() is manager
    assert not manager.has_account(ALICE)
    await manager.start()
    accounts = [BonjourAccount(), Account(ALICE), Account(BOB)]
    assert manager.get_accounts() == accounts
    added = [n.data.account for n in record.all if n.name == "SIPAccountManagerDidAddAccount"]
    assert added == accounts
    assert [n.name for n in record.all] == [
        *["SIPAccountManagerDidAddAccount"] * 3,
        "SIPAccountManagerWillStart",
        "SIPAccountDidActivate",
        "SIPAccountDidActivate",
        "SIPAccountManagerDidStart",
    ]
    assert record.of(Account(BOB)) == []
    await manager.start()
    assert len(record.all) == 7


@pytest.mark.spec(268, 269, 270, 271, 272, 273)
@pytest.mark.parametrize("stored", [STORED])
def test_accounts_are_found_by_id(configuration):
    manager = AccountManager()
    manager.load_accounts()
    assert manager.has_account(ALICE)
    assert not manager.has_account("carol@example.com")
    assert manager.get_account(BOB) is Account(BOB)
    assert manager.get_account("bonjour@local") is BonjourAccount()
    with pytest.raises(KeyError):
        manager.get_account("carol@example.com")
    iterator = manager.iter_accounts()
    assert next(iterator) is BonjourAccount()
    assert [BonjourAccount(), *iterator] == manager.get_accounts()


@pytest.mark.spec(249, 262, 263, 267)
@pytest.mark.parametrize("stored", [STORED])
async def test_stopping_deactivates(engine, record):
    manager = AccountManager()
    await manager.start()
    record.all.clear()
    await manager.stop()
    assert [(n.name, n.sender) for n in record.all] == [
        ("SIPAccountManagerWillEnd", manager),
        ("SIPAccountDidDeactivate", BonjourAccount()),
        ("SIPAccountDidDeactivate", Account(ALICE)),
        ("SIPAccountManagerDidEnd", manager),
    ]
    assert record.last("SIPAccountDidDeactivate").data.timestamp is not None
    await manager.stop()
    assert len(record.all) == 4
    await manager.start()
    assert record.of(Account(ALICE))[-1] == "SIPAccountDidActivate"


@pytest.mark.spec(262, 263)
async def test_the_account_without_a_server_follows_its_flag(manager, record):
    account = BonjourAccount()
    assert account.enabled
    for value, expected in ((False, "SIPAccountDidDeactivate"), (True, "SIPAccountDidActivate")):
        waiting = asyncio.ensure_future(told(expected, account))
        await asyncio.sleep(0)
        account.enabled = value
        account.save()
        assert (await waiting).data.timestamp is not None


@pytest.mark.spec(248)
@pytest.mark.parametrize("stored", [STORED])
def test_accounts_wait_for_the_engine(configuration, record):
    manager = AccountManager()
    result = manager.start()
    assert result.done()
    assert "SIPAccountManagerDidStart" in record
    assert "SIPAccountDidActivate" not in record
    assert manager.stop().done()
    assert record.of(manager)[-2:] == ["SIPAccountManagerWillEnd", "SIPAccountManagerDidEnd"]


@pytest.mark.parametrize("stored", [STORED])
async def test_accounts_activate_when_the_engine_starts(configuration, record):
    from sipsimple.core import Engine
    from sipsimple.loop import unbind_loop

    AccountManager().start()
    await Engine().start(local_ip="127.0.0.1", udp_port=0)
    assert record.of(Account(ALICE)) == ["SIPAccountDidActivate"]
    await Engine().stop()
    assert record.of(Account(ALICE)) == ["SIPAccountDidActivate", "SIPAccountDidDeactivate"]
    AccountManager().stop()
    unbind_loop(asyncio.get_running_loop())


async def test_the_contact_follows_the_network(manager):
    account = Account(ALICE)
    username = account.contact.username
    SIPSimpleSettings().local_ip = "127.0.0.2"
    NotificationCenter().post_notification("SystemIPAddressDidChange", None, TimestampedNotificationData())
    assert account.contact == f"{username}@127.0.0.2"


@pytest.mark.parametrize("stored", [{"Accounts": {"no address": {"enabled": "true"}, ALICE: {}}}])
def test_a_stored_account_that_is_none_is_left_out(configuration, record):
    AccountManager().load_accounts()
    assert AccountManager().get_accounts() == [BonjourAccount(), Account(ALICE)]
    failure = record.last("CFGManagerLoadFailed").data
    assert failure.attribute == "no address"
    assert isinstance(failure.error, ValueError)
    assert "no address" in configuration.data["Accounts"]


@pytest.mark.spec(274, 275)
def test_a_request_finds_the_enabled_account_it_is_for(configuration):
    manager = AccountManager()
    manager.load_accounts()
    alice, bob, other = Account(ALICE), Account(BOB), Account("alice@example.org")
    find = manager.find_account
    assert find(SIPURI("127.0.0.1", user=alice.contact.username)) is None
    assert find(SIPURI("example.com", user="alice")) is None
    enable(alice, bob, other)
    assert find(SIPURI("127.0.0.1", user=bob.contact.username)) is bob
    # Behind a translator of addresses, the host of the contact is not the one that was registered.
    assert find(SIPURI("203.0.113.5", user=bob.contact.username)) is bob
    assert find(SIPURI("example.org", user="alice")) is other
    assert find(SIPURI("203.0.113.5", user="alice")) is alice
    assert find(SIPURI("127.0.0.1", user=BonjourAccount().contact.username)) is BonjourAccount()
    assert find(SIPURI("127.0.0.1", user="nobody")) is None
    assert find(SIPURI("example.com")) is None


@pytest.mark.spec(278)
def test_the_default_account_can_be_chosen(configuration, record):
    manager = AccountManager()
    manager.load_accounts()
    assert manager.default_account is BonjourAccount()
    alice = Account(ALICE)
    with pytest.raises(ValueError, match="disabled"):
        manager.default_account = alice
    enable(alice)
    manager.default_account = alice
    assert SIPSimpleSettings().default_account == ALICE
    assert configuration.data["SIPSimpleSettings"]["default_account"] == ALICE
    notification = record.last("SIPAccountManagerDidChangeDefaultAccount")
    assert notification.sender is manager
    assert notification.data.timestamp is not None
    assert (notification.data.old_account, notification.data.account) == (BonjourAccount(), alice)
    record.all.clear()
    manager.default_account = alice
    assert record.all == []
    manager.default_account = None
    assert manager.default_account is None


def test_disabling_the_default_account_makes_another_one_it(configuration, record):
    manager = AccountManager()
    manager.load_accounts()
    alice, bob = Account(ALICE), Account(BOB)
    enable(alice, bob)
    manager.default_account = alice
    alice.enabled = False
    alice.save()
    assert manager.default_account is bob
    bob.enabled = False
    bob.save()
    assert manager.default_account is BonjourAccount()
    BonjourAccount().enabled = False
    BonjourAccount().save()
    assert manager.default_account is None
    assert record.last("SIPAccountManagerDidChangeDefaultAccount").data.account is None
    enable(bob)
    assert manager.default_account is bob


@pytest.mark.spec(277)
def test_deleting_the_default_account_makes_another_one_it(configuration, record):
    manager = AccountManager()
    manager.load_accounts()
    alice = Account(ALICE)
    enable(alice)
    manager.default_account = alice
    assert alice.delete().done()
    assert not manager.has_account(ALICE)
    removed = record.last("SIPAccountManagerDidRemoveAccount").data
    assert removed.account is alice
    assert removed.timestamp is not None
    assert manager.default_account is BonjourAccount()
    with pytest.raises(ValueError, match="deleted"):
        manager.default_account = alice
    alice.enabled = False
    alice.save()
    assert Account(ALICE) is not alice
    assert manager.get_account(ALICE) is Account(ALICE)


async def test_an_account_made_while_an_old_one_ends_stays(manager, record):
    old = Account(ALICE)
    deleted = old.delete()
    new = Account(ALICE)
    await deleted
    assert manager.get_account(ALICE) is new


@pytest.mark.spec(248)
@pytest.mark.parametrize("stored", [{"Accounts": {BOB: {"enabled": "true", "sip": {"register": "false"}}}}])
async def test_an_enabled_account_that_appears_while_running_activates(engine, record):
    manager = AccountManager()
    await manager.start()
    bob = Account(BOB)
    assert record.of(bob) == ["SIPAccountDidActivate"]
    alice = Account(ALICE)
    alice.registration.enabled = False
    waiting = asyncio.ensure_future(told("SIPAccountDidActivate", alice))
    await asyncio.sleep(0)
    enable(alice)
    assert (await waiting).data.timestamp is not None


async def test_a_failure_to_stop_an_account_reaches_who_asked(manager, monkeypatch):
    async def fail():
        raise LookupError("broken")

    account = Account(ALICE)
    monkeypatch.setattr(account, "_stop", fail)
    with pytest.raises(LookupError, match="broken"):
        await account.delete()
    monkeypatch.undo()
