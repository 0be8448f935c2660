from __future__ import annotations

import string

import pytest

from sipsimple.account import Account, AccountManager, BonjourAccount, ContactURI
from sipsimple.configuration import ConfigurationManager, ModifiedValue, Setting
from sipsimple.configuration.datatypes import SIPAddress
from sipsimple.configuration.settings import SIPSimpleSettings
from sipsimple.core import SIPURI, Credentials, Engine, FrozenSIPURI, network

ALICE = "alice@example.com"


@pytest.mark.spec(240, 241, 242)
def test_the_defaults_of_an_account(configuration):
    account = Account(ALICE)
    assert account.enabled is False
    assert account.password == ""
    assert account.display_name is None
    assert account.registration.enabled is account.sip.register is True
    assert account.sip.outbound_proxy is None
    assert account.sip.register_interval == account.sip.subscribe_interval == account.sip.publish_interval == 600
    assert account.rtp.audio_codec_list is None
    assert (account.rtp.srtp_encryption, account.rtp.use_srtp_without_tls) == ("optional", False)
    assert account.dialog_event.enabled is True
    nat = account.nat_traversal
    assert (nat.use_ice, nat.stun_server_list, nat.msrp_relay) == (False, None, None)
    assert (nat.use_msrp_relay_for_inbound, nat.use_msrp_relay_for_outbound) == (True, False)
    assert account.message_summary.enabled is True
    assert account.message_summary.voicemail_uri is None
    assert account.presence.enabled is account.presence.use_rls is True
    assert account.xcap.enabled is account.xcap.use_xcap_diff is True
    assert account.xcap.xcap_root is None
    assert account.tls.certificate is None
    assert account.tls.verify_server is True
    assert account.pstn is not None
    assert not account.registered


@pytest.mark.spec(243, 245, 246)
def test_who_an_account_is(configuration):
    account = Account(ALICE)
    assert Account(ALICE) is account
    assert isinstance(account.id, SIPAddress)
    assert (account.id, account.id.username, account.id.domain) == (ALICE, "alice", "example.com")
    assert account.uri == SIPURI(user="alice", host="example.com")
    assert account.credentials == Credentials("alice", "")
    account.password = "s3cret"
    account.save()
    assert account.credentials == Credentials("alice", "s3cret")
    assert repr(account) == "Account('alice@example.com')"


def test_a_user_part_with_an_at_sign_is_escaped_in_the_id_alone(configuration):
    account = Account("a@b@example.com")
    assert account.id == "a%40b@example.com"
    assert account.uri.user == account.credentials.username == "a@b"
    assert str(account.uri) == "sip:a%40b@example.com"


def test_the_password_is_in_no_repr(configuration, record):
    account = Account(ALICE)
    assert Account.password.secret
    account.password = "s3cret"
    account.save()
    text = f"{account!r} {account.sip!r} {account.credentials!r} {account.credentials} {record.all!r}"
    assert "s3cret" not in text


@pytest.mark.spec(244)
async def test_the_contact_has_a_uri_for_each_transport(manager):
    account = Account(ALICE)
    uri = account.contact
    assert isinstance(uri, ContactURI)
    assert isinstance(uri, SIPAddress)
    assert uri == f"{uri.username}@127.0.0.1"
    assert len(set(uri.username)) == 8
    assert set(uri.username) <= set(string.ascii_lowercase)
    engine = Engine()
    assert uri["udp"] == SIPURI(user=uri.username, host="127.0.0.1", port=engine.udp_port)
    tcp = SIPURI(user=uri.username, host="127.0.0.1", port=engine.tcp_port, parameters={"transport": "tcp"})
    assert uri["tcp"] == tcp
    assert uri["tls"].parameters == {"transport": "tls"}
    assert uri["tls"].port is None
    assert uri[0] == uri.username[0]
    assert uri[:8] == uri.username


def test_the_contact_without_a_configured_address_is_that_of_the_default_route(configuration, monkeypatch):
    SIPSimpleSettings().local_ip = None

    monkeypatch.setattr(network, "source_address_towards", lambda _: "192.0.2.7" if reachable else None)
    reachable = True
    assert Account(ALICE).contact.domain == "192.0.2.7"
    reachable = False
    assert Account("bob@example.com").contact.domain == "127.0.0.1"


def test_an_invalid_id_is_refused(configuration, record):
    for id in ("alice", "", "@example.com", BonjourAccount.__id__):
        with pytest.raises(ValueError):
            Account(id)
    assert record.all == []


@pytest.mark.spec(276)
def test_a_new_account_is_announced_and_not_stored(configuration, record):
    account = Account(ALICE)
    notification = record.last("SIPAccountManagerDidAddAccount")
    assert notification.sender is AccountManager()
    assert notification.data.account is account
    assert notification.data.timestamp is not None
    assert AccountManager().has_account(ALICE)
    assert not account.enabled
    assert configuration.data == {}


@pytest.mark.spec(247, 261)
@pytest.mark.parametrize("make", [lambda: Account(ALICE), BonjourAccount])
def test_saving_an_account_reports_what_changed(configuration, record, make):
    account = make()
    account.rtp.srtp_encryption = "mandatory"
    account.save()
    notification = record.last("CFGSettingsObjectDidChange")
    assert notification.sender is account
    assert notification.data.modified == {"rtp.srtp_encryption": ModifiedValue("optional", "mandatory")}
    assert configuration.data == {"Accounts": {str(account.id): {"rtp": {"srtp_encryption": "mandatory"}}}}


@pytest.mark.spec(257, 258, 259, 260)
async def test_the_account_without_a_server(manager, record):
    account = BonjourAccount()
    assert BonjourAccount() is account
    assert (account.id, account.id.username, account.id.domain) == ("bonjour@local", "bonjour", "local")
    assert len(account.contact.username) == 8
    assert account.contact["udp"].port == Engine().udp_port
    assert account.uri == SIPURI(user=account.contact.username, host="127.0.0.1")
    assert account.credentials == Credentials(account.contact.username, "")
    assert account.registered is False
    assert (account.enabled, account.display_name) == (True, None)
    assert (account.sip.transport_list, account.msrp.transport) == (["udp"], "tcp")
    assert account.rtp.audio_codec_list is None
    assert account.tls.certificate is None
    nat = account.nat_traversal
    assert (nat.use_ice, nat.stun_server_list, nat.msrp_relay) == (False, None, None)
    assert (nat.use_msrp_relay_for_inbound, nat.use_msrp_relay_for_outbound) == (False, False)
    assert repr(account) == "BonjourAccount()"
    with pytest.raises(TypeError, match="cannot be deleted"):
        account.delete()


def test_accounts_need_the_configuration():
    ConfigurationManager().stop()
    AccountManager().forget()
    with pytest.raises(RuntimeError, match="not started"):
        AccountManager().start()
    with pytest.raises(RuntimeError, match="not started"):
        Account(ALICE)


def test_a_frozen_uri_finds_an_account_too(configuration):
    account = Account(ALICE)
    account.enabled = True
    assert AccountManager().find_account(FrozenSIPURI("192.0.2.1", user=account.contact.username)) is account
    assert isinstance(Account.enabled, Setting)
