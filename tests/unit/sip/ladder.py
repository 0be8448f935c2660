"""A jumping clock, a wire that records, and messages, for the tests of the SIP machines."""

from sipsimple.sip.message import parse_message
from sipsimple.sip.timers import TimerQueue

BRANCH = "z9hG4bK74bf9"


def make_invite(*, branch=BRANCH, to_tag=None, cseq=1, extra=()):
    return make_request("INVITE", branch=branch, to_tag=to_tag, cseq=cseq, extra=extra)


def make_request(method, *, branch=BRANCH, to_tag=None, cseq=1, extra=(), uri="sip:bob@biloxi.example.com"):
    lines = [
        f"{method} {uri} SIP/2.0",
        f"Via: SIP/2.0/UDP client.atlanta.example.com:5060;branch={branch}",
        "Max-Forwards: 70",
        "From: Alice <sip:alice@atlanta.example.com>;tag=9fxced76sl",
        "To: Bob <sip:bob@biloxi.example.com>" + (f";tag={to_tag}" if to_tag else ""),
        "Call-ID: 3848276298220188511@atlanta.example.com",
        f"CSeq: {cseq} {method}",
        "Contact: <sip:alice@client.atlanta.example.com>",
        *extra,
    ]
    return parse_message("\r\n".join([*lines, "", ""]).encode())


class Journal:
    """A transaction user that writes down what it is told."""

    def __init__(self):
        self.told = []

    def on_response(self, transaction, response, now):
        self.told.append(response.code)

    def on_ack(self, transaction, ack, now):
        self.told.append("ACK")

    def on_timeout(self, transaction, now):
        self.told.append("timeout")

    def on_ack_timeout(self, acceptance, now):
        self.told.append("ack timeout")

    def on_transport_error(self, transaction, error, now):
        self.told.append(str(error))


class Wire:
    """A wire that writes down what is sent and when, with a clock that jumps from timer to timer."""

    def __init__(self, *, reliable=False, start=0.0):
        self.reliable = reliable
        self.now = start
        self.queue = TimerQueue()
        self.sent = []
        self.released = []
        self.cancels = []

    def send(self, message):
        self.sent.append((self.now, message))

    def schedule(self, transaction):
        self.queue.arm(transaction)

    def release(self, transaction):
        self.queue.disarm(transaction)
        self.released.append(transaction)

    def start_cancel(self, transaction, cancel, now):
        self.cancels.append((now, cancel))

    def run_until(self, end):
        """Let every timer up to `end` fire at its time."""
        while (when := self.queue.next_wake()) is not None and when <= end:
            self.now = max(self.now, when)
            self.queue.run(self.now)
        self.now = end

    def take(self):
        """What was sent since the last call, as (time, method or code)."""
        taken = [(when, name(message)) for when, message in self.sent]
        self.sent.clear()
        return taken

    def times(self):
        """When something was sent since the last call."""
        return [when for when, _ in self.take()]


def name(message):
    """The method of a request, the code of a response."""
    return getattr(message, "method", None) or message.code
