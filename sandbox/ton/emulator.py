"""The TON virtual machine: a binding of our own to the libemulator that the pytvm wheel carries.

The wheel's Python layer truncates logical times and balances to 32 bits, leaks every result and
needs pkg_resources; its shared library is sound, and also loads where the wheel itself says no. So
the library is found without importing the package.
"""

import base64
import ctypes
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

from ops.errors import InvariantBroken, UsageError
from sandbox.process import PartMissing, platform_name

_QUIET = 0


@dataclass(frozen=True, slots=True)
class Executed:
    """A message became a transaction. Both are bags of cells.

    `shard_account` is ready to be given to the next call.
    """

    transaction: bytes
    shard_account: bytes


@dataclass(frozen=True, slots=True)
class NotAccepted:
    """There is no transaction.

    A contract did not accept an external message, or the message is malformed.
    """

    reason: str
    exit_code: int | None

    def __str__(self) -> str:
        return (
            self.reason if self.exit_code is None else f"{self.reason} (exit code {self.exit_code})"
        )


Outcome = Executed | NotAccepted


def find_library(named: Path | None = None) -> Path:
    """Return the path of libemulator.

    Args:
        named: one of the user's own; None looks into the pytvm wheel.

    Raises:
        UsageError: `named` is no file.
        PartMissing: the wheel is not installed: there is none for this platform or Python.
    """
    if named is not None:
        if not named.is_file():
            raise UsageError(
                f"{named}: there is no libemulator. "
                "Name the shared library itself, or leave it out."
            )
        return named
    package = find_spec("pytvm")
    if package is not None and package.origin is not None:
        found = sorted((Path(package.origin).parent / "engine").glob("libemulator*"))
        if found:
            return found[0]
    raise PartMissing(
        "The local TON network needs libemulator, and the wheel that carries it (pytvm) "
        f"does not exist for this platform ({platform_name()}) or is not installed. "
        "Use CPython 3.11 on x86-64 Linux with laurel[sandbox]; on 3.12 or 3.13 `make demo` "
        "fetches the same library (`make -n demo` shows how); give a libemulator of your own "
        "to `python -m sandbox.ton --emulator-library`, "
        "or run against the TON testnet: LAUREL_TON_CONFIG."
    )


@lru_cache(maxsize=2)
def _load(path: Path) -> ctypes.CDLL:
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        raise UsageError(f"{path} cannot be loaded: {error}.") from error
    handle, text = ctypes.c_void_p, ctypes.c_char_p
    signatures: dict[str, tuple[Any, list[Any]]] = {
        "emulator_set_verbosity_level": (ctypes.c_bool, [ctypes.c_int]),
        "transaction_emulator_create": (handle, [text, ctypes.c_int]),
        "transaction_emulator_destroy": (None, [handle]),
        "transaction_emulator_set_unixtime": (ctypes.c_bool, [handle, ctypes.c_uint32]),
        "transaction_emulator_set_lt": (ctypes.c_bool, [handle, ctypes.c_uint64]),
        "transaction_emulator_set_rand_seed": (ctypes.c_bool, [handle, text]),
        # Allocated by malloc for the caller, who frees it: hence a pointer and not a string.
        "transaction_emulator_emulate_transaction": (handle, [handle, text, text]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    library.emulator_set_verbosity_level(_QUIET)
    return library


def _free() -> Callable[[int], None]:
    function = ctypes.CDLL(None).free
    function.restype, function.argtypes = None, [ctypes.c_void_p]
    return function


class Emulator:
    """Executes messages under one configuration. Not for two threads at once.

    The time of a call is the handle's state.
    """

    def __init__(self, config_root: bytes, library: Path | None = None) -> None:
        """Make a machine.

        Args:
            config_root: the configuration dictionary's root cell as a bag of cells.
            library: a libemulator; that of the pytvm wheel unless given.
        """
        self._library = _load(find_library(library))
        self._free = _free()
        self._handle = self._library.transaction_emulator_create(
            base64.b64encode(config_root), _QUIET
        )
        if not self._handle:
            raise InvariantBroken("libemulator refuses the network's configuration")

    def close(self) -> None:
        """Give the machine back; twice is fine."""
        if self._handle:
            self._library.transaction_emulator_destroy(self._handle)
            self._handle = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def execute(
        self, shard_account: bytes, message: bytes, *, utime: int, lt: int, seed: str
    ) -> Outcome:
        """Apply a message to an account.

        Args:
            shard_account: a `ShardAccount`, in base64 as `encoded` and `Executed` give it.
            message: a `Message`, in base64.
            utime: the block's time, Unix seconds.
            lt: the earliest logical time of the transaction.
            seed: the block's random seed, 64 hexadecimal digits.

        Raises:
            InvariantBroken: the machine gave no answer.
        """
        library, handle = self._library, self._handle
        library.transaction_emulator_set_unixtime(handle, utime)
        library.transaction_emulator_set_lt(handle, lt)
        library.transaction_emulator_set_rand_seed(handle, seed.encode())
        pointer = library.transaction_emulator_emulate_transaction(handle, shard_account, message)
        if not pointer:
            raise InvariantBroken("libemulator gave no answer")
        try:
            answer = json.loads(ctypes.string_at(pointer))
        finally:
            self._free(pointer)
        if answer["success"]:
            return Executed(answer["transaction"].encode(), answer["shard_account"].encode())
        return NotAccepted(answer["error"], answer.get("vm_exit_code"))


def encoded(boc: bytes) -> bytes:
    """Return a bag of cells as the machine takes and gives it: base64."""
    return base64.b64encode(boc)


def decoded(text: bytes) -> bytes:
    """Return the bag of cells in what the machine gave."""
    return base64.b64decode(text)
