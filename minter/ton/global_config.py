"""A network's global config: its lite servers, and the zero state that tells networks apart."""

import base64
import json
from collections.abc import Mapping
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from ops import plain_files
from ops.errors import UsageError

Json = dict[str, Any]

SETTING = "LAUREL_TON_CONFIG"
# The root hash of the main network's zero state (https://ton.org/global.config.json, 2026-11-26).
MAIN_NETWORK = bytes.fromhex("17a3a92992aabea785a7a090985a265cd31f323d849da51239737e321fb05569")


def read_config(path: Path) -> Json:
    """Return a TON global config.

    Raises:
        UsageError: the file is missing or no plain one, is no JSON, or lacks the zero state, lite
            servers, or what it takes to ask one of those.
    """
    plain_files.check(path, SETTING)
    way_out = (
        f"{SETTING} should name a TON global config, such as https://ton.org/global.config.json."
    )
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}. {way_out}", setting=SETTING) from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path}: no JSON ({error}). {way_out}", setting=SETTING) from None
    try:
        servers = list(config["liteservers"])
        zero = base64.b64decode(config["validator"]["zero_state"]["root_hash"], validate=True)
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(
            f"{path}: no global config: {error!r} is missing or wrong. {way_out}", setting=SETTING
        ) from None
    # tonlib takes a hash of zeros for "not configured", and would check nothing against it.
    if not servers or len(zero) != 32 or not any(zero):
        raise UsageError(f"{path}: no lite servers, or no zero state. {way_out}", setting=SETTING)
    # Here, and not where it is asked first: that may be while the others are at work.
    for number, server in enumerate(servers, 1):
        if not _can_be_asked(server):
            raise UsageError(
                f"{path}: lite server {number} of {len(servers)} lacks an ip, a port or a key. "
                f"{way_out}",
                setting=SETTING,
            )
    return dict(config)


def _can_be_asked(server: Json) -> bool:
    """Return whether a lite server's entry has what a client needs, as tonlib reads it."""
    try:
        # by way of a string: neither a fraction nor `true` is a whole number
        ip, port = int(str(server["ip"])), int(str(server["port"]))
        key = base64.b64decode(server["id"]["key"], validate=True)
        of_kind = server["id"]["@type"] == "pub.ed25519"
    except (KeyError, TypeError, ValueError):
        return False
    return of_kind and -(2**31) <= ip < 2**32 and 0 < port < 2**16 and len(key) == 32


def zero_state_hash(config: Mapping[str, Any]) -> bytes:
    """Return the root hash of the zero state that `config` (from `read_config`) names."""
    return base64.b64decode(config["validator"]["zero_state"]["root_hash"])


def place(server: Json) -> str:
    """Return host:port of a global config's lite server.

    Its `ip` is the IPv4 address as a signed 32-bit integer.
    """
    return f"{IPv4Address(int(server['ip']) & 0xFFFFFFFF)}:{server['port']}"
