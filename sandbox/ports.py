"""Ports for the parts of the sandbox.

Free, below the ephemeral range, and kept free until the part takes them.

Below 32768, because above it lies Linux' ephemeral range: while a broker is down, a client that
keeps connecting to an ephemeral port can be given that very port as its own, connect to itself, and
keep the broker from coming back ("Address already in use").

A port that is only *looked up* may be taken by a parallel starter a moment later. So it is reserved
by the kernel: bound here without listening. On Linux a server that sets SO_REUSEADDR, as every one
in the sandbox does, may still listen on it, while another `reserved` without a port of its choice
passes it over. Elsewhere the reservation is given back before the server starts, and a narrow race
remains.
"""

import errno
import random
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from ops.errors import UsageError

FIRST, LAST = 20_000, 32_767
_ATTEMPTS = 200
_HELD = sys.platform == "linux"


@contextmanager
def reserved(host: str = "127.0.0.1", port: int | None = None) -> Iterator[int]:
    """Yield a port of `host` that nobody uses.

    A free one is given to no other starter while the block runs.

    Args:
        host: the IPv4 address that will be bound; 0.0.0.0 for all.
        port: this one and no other; it may have lingering connections of a server that was just
            killed, but no server.

    Raises:
        UsageError: `port` is taken, or `host` is no address of this machine.
    """
    held = _this_one(host, port) if port else _any_bound(host)
    try:
        number: int = held.getsockname()[1]
        if _HELD:
            # Set after the bind on purpose: before, two starters could be given one port; now the
            # server itself can join.
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        else:
            held.close()
        yield number
    finally:
        held.close()


def reachable(host: str) -> str:
    """Return the address by which this machine reaches a server that listens on `host`.

    Loopback where that is every interface.
    """
    return "127.0.0.1" if host == "0.0.0.0" else host  # noqa: S104 - compared, not bound


def answers(host: str, port: int) -> bool:
    """Return whether somebody accepts a TCP connection at `host`, `port`.

    For servers that accept only once they are ready.
    """
    try:
        with socket.create_connection((host, port), timeout=1):
            return True
    except OSError:
        return False


def _any_bound(host: str) -> socket.socket:
    for candidate in random.sample(range(FIRST, LAST + 1), _ATTEMPTS):
        try:
            return _bound(host, candidate)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise UsageError(f"{host} cannot be listened on: {error.strerror}.") from error
    raise UsageError(
        f"{host}: {_ATTEMPTS} ports from {FIRST} to {LAST} were tried, and all are taken."
    )


def _this_one(host: str, port: int) -> socket.socket:
    try:
        return _bound(host, port, reuse=True)
    except OSError as error:
        raise UsageError(
            f"{host}:{port} cannot be listened on: {error.strerror}. Name another port, or none."
        ) from error


def _bound(host: str, port: int, *, reuse: bool = False) -> socket.socket:
    candidate = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, int(reuse))
        candidate.bind((host, port))
    except BaseException:
        candidate.close()
        raise
    return candidate
