"""A user agent of ours that takes whatever comes, and says so, one line each; run by `test_kamailio_requests`.

`python -m tests.interop.correspondent USER PROXY TRANSPORT` registers with the proxy and runs until SIGTERM. A message
is answered by another one, a call is taken, a transfer is made, a REFER is said to have succeeded, and whoever
subscribes gets the number of the SUBSCRIBE.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import Any

from sipsimple.account import Account
from sipsimple.application import SIPApplication
from sipsimple.configuration.backend.memory import MemoryBackend
from sipsimple.core import SIPURI, Engine, FromHeader, Message, RouteHeader, ToHeader
from sipsimple.notification import NotificationCenter
from tests.interop.kamailio import PASSWORD

EVENT = "counting"
DOMAIN = "example.org"


class Correspondent:
    """Does as the module says."""

    def __init__(self, account: Account, proxy: SIPURI) -> None:
        self.account = account
        self.proxy = proxy
        self.subscribed: dict[Any, int] = {}
        self.kept: list[Any] = []

    def handle_notification(self, notification: Any) -> None:
        sender, data = notification.sender, notification.data
        match notification.name:
            case "SIPAccountRegistrationDidSucceed":
                say("registered")
            case "SIPEngineGotMessage":
                text = data.body.decode()
                say(f"message {data.from_header.uri.user}: {text}")
                self.reply(data.from_header.uri, f"you said: {text}")
            case "SIPMessageDidSucceed" | "SIPMessageDidFail":
                say(f"reply {data.code}")
            case "SIPIncomingReferralGotReferRequest" if sender.invitation is None:
                say(f"referred to {data.refer_to}")
                self.kept.append(sender)
                sender.accept()
                sender.notify(180)
                sender.notify(200)
            case "SIPIncomingSubscriptionGotSubscribe":
                self.subscribed[sender] = 1
                sender.accept("text/plain", "1")
            case "SIPIncomingSubscriptionGotRefreshingSubscribe":
                self.subscribed[sender] += 1
                sender.push_content("text/plain", str(self.subscribed[sender]))
            case "SIPIncomingSubscriptionDidEnd":
                say(f"unsubscribed after {self.subscribed.pop(sender)}")
            case "SIPSessionNewIncoming":
                sender.accept(data.streams)
            case "SIPSessionTransferNewIncoming":
                say(f"transferred by {data.transfer_source}")
                sender.accept_transfer()
            case "SIPSessionDidStart":
                replaced = " in place of another" if sender.replaced_session is not None else ""
                say(f"talking with {sender.remote_identity.uri.user}{replaced}")
            case "SIPSessionDidEnd":
                say(f"ended with {sender.remote_identity.uri.user}")

    def reply(self, to: SIPURI, text: str) -> None:
        account = self.account
        route = RouteHeader(self.proxy)
        message = Message(
            FromHeader(account.uri), ToHeader(SIPURI.new(to)), route, "text/plain", text, account.credentials
        )
        self.kept.append(message)
        message.send()


def say(text: str) -> None:
    print(text, flush=True)


async def main(user: str, proxy: str, transport: str) -> None:
    name = f"{user}@{DOMAIN}"
    settings = {
        "SIPSimpleSettings": {
            "local_ip": "127.0.0.1",
            "default_account": name,
            "audio": {"input_device": None, "output_device": None, "alert_device": None},
            "sip": {"transport_list": ["udp", "tcp"]},
            "rtp": {"port_range": "44000-48000"},
        },
        "Accounts": {
            name: {
                "enabled": "true",
                "password": PASSWORD,
                "sip": {"outbound_proxy": f"{proxy};transport={transport}"},
            }
        },
    }
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    host, _, port = proxy.partition(":")
    parameters = {} if transport == "udp" else {"transport": transport}
    uri = SIPURI(host, port=int(port), parameters={**parameters, "lr": None})
    async with SIPApplication.running(MemoryBackend(settings)):
        Engine().add_event(EVENT, ["text/plain"])
        Engine().add_incoming_event(EVENT)
        Engine().add_event("refer", ["message/sipfrag"])
        Engine().add_incoming_event("refer")
        correspondent = Correspondent(Account(name), uri)
        NotificationCenter().add_observer(correspondent)
        await stop.wait()
        NotificationCenter().remove_observer(correspondent)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
