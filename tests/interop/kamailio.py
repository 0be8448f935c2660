"""Kamailio as registrar and proxy: digest authentication, bindings in memory, Record-Route, UDP and TCP on one port.

With a certificate it listens for TLS on the next port, and takes part in RFC 5626.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, Self

import pytest

from tests.support.ports import free_port
from tests.support.programs import Program, need

PASSWORD: Final = "open-sesame"
MODULES: Final = "/usr/lib/x86_64-linux-gnu/kamailio/modules:/usr/lib/aarch64-linux-gnu/kamailio/modules"

CONFIG: Final = """\
#!KAMAILIO
debug=2
log_stderror=yes
log_name="proxy"
children=2
tcp_children=2
auto_aliases=no
dns=no
rev_dns=no
use_dns_cache=no
mpath="{modules}"
listen=udp:127.0.0.1:{port}
listen=tcp:127.0.0.1:{port}

loadmodule "pv.so"
loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "rr.so"
loadmodule "maxfwd.so"
loadmodule "textops.so"
loadmodule "siputils.so"
loadmodule "xlog.so"
loadmodule "usrloc.so"
loadmodule "registrar.so"
loadmodule "auth.so"
{secure}
modparam("usrloc", "db_mode", 0)
modparam("registrar", "min_expires", {min_expires})
modparam("registrar", "default_expires", 600)
modparam("auth", "nonce_expire", 300)
modparam("rr", "append_fromtag", 1)

event_route[core:worker-one-init] {{
    xlog("L_NOTICE", "ready\\n");
}}

request_route {{
    xlog("L_NOTICE", "request $rm from=$fU to=$tU by=$pr route=$hdr(Route)\\n");
    if (!mf_process_maxfwd_header("10")) {{
        sl_send_reply("483", "Too Many Hops");
        exit;
    }}
    if (is_method("CANCEL")) {{
        if (t_check_trans()) t_relay();
        exit;
    }}
    if (has_totag()) {{
        if (loose_route()) {{
            xlog("L_NOTICE", "loose $rm\\n");
            # RFC 6665 4.3: it can be the one that makes the dialog, when it overtakes the answer to SUBSCRIBE.
            if (is_method("NOTIFY")) record_route();
            t_relay();
        }} else if (is_method("ACK")) {{
            if (t_check_trans()) t_relay();
        }} else {{
            xlog("L_NOTICE", "no route $rm\\n");
            sl_send_reply("404", "Not here");
        }}
        exit;
    }}
    if (is_method("REGISTER")) {{
        if (!pv_www_authenticate("$td", "{password}", "0")) {{
            www_challenge("$td", "1");
            exit;
        }}
#!ifdef FLOWS
        fix_nated_register();
#!endif
        save("location");
        xlog("L_NOTICE", "saved $fU by $pr expires=$hdr(Expires) contact=$ct\\n");
        exit;
    }}
    if (is_method("OPTIONS")) {{
        sl_send_reply("200", "OK");
        exit;
    }}
    if (!pv_proxy_authenticate("$fd", "{password}", "0")) {{
        proxy_challenge("$fd", "1");
        exit;
    }}
    consume_credentials();
    record_route();
    if (!lookup("location")) {{
        sl_send_reply("404", "Not Found");
        exit;
    }}
    t_relay();
}}
"""

SECURE: Final = """
#!define FLOWS
enable_tls=yes
listen=tls:127.0.0.1:{port}
loadmodule "tls.so"
loadmodule "stun.so"
loadmodule "path.so"
loadmodule "outbound.so"
loadmodule "nathelper.so"
modparam("nathelper|registrar", "received_avp", "$avp(received)")
modparam("tls", "certificate", "{certificate}")
modparam("tls", "private_key", "{certificate}")
modparam("tls", "tls_method", "TLSv1.2+")
modparam("registrar", "outbound_mode", 1)
modparam("registrar", "flow_timer", {flow_timer})
"""


class Kamailio:
    """A running Kamailio; every user of every domain has the same `password`."""

    password = PASSWORD

    def __init__(
        self,
        directory: Path,
        *,
        port: int | None = None,
        min_expires: int = 1,
        certificate: str | None = None,
        flow_timer: int = 20,
    ) -> None:
        self.port = port or free_port()
        self.tls_port = self.port + 1
        directory.mkdir(exist_ok=True)
        config = directory / "kamailio.cfg"
        modules = ":".join(path for path in MODULES.split(":") if Path(path).is_dir())
        secure = ""
        if certificate is not None:
            if not any(Path(path, "outbound.so").exists() for path in modules.split(":")):
                pytest.skip("apt-get install kamailio-tls-modules kamailio-outbound-modules")
            secure = SECURE.format(port=self.tls_port, certificate=certificate, flow_timer=flow_timer)
        config.write_text(
            CONFIG.format(port=self.port, modules=modules, password=PASSWORD, min_expires=min_expires, secure=secure)
        )
        self.program = Program(
            need("kamailio", "kamailio"),
            *("-f", config, "-DD", "-E", "-m", "64", "-M", "4", "-Y", directory, "-w", directory),
        )

    async def __aenter__(self) -> Self:
        await self.program.__aenter__()
        await self.program.line(r"\bready$", timeout=15)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.program.stop()

    def proxy(self, transport: str) -> str:
        """It as the `sip.outbound_proxy` of an account."""
        return f"127.0.0.1:{self.port};transport={transport}"

    def requests(self, method: str, user: str | None = None) -> list[str]:
        """What it logged of the requests of this method, in order; `user` is the one of From."""
        pattern = rf"request {method} from={re.escape(user) if user else '.*'} "
        return [line for line in self.program.lines if re.search(pattern, line)]

    def loose_routed(self, method: str) -> int:
        """How many requests inside dialogs came with a route to it."""
        return sum(f"loose {method}" in line for line in self.program.lines)
