"""`sipsimple settings` reads and writes the configuration file, masks passwords, and says what is wrong."""

from __future__ import annotations

import errno
import json
import os
import stat

import pytest


def test_values_are_set_read_and_unset(sipsimple, config):
    assert sipsimple("settings", "set", "audio.sample_rate", "32000").exit_code == 0
    assert sipsimple("settings", "get", "audio.sample_rate").stdout.strip() == "32000"
    assert json.loads(sipsimple("settings", "get", "audio.sample_rate", "--json").stdout) == 32000
    assert sipsimple("settings", "unset", "audio.sample_rate").exit_code == 0
    assert sipsimple("settings", "get", "audio.sample_rate").stdout.strip() == "16000"
    assert "sample_rate" not in config.read_text()


@pytest.mark.parametrize(
    ("name", "typed", "shown"),
    [
        ("rtp.audio_codec_list", "PCMA, PCMU", ["PCMA", "PCMU"]),
        ("sip.transport_list", "tcp", ["tcp"]),
        ("audio.silent", "yes", True),
        ("audio.input_device", "none", None),
        ("sip.udp_port", "5066", 5066),
        ("rtp.port_range", "40000-40010", "40000-40010"),
        ("local_ip", "192.0.2.1", "192.0.2.1"),
    ],
)
def test_every_kind_of_value_is_understood(sipsimple, name, typed, shown):
    assert sipsimple("settings", "set", name, typed).exit_code == 0
    assert json.loads(sipsimple("settings", "get", name, "--json").stdout) == shown


def test_unknown_codec_names_the_valid_ones(sipsimple, config):
    result = sipsimple("settings", "set", "rtp.audio_codec_list", "PCMU,mp3")
    assert result.exit_code == 2
    assert "mp3" in result.stderr
    assert "opus, speex, G722, PCMU, PCMA, iLBC, GSM" in result.stderr
    assert not config.exists()


def test_unknown_setting_names_the_nearest(sipsimple):
    result = sipsimple("settings", "get", "audio.samplerate")
    assert result.exit_code == 2
    assert "did you mean audio.sample_rate" in result.stderr
    assert "sipsimple settings list" in sipsimple("settings", "get", "qqqqqq").stderr


@pytest.mark.parametrize(
    ("name", "value"), [("sip.udp_port", "70000"), ("audio.silent", "perhaps"), ("local_ip", "a b")]
)
def test_bad_value_changes_nothing(sipsimple, config, name, value):
    result = sipsimple("settings", "set", name, value)
    assert result.exit_code == 2
    assert name in result.stderr
    assert not config.exists()


def test_accounts_are_added_listed_changed_and_deleted(sipsimple, config):
    added = sipsimple(
        "settings", "add-account", "alice@example.com", "--password", "s3cret", "--display-name", "Alice",
        "--proxy", "192.0.2.7:5070;transport=tcp",
    )  # fmt: skip
    assert added.exit_code == 0, added.stderr
    accounts = {one["id"]: one for one in json.loads(sipsimple("settings", "accounts", "--json").stdout)}
    assert accounts["alice@example.com"] == {
        "id": "alice@example.com",
        "display_name": "Alice",
        "enabled": True,
        "default": True,
    }
    of_alice = ("--account", "alice@example.com")
    assert (
        sipsimple("settings", "get", "sip.outbound_proxy", *of_alice).stdout.strip() == "192.0.2.7:5070;transport=tcp"
    )
    assert sipsimple("settings", "set", "sip.register_interval", "90", *of_alice).exit_code == 0
    assert sipsimple("settings", "get", "sip.register_interval", *of_alice).stdout.strip() == "90"
    assert sipsimple("settings", "delete-account", "alice@example.com").exit_code == 0
    assert "alice" not in sipsimple("settings", "accounts").stdout
    assert "alice" not in config.read_text()


def test_passwords_are_masked_unless_asked_for(sipsimple, config):
    sipsimple("settings", "add-account", "alice@example.com", "--password", "-", input="s3cret\n")
    for shown in (
        sipsimple("settings", "list"),
        sipsimple("settings", "list", "--json"),
        sipsimple("settings", "get", "password", "--account", "alice@example.com"),
        sipsimple("settings", "set", "password", "s3cret", "--account", "alice@example.com"),
    ):
        assert shown.exit_code == 0
        assert "s3cret" not in shown.stdout + shown.stderr
    asked = sipsimple("settings", "get", "password", "--account", "alice@example.com", "--show-secrets")
    assert asked.stdout.strip() == "s3cret"
    assert stat.S_IMODE(config.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        (("add-account", "nonsense"), "user@domain"),
        (("add-account", "bob@example.com", "--proxy", "a b"), "outbound_proxy"),
        (("add-account", "alice@example.com"), "already"),
        (("get", "enabled", "--account", "alic@example.com"), "did you mean alice@example.com"),
        (("delete-account", "carol@example.com"), "there is no account"),
        (("delete-account", "bonjour@local"), "enabled false"),
    ],
)
def test_mistakes_with_accounts_say_what_to_do(sipsimple, arguments, advice):
    sipsimple("settings", "add-account", "alice@example.com")
    result = sipsimple("settings", *arguments)
    assert result.exit_code != 0
    assert advice in result.stderr


def test_a_refused_account_leaves_no_trace(sipsimple):
    sipsimple("settings", "add-account", "bob@example.com", "--proxy", "a b")
    assert "bob" not in sipsimple("settings", "accounts").stdout


def test_a_damaged_file_is_named_and_left_alone(sipsimple, config):
    config.write_text("no colon here\n")
    result = sipsimple("settings", "set", "audio.silent", "yes")
    assert result.exit_code == 1
    assert str(config) in result.stderr
    assert "repair" in result.stderr
    assert config.read_text() == "no colon here\n"


def test_a_stored_value_that_cannot_be_used_is_warned_of(sipsimple, config):
    config.write_text("SIPSimpleSettings:\n    sip:\n        udp_port = many\n")
    result = sipsimple("settings", "get", "sip.udp_port")
    assert result.stdout.strip() == "0"
    assert "udp_port" in result.stderr


def test_a_file_that_cannot_be_written_is_an_error(sipsimple, config):
    config.parent.joinpath("config").mkdir()
    result = sipsimple("settings", "set", "audio.silent", "yes")
    assert result.exit_code == 1
    assert "cannot be read" in result.stderr


def test_a_change_that_is_not_saved_is_not_claimed(sipsimple, config, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    result = sipsimple("settings", "add-account", "alice@example.com")
    assert result.exit_code == 1
    assert not result.stdout
    assert result.stderr.count("No space left on device") == 1
    assert "nothing was saved" in result.stderr


def test_control_characters_of_a_name_do_not_reach_the_terminal(sipsimple):
    sipsimple("settings", "add-account", "alice@example.com", "--display-name", "\x1b[31mred")
    for command in (("accounts",), ("list",)):
        assert "\x1b" not in sipsimple("settings", *command).stdout


def test_version_and_help(sipsimple):
    assert sipsimple("--version").stdout.startswith("sipsimple ")
    text = sipsimple("--help").stdout
    assert all(command in text for command in ("settings", "register", "call", "answer", "devices", "demo"))
