"""A network's global config: its lite servers, and the zero state that tells networks apart."""

import base64
import json
from collections.abc import Mapping
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from ops.errors import UsageError

Json = dict[str, Any]

SETTING = "LAUREL_TON_CONFIG"
# The root hash of the main network's zero state (https://ton.org/global.config.json, 2026-11-26).
MAIN_NETWORK = bytes.fromhex("17a3a92992aabea785a7a090985a265cd31f323d849da51239737e321fb05569")


def read_config(path: Path) -> Json:
    """Return a TON global config.

    Raises:
        UsageError: the file is missing, is no JSON, or lacks lite servers or the zero state.
    """
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
        servers = config["liteservers"]
        zero = base64.b64decode(config["validator"]["zero_state"]["root_hash"], validate=True)
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(
            f"{path}: no global config: {error!r} is missing or wrong. {way_out}", setting=SETTING
        ) from None
    # tonlib takes a hash of zeros for "not configured", and would check nothing against it.
    if not servers or len(zero) != 32 or not any(zero):
        raise UsageError(f"{path}: no lite servers, or no zero state. {way_out}", setting=SETTING)
    return dict(config)


def zero_state_hash(config: Mapping[str, Any]) -> bytes:
    """Return the root hash of the zero state that `config` (from `read_config`) names."""
    return base64.b64decode(config["validator"]["zero_state"]["root_hash"])


def place(server: Json) -> str:
    """Return host:port of a global config's lite server.

    Its `ip` is the IPv4 address as a signed 32-bit integer.
    """
    ip = server.get("ip")
    host = str(IPv4Address(ip & 0xFFFFFFFF)) if isinstance(ip, int) else "an unnamed address"
    return f"{host}:{server.get('port')}"
