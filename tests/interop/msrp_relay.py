"""Kamailio as a relay for MSRP (RFC 4976), over TLS: it asks for a password and keeps its clients in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Self

from tests.support.ports import free_port
from tests.support.programs import Program, need

MODULES: Final = "/usr/lib/x86_64-linux-gnu/kamailio/modules:/usr/lib/aarch64-linux-gnu/kamailio/modules"
USER: Final = "alice"
PASSWORD: Final = "open-sesame"

CONFIG: Final = """\
#!KAMAILIO
debug=2
log_stderror=yes
log_name="relay"
children=1
tcp_children=2
auto_aliases=no
dns=no
rev_dns=no
mpath="{modules}"
enable_tls=yes
tcp_accept_no_cl=yes
listen=tls:127.0.0.1:{port}

loadmodule "pv.so"
loadmodule "sl.so"
loadmodule "xlog.so"
loadmodule "auth.so"
loadmodule "tls.so"
loadmodule "msrp.so"
modparam("tls", "certificate", "{certificate}")
modparam("tls", "private_key", "{certificate}")
modparam("tls", "tls_method", "TLSv1.2+")
modparam("auth", "nonce_count", 1)
modparam("auth", "qop", "auth")
modparam("msrp", "cmap_size", 8)
modparam("msrp", "auth_min_expires", 60)
modparam("msrp", "use_path_addr", "127.0.0.1:{port}")

event_route[core:worker-one-init] {{
    xlog("L_NOTICE", "ready\\n");
}}

request_route {{
    exit;
}}

event_route[msrp:frame-in] {{
    msrp_reply_flags("1");
    if (msrp_is_reply()) {{
        msrp_relay();
        exit;
    }}
    if ($msrp(method) == "AUTH") {{
        if (!pv_www_authenticate("relay.example", "{password}", "0", "AUTH")) {{
            auth_get_www_authenticate("relay.example", "1", "$var(challenge)");
            msrp_reply("401", "Unauthorized", "$var(challenge)");
            exit;
        }}
        xlog("L_NOTICE", "place for $au\\n");
        msrp_cmap_save();
        exit;
    }}
    if ($msrp(method) == "SEND") msrp_reply("200", "OK");
    if ($msrp(nexthops) > 1) {{
        msrp_relay();
        exit;
    }}
    if (!msrp_cmap_lookup()) {{
        xlog("L_NOTICE", "nobody at $msrp(sessid)\\n");
        exit;
    }}
    msrp_relay_flags("1");
    msrp_relay();
}}
"""


class MSRPRelay:
    """A running relay; everybody has the same `password`."""

    user = USER
    password = PASSWORD

    def __init__(self, directory: Path, certificate: Path) -> None:
        self.port = free_port()
        directory.mkdir(exist_ok=True)
        config = directory / "relay.cfg"
        modules = ":".join(path for path in MODULES.split(":") if Path(path).is_dir())
        config.write_text(CONFIG.format(port=self.port, modules=modules, password=PASSWORD, certificate=certificate))
        self.program = Program(
            need("kamailio", "kamailio kamailio-tls-modules kamailio-extra-modules"),
            *("-f", config, "-DD", "-E", "-m", "64", "-M", "8", "-Y", directory, "-w", directory),
        )

    async def __aenter__(self) -> Self:
        await self.program.__aenter__()
        await self.program.line(r"\bready$", timeout=15)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.program.stop()
