"""Keeps an account registered: REGISTER, refresh, back off, start over (RFC 3261 10.2, RFC 5626 4.5).

The whole conduct is `Registrar._keep_registered`. The SIP side of one registration is `sipsimple.core.Registration`.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any, Final

from sipsimple.account.contact import instance_id
from sipsimple.configuration.settings import SIPSimpleSettings
from sipsimple.core import SIPURI, ContactHeader, FromHeader, Registration, RouteHeader
from sipsimple.lookup import DNSLookup, DNSLookupError
from sipsimple.loop import TaskOwner, run_in_loop
from sipsimple.notification import Notification, NotificationCenter
from sipsimple.util import Route

if TYPE_CHECKING:
    from sipsimple.account.account import Account

# Seconds.
ROUND_LIMIT: Final = 30.0
ATTEMPT_LIMIT: Final = 10.0
ATTEMPT_MINIMUM: Final = 1.0
UNREGISTER_LIMIT: Final = 2.0
DNS_RETRY: Final = (1.0, 2.0)
CREDENTIALS_RETRY: Final = (60.0, 120.0)
FIRST_RETRY: Final = 1.0
LONGEST_RETRY: Final = 30.0
LONGEST_RETRY_AFTER: Final = 3600.0
"""A server that wants to be left alone for longer is asked again all the same."""
FLOW_PROVEN: Final = 120.0
"""A flow that lasted this long was good; the loss of a younger one counts as a failure."""

_ANSWERS: Final = ("SIPRegistrationDidSucceed", "SIPRegistrationDidFail")
_FAREWELLS: Final = ("SIPRegistrationDidEnd", "SIPRegistrationDidNotEnd")
_FLOW_LOST: Final = "SIPRegistrationDidLoseFlow"
_EXPIRY: Final = ("SIPRegistrationWillExpire", "SIPRegistrationDidEnd", _FLOW_LOST)


class RegistrationFailed(Exception):
    """A round found no registrar that took the contact; `retry` is the range of seconds until the next one."""

    def __init__(self, error: str, retry: tuple[float, float] | None = None) -> None:
        super().__init__(error)
        self.retry = retry


class Registrar:
    """Registers the contact of an account for as long as it runs; posts in the name of the account."""

    def __init__(self, account: Account, tasks: TaskOwner) -> None:
        self.registered = False
        self._account = account
        self._tasks = tasks
        self._task: asyncio.Task[None] | None = None
        self._told_to_stop: asyncio.Task[None] | None = None
        self._registration: Registration | None = None
        # What the registration told and nobody has looked at yet; None stands for a change of the network.
        self._inbox: asyncio.Queue[Notification | None] = asyncio.Queue()
        # The network changed after the contact was made.
        self._stale = False

    def start(self) -> None:
        """Register, and keep registered; nothing to do when that is under way."""
        if self._task is None or self._task.done():
            self._task = self._tasks.spawn(self._run())

    async def stop(self) -> None:
        """Give up what is under way, and remove the contact from the registrar; takes at most 2 seconds."""
        task = self._task
        if task is not None:
            # When stopping is itself given up and asked for again, the farewell that is under way goes on. Whether the
            # task is being cancelled does not tell: a time limit that has just run out cancels it for itself.
            if self._told_to_stop is not task:
                self._told_to_stop = task
                task.cancel()
            await asyncio.wait([task])
            self._task = self._told_to_stop = None

    async def restart(self) -> None:
        """Start over with a new registration; the registrar replaces the old contact by the new one."""
        self._let_go()
        await self.stop()
        self.start()

    def forget(self) -> None:
        """Stop without a word to the registrar."""
        self._let_go()
        if self._task is not None:
            self._task.cancel()
            self._task = None

    def network_changed(self) -> None:
        """Register the contact of the new network at once."""
        if self._task is not None:
            self._stale = True
            self._inbox.put_nowait(None)

    async def _run(self) -> None:
        try:
            await self._keep_registered()
        finally:
            await self._unregister()

    async def _keep_registered(self) -> None:
        wait = pause = FIRST_RETRY
        while True:
            self._account._post(
                "SIPAccountWillRegister" if self._registration is None else "SIPAccountRegistrationWillRefresh"
            )
            try:
                await self._round(self._registration or self._new_registration())
            except RegistrationFailed as failure:
                self._let_go()
                timeout = random.uniform(*(failure.retry or (wait, 2 * wait)))
                if failure.retry is None:
                    wait = min(2 * wait, LONGEST_RETRY)
                self._account._post("SIPAccountRegistrationDidFail", error=str(failure), timeout=timeout)
                await self._told(timeout=timeout, or_network_change=True)
            else:
                wait = FIRST_RETRY
                begun = asyncio.get_running_loop().time()
                told = await self._told(*_EXPIRY, or_network_change=True)
                if asyncio.get_running_loop().time() - begun >= FLOW_PROVEN:
                    pause = FIRST_RETRY
                if told is not None and told.name == _FLOW_LOST:
                    # Deviation: RFC 5626 4.5 waits 15 to 30 seconds the first time, too; calls would be missed.
                    await self._told(timeout=random.uniform(pause, 2 * pause), or_network_change=True)
                    pause = min(2 * pause, LONGEST_RETRY)

    async def _round(self, registration: Registration) -> None:
        """Offer the contact to one registrar after another until one takes it; raises RegistrationFailed."""
        loop = asyncio.get_running_loop()
        self._stale = False
        routes = await self._routes()
        self._account.refresh_contact()
        end = loop.time() + ROUND_LIMIT
        retry_after = 0.0
        for route in routes:
            left = end - loop.time()
            if left <= 0:
                break
            limit = max(ATTEMPT_MINIMUM, min(ATTEMPT_LIMIT, left))
            answer = await self._attempt(registration, route, limit)
            if answer.code in (401, 407):
                raise RegistrationFailed("Authentication failed", CREDENTIALS_RETRY)
            retry_after = max(retry_after, getattr(answer, "retry_after", None) or 0)
            if getattr(answer, "expires_in", 0) > 0:
                self.registered = True
                self._account._post(
                    "SIPAccountRegistrationDidSucceed",
                    contact_header=answer.contact_header,
                    contact_header_list=answer.contact_header_list,
                    expires=answer.expires_in,
                    registrar=route,
                )
                return
        if retry_after:
            soonest = min(retry_after, LONGEST_RETRY_AFTER)
            raise RegistrationFailed("No more routes to try", (soonest, 1.1 * soonest))
        raise RegistrationFailed("No more routes to try")

    async def _routes(self) -> list[Route]:
        account = self._account
        proxy = account.sip.outbound_proxy
        if proxy is None:
            uri = SIPURI(host=account.id.domain)
        else:
            uri = SIPURI(host=proxy.host, port=proxy.port, parameters={"transport": proxy.transport})
        try:
            return await DNSLookup().lookup_sip_proxy(uri, list(SIPSimpleSettings().sip.transport_list))
        except DNSLookupError as error:
            raise RegistrationFailed(f"DNS lookup failed: {error}", DNS_RETRY) from error

    async def _attempt(self, registration: Registration, route: Route, limit: float) -> Any:
        """One REGISTER; returns the data of `SIPRegistrationDidSucceed` or `SIPRegistrationDidFail`."""
        self._empty_inbox()
        contact = ContactHeader(self._account.contact[route.transport])
        registration.register(contact, RouteHeader(route.get_uri()), timeout=limit)
        answer = (await self._told(*_ANSWERS)).data
        self._account._post(
            "SIPAccountRegistrationGotAnswer",
            code=answer.code,
            reason=answer.reason,
            registration=registration,
            registrar=route,
        )
        return answer

    async def _unregister(self) -> None:
        """Take the contact back, also one that the registrar may have taken but has not confirmed (RFC 3261 10.2.2)."""
        registration, limit = self._registration, UNREGISTER_LIMIT
        if registration is not None and registration.is_pending and not registration.is_registered:
            limit /= 2
            await self._told(*_ANSWERS, timeout=limit)
        if registration is None or not (registration.is_registered or registration.is_pending):
            self._let_go()
            return
        was_registered = registration.is_registered
        self._empty_inbox()
        registration.end(timeout=limit)
        farewell = await self._told(*_FAREWELLS, timeout=limit)
        self._let_go()
        if not was_registered:
            # The registrar never told that it had the contact, so there is no end to tell of.
            return
        if farewell is not None and farewell.name == "SIPRegistrationDidEnd":
            self._account._post("SIPAccountRegistrationDidEnd", registration=registration)
        else:
            code, reason = (farewell.data.code, farewell.data.reason) if farewell else (408, "Request Timeout")
            self._account._post("SIPAccountRegistrationDidNotEnd", code=code, reason=reason, registration=registration)

    def _new_registration(self) -> Registration:
        account = self._account
        sender = FromHeader(account.uri, account.display_name)
        interval = int(account.sip.register_interval)
        registration = Registration(sender, account.credentials, interval, instance_id=instance_id())
        NotificationCenter().add_observer(self, sender=registration)
        self._registration = registration
        return registration

    def _let_go(self) -> None:
        """Have nothing to do with the registration any more."""
        registration, self._registration = self._registration, None
        self.registered = False
        if registration is not None:
            NotificationCenter().discard_observer(self, sender=registration)

    # Being told

    def handle_notification(self, notification: Notification) -> None:
        run_in_loop(self._inbox.put_nowait, notification)

    def _empty_inbox(self) -> None:
        while not self._inbox.empty():
            self._inbox.get_nowait()

    async def _told(self, *names: str, timeout: float | None = None, or_network_change: bool = False) -> Any:
        """The next notification of one of these names, others being dropped.

        None after `timeout` seconds and, if that is wanted, when the network has changed since the contact was made.
        """
        try:
            async with asyncio.timeout(timeout):
                while not (or_network_change and self._stale):
                    notification = await self._inbox.get()
                    if notification is not None and notification.name in names:
                        return notification
        except TimeoutError:
            pass
        return None
