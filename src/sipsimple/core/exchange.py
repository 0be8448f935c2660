"""One request other than INVITE and its final answer, inside a dialog or before there is one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sipsimple.core.client import Client
from sipsimple.core.stack import stack
from sipsimple.sip.message import Request, Response
from sipsimple.sip.status import sip_status_messages

if TYPE_CHECKING:
    from sipsimple.sip.auth import ClientAuthenticator
    from sipsimple.sip.timers import Alarm
    from sipsimple.sip.transport import Destination


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a request: `response` is None when nobody answered (408) or it could not be sent (503)."""

    code: int
    reason: str
    request: Request
    response: Response | None = None

    @property
    def accepted(self) -> bool:
        return self.code < 300


class Exchange:
    """Sends the request, with credentials when they are asked for, and calls `answered` once with what came of it.

    Without a final answer in `timeout` seconds it is a 408; each repetition with credentials has that long again.
    """

    __slots__ = ("_alarm", "_answered", "_client", "_next_cseq", "_timeout")

    def __init__(
        self,
        request: Request,
        destination: Destination,
        next_cseq: Callable[[], int],
        answered: Callable[[Answer], None],
        *,
        authenticator: ClientAuthenticator,
        credentials: Any = None,
        timeout: float | None = None,
    ) -> None:
        self._client = Client(stack().endpoint, request, destination, self, authenticator, credentials)
        self._next_cseq = next_cseq
        self._answered: Callable[[Answer], None] | None = answered
        self._timeout = timeout
        self._alarm: Alarm | None = None

    @property
    def request(self) -> Request:
        """The request as it was sent last."""
        return self._client.request

    @property
    def destination(self) -> Destination:
        """Where it goes."""
        return self._client.destination

    def start(self) -> None:
        """Send it; a failure to send is an answer too."""
        self._arm()
        self._client.send()

    def abandon(self) -> None:
        """Be told nothing any more."""
        self._answered = None
        self._client.abandon()
        self._disarm()

    def _arm(self) -> None:
        self._disarm()
        if self._timeout is not None:
            endpoint = stack().endpoint
            self._alarm = endpoint.call_at(endpoint.now() + self._timeout, self._timed_out)

    def _disarm(self) -> None:
        if self._alarm is not None:
            stack().endpoint.cancel_alarm(self._alarm)
            self._alarm = None

    def _timed_out(self) -> None:
        self._client.abandon()
        self._settle(Answer(408, sip_status_messages[408], self.request))

    def _settle(self, answer: Answer) -> None:
        self._disarm()
        answered, self._answered = self._answered, None
        if answered is not None:
            answered(answer)

    # What the client tells

    def next_cseq(self) -> int:
        self._arm()
        return self._next_cseq()

    def on_provisional(self, client: Client, response: Response) -> None:
        """A request other than INVITE has nothing to tell before its final answer."""

    def on_final(self, client: Client, response: Response) -> None:
        self._settle(Answer(response.code, response.reason, client.request, response))

    def on_failure(self, client: Client, code: int, reason: str) -> None:
        self._settle(Answer(code, reason, client.request))
