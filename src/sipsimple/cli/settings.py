"""`sipsimple settings`: shows and changes the configuration file, general settings and accounts."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from sipsimple.cli.output import WRONG_USE, CommandError, clean, console, print_json, say

settings_app = typer.Typer(no_args_is_help=True, help="Show and change the settings and the accounts.")

FROM_STDIN = "-"

AccountOption = Annotated[
    str | None, typer.Option("--account", "-a", metavar="USER@DOMAIN", help="The account that the setting belongs to.")
]
JSONOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
SecretsOption = Annotated[bool, typer.Option("--show-secrets", help="Print passwords instead of asterisks.")]


def _path(context: typer.Context) -> Path:
    path: Path = context.obj.config
    return path


def _object(account: str | None) -> Any:
    """The settings object that is meant; raises CommandError."""
    from sipsimple.account import AccountManager
    from sipsimple.cli.settings_tree import suggestion
    from sipsimple.configuration.settings import SIPSimpleSettings

    if account is None:
        return SIPSimpleSettings()
    manager = AccountManager()
    if not manager.has_account(account):
        known = [str(known.__id__) for known in manager.get_accounts()]
        raise CommandError(f"there is no account {clean(account)!r}{suggestion(account, known)}", WRONG_USE)
    return manager.get_account(account)


@settings_app.command("list")
def list_settings(
    context: typer.Context, account: AccountOption = None, json: JSONOption = False, show_secrets: SecretsOption = False
) -> None:
    """Print all settings and accounts, or those of one account; changed settings are bold."""
    from rich.text import Text

    from sipsimple.account import AccountManager
    from sipsimple.cli.config import opened
    from sipsimple.cli.settings_tree import entries
    from sipsimple.configuration.settings import SIPSimpleSettings

    with opened(_path(context)):
        accounts = AccountManager().get_accounts() if account is None else [_object(account)]
        objects: list[tuple[str, Any]] = [(str(one.__id__), one) for one in accounts]
        if account is None:
            objects.insert(0, ("general", SIPSimpleSettings()))
        if json:
            document = {name: {entry.path: entry.json(show_secrets) for entry in entries(one)} for name, one in objects}
            print_json(document)
            return
        for name, one in objects:
            console().print(Text(clean(name), style="bold cyan"))
            for entry in entries(one):
                line = Text(f"  {entry.path} = {entry.text(show_secrets)}")
                line.stylize("dim" if entry.is_default else "bold")
                console().print(line)
        console().print(Text(f"stored in {_path(context)}", style="dim"))


@settings_app.command("get")
def get_setting(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The path of the setting, such as audio.sample_rate.")],
    account: AccountOption = None,
    json: JSONOption = False,
    show_secrets: SecretsOption = False,
) -> None:
    """Print one setting."""
    from sipsimple.cli.config import opened
    from sipsimple.cli.settings_tree import find

    with opened(_path(context)):
        entry = find(_object(account), name)
        if json:
            print_json(entry.json(show_secrets))
        else:
            console().print(entry.text(show_secrets))


@settings_app.command("set")
def set_setting(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The path of the setting, such as rtp.audio_codec_list.")],
    value: Annotated[str, typer.Argument(help="The value; items of a list have commas between, nothing is `none`.")],
    account: AccountOption = None,
) -> None:
    """Change one setting."""
    from sipsimple.cli.config import opened
    from sipsimple.cli.settings_tree import find

    with opened(_path(context)):
        owner = _object(account)
        entry = find(owner, name)
        entry.setting.__set__(entry.container, entry.parse(value))
        owner.save()
    say(f"{entry.path} = {entry.text()}")


@settings_app.command("unset")
def unset_setting(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The path of the setting.")],
    account: AccountOption = None,
) -> None:
    """Give one setting its default value again."""
    from sipsimple.cli.config import opened
    from sipsimple.cli.settings_tree import find
    from sipsimple.configuration import DefaultValue

    with opened(_path(context)):
        owner = _object(account)
        entry = find(owner, name)
        entry.setting.__set__(entry.container, DefaultValue)
        owner.save()
    say(f"{entry.path} = {entry.text()} (default)")


@settings_app.command("accounts")
def list_accounts(context: typer.Context, json: JSONOption = False) -> None:
    """Print the accounts; the default one has a star."""
    from rich.text import Text

    from sipsimple.account import AccountManager
    from sipsimple.cli.config import opened

    with opened(_path(context)):
        manager = AccountManager()
        found = [
            {
                "id": str(one.__id__),
                "display_name": getattr(one, "display_name", None),
                "enabled": one.enabled,
                "default": one is manager.default_account,
            }
            for one in manager.get_accounts()
        ]
    if json:
        print_json(found)
        return
    for one in found:
        name = f' "{clean(one["display_name"])}"' if one["display_name"] else ""
        line = f"{'*' if one['default'] else ' '} {clean(one['id'])}{name}"
        console().print(Text(line if one["enabled"] else f"{line} (disabled)", style="" if one["enabled"] else "dim"))


@settings_app.command("add-account")
def add_account(
    context: typer.Context,
    address: Annotated[str, typer.Argument(metavar="USER@DOMAIN", help="The SIP address of the account.")],
    password: Annotated[str, typer.Option(help="The password; - reads it from standard input.")] = "",
    display_name: Annotated[str | None, typer.Option(help="The name that others see.")] = None,
    proxy: Annotated[
        str | None, typer.Option(metavar="HOST[:PORT][;transport=NAME]", help="Send everything by this proxy.")
    ] = None,
    default: Annotated[bool, typer.Option("--default", help="Make it the default account.")] = False,
) -> None:
    """Add an account at a SIP provider; the first one becomes the default account."""
    from sipsimple.account import Account, AccountManager
    from sipsimple.cli.config import BONJOUR, opened
    from sipsimple.cli.settings_tree import find

    with opened(_path(context)):
        manager = AccountManager()
        if manager.has_account(address):
            change = f"sipsimple settings set --account {clean(address)} NAME VALUE"
            raise CommandError(f"there is an account {clean(address)} already; change it with `{change}`")
        try:
            account = Account(address.removeprefix("sip:"))
        except ValueError as error:
            raise CommandError(f"no account was added: {error}", WRONG_USE) from error
        if proxy is not None:
            account.sip.outbound_proxy = find(account, "sip.outbound_proxy").parse(proxy)
        account.password = sys.stdin.readline().rstrip("\n") if password == FROM_STDIN else password
        if display_name is not None:
            account.display_name = display_name
        account.enabled = True
        account.save()
        present = manager.default_account
        if default or present is None or str(present.__id__) == BONJOUR:
            manager.default_account = account
        role = " as the default account" if manager.default_account is account else ""
    say(f"added {account.id}{role}")


@settings_app.command("delete-account")
def delete_account(
    context: typer.Context, address: Annotated[str, typer.Argument(metavar="USER@DOMAIN", help="The account.")]
) -> None:
    """Delete an account with all its settings."""
    from sipsimple.cli.config import opened

    with opened(_path(context)):
        account = _object(address)
        try:
            account.delete()
        except TypeError as error:
            disable = f"sipsimple settings set --account {clean(address)} enabled false"
            raise CommandError(f"{clean(address)} cannot be deleted; disable it with `{disable}`") from error
    say(f"deleted {clean(address)}")
