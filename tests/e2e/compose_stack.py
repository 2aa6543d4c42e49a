"""The services of docker-compose.yml as processes of this machine.

Commands, environment and healthchecks are those of the file. What is another here: hosts and ports
are loopback ones, volumes are directories, and a program of an image is this machine's.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import psycopg
import yaml
from psycopg import sql

from sandbox import kafka
from sandbox.ports import reserved
from sandbox.postgres import client_program, postgres
from sandbox.process import running
from tests.builders.compose import (
    COMPOSE,
    ROOT,
    SERVICES,
    environment,
    interpolated,
    mounts,
    seconds,
)
from tests.builders.patience import PATIENCE, PATIENCE_S
from tests.fixtures.parts import missing

PROMETHEUS_CONFIG = ROOT / "deploy" / "prometheus" / "prometheus.yml"
# Where processes listen inside the stack, by service.
PORTS = {
    "kafka": (19092, 9092, 9093),
    "minter": (9464,),
    "prometheus": (9090,),
    "ton": (20443, 20480),
    "worker": (9464,),
}
# The image's own (Kafka's docker/resources/common-scripts/configureDefaults).
CLUSTER_ID = "5L6g3nShT-eMCtK--X86sw"


@dataclass(frozen=True, slots=True)
class Service:
    """A running service.

    Attributes:
        check: the healthcheck's command, as it reads here.
        ports: inside the stack -> here.
    """

    name: str
    pid: int
    environment: Mapping[str, str]
    check: Sequence[str | Path]
    ports: Mapping[int, int]

    def health(self) -> int:
        """Return the healthcheck's exit code; as to Docker, one that takes too long has failed."""
        bound = seconds(SERVICES[self.name]["healthcheck"]["timeout"])
        try:
            return subprocess.run(
                self.check, env=self.environment, capture_output=True, timeout=bound, check=False
            ).returncode
        except subprocess.TimeoutExpired:
            return 1

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Stop the process for the block: it lives, its ports are open, and it answers nothing."""
        os.kill(self.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.pid, signal.SIGCONT)


class ComposeStack:
    """The services, started one by one; they end with `stack`.

    Attributes:
        variables: what a person has in the shell, or in .env.
        services: the running ones by name, those of a scaled service as worker-1, worker-2.
    """

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self.directory = directory
        self.variables: dict[str, str] = {}
        self.services: dict[str, Service] = {}
        self._stack = stack
        self._hosts: dict[str, str] = {}

    def run(self, service: str, *words: str) -> str:
        """Run `laurel *words` in a service's surroundings, as `docker compose exec` does.

        Without words it is the service's own command. Returns what it printed; it must succeed.
        """
        started = self.services.get(service)
        found = subprocess.run(
            laurel(words or SERVICES[service]["command"]),
            env=started.environment if started else self.surroundings(service, {}),
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert found.returncode == 0, f"{service} {words}\n{found.stdout}\n{found.stderr}"
        return found.stdout

    def start_postgres(self) -> None:
        """Start PostgreSQL, with the user and the database of the file."""
        server = self._stack.enter_context(postgres())
        at = psycopg.conninfo.conninfo_to_dict(server.url)
        given = environment("postgres")
        assert at["user"] == given["POSTGRES_USER"]
        with psycopg.connect(server.url, autocommit=True) as connection:
            name = sql.Identifier(given["POSTGRES_DB"])
            connection.execute(sql.SQL("CREATE DATABASE {}").format(name))
        self.variables["POSTGRES_PASSWORD"] = str(at["password"])
        self._hosts["postgres:5432"] = f"127.0.0.1:{at['port']}"
        self.services["postgres"] = Service(
            "postgres",
            server.pid,
            _clean() | {"PGPORT": str(at["port"])},
            self._check("postgres", {}, client_program("pg_isready")),
            {},
        )

    def start_kafka(self) -> None:
        """Start Kafka as its image does: by its own wrapper, with settings out of the environment."""
        jars = Path(os.environ.get(kafka.JARS_VARIABLE) or kafka.DEFAULT_JARS)
        if not any(jars.glob("kafka_*.jar")):
            missing(f"Apache Kafka's jars are not in {jars} (`make kafka`)")
        java = (str(kafka.java()), "-XX:TieredStopAtLevel=1", "-cp", f"{jars}/*")
        ports = self._ports("kafka")
        here = f"127.0.0.1:{ports[19092]}"
        self._hosts |= {"kafka:19092": here, f"kafka:{ports[19092]}": here}
        given = self.surroundings("kafka", ports)
        # On loopback alone, in place of every address.
        given["KAFKA_LISTENERS"] = given["KAFKA_LISTENERS"].replace("://:", "://127.0.0.1:")
        nothing, final = self._directory("no-settings"), self._directory("kafka-settings")
        setup = subprocess.run(
            [
                *(*java, "kafka.docker.KafkaDockerWrapper", "setup"),
                *("--default-configs-dir", nothing, "--mounted-configs-dir", nothing),
                *("--final-configs-dir", final),
            ],
            env=given | {"CLUSTER_ID": CLUSTER_ID},
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert setup.returncode == 0, f"{setup.stdout}\n{setup.stderr}"
        heap = given["KAFKA_HEAP_OPTS"].split()
        self._start(
            "kafka",
            [java[0], *heap, *java[1:], "kafka.Kafka", str(final / "server.properties")],
            given,
            ports,
            [*java, "org.apache.kafka.tools.BrokerApiVersionsCommand"],
        )

    def start_laurel(self, service: str, instance: str = "") -> None:
        """Start a process of Laurel."""
        ports = self._ports(service)
        words = [self._here(service, word, ports) for word in SERVICES[service]["command"]]
        if "--advertise" in words:
            words[words.index("--advertise") + 1] = "127.0.0.1"
        given = self.surroundings(service, ports)
        self._start(service, laurel(words), given, ports, [sys.executable], instance)

    def start_prometheus(self, program: Path) -> None:
        """Start Prometheus on the file's configuration, with addresses in place of DNS names."""
        config = yaml.safe_load(PROMETHEUS_CONFIG.read_text())
        for job in config["scrape_configs"]:
            (found,) = job.pop("dns_sd_configs")
            targets = [self.address(name, found["port"]) for name in found["names"]]
            job["static_configs"] = [{"targets": [each for name in targets for each in name]}]
        config["rule_files"] = [self._here("prometheus", each, {}) for each in config["rule_files"]]
        path = self.directory / PROMETHEUS_CONFIG.name
        path.write_text(yaml.safe_dump(config))
        ports = self._ports("prometheus")
        options = [
            self._here("prometheus", each, ports).replace(str(PROMETHEUS_CONFIG), str(path))
            for each in SERVICES["prometheus"]["command"]
        ]
        listen = f"--web.listen-address=127.0.0.1:{ports[9090]}"
        if shutil.which("wget") is None:
            missing("there is no wget, by which the healthcheck asks")
        command: list[str | Path] = [program, *options, listen]
        self._start("prometheus", command, _clean(), ports, ["wget"])

    def address(self, service: str, port: int) -> list[str]:
        """Return what Docker's DNS has under the name of a service: an address each container."""
        containers = (each for each in self.services.values() if each.name == service)
        return [f"127.0.0.1:{each.ports[port]}" for each in containers]

    def surroundings(self, service: str, ports: Mapping[int, int]) -> dict[str, str]:
        """Return the environment of a service's processes."""
        given = environment(service, **self.variables)
        return _clean() | {name: self._here(service, text, ports) for name, text in given.items()}

    def _here(self, service: str, text: str, ports: Mapping[int, int]) -> str:
        """Return `text` with the ports, addresses and directories of this machine."""
        text = re.sub(r"\b\d{4,5}\b", lambda found: str(ports.get(int(found[0]), found[0])), text)
        places = {
            f"/run/secrets/{name}": interpolated(COMPOSE["secrets"][name]["file"], **self.variables)
            for name in SERVICES[service].get("secrets", [])
        }
        for target, (source, _) in mounts(service, **self.variables).items():
            kept = not source.startswith("./")
            places[target] = str(self._directory(source) if kept else ROOT / source)
        # The longest first: one may lie in the other.
        inside = "|".join(sorted(map(re.escape, places), key=len, reverse=True))
        if inside:
            text = re.sub(rf"(?<![\w./-])({inside})(?![\w.-])", lambda m: places[m[1]], text)
        for there, here in [*self._hosts.items(), ("0.0.0.0", "127.0.0.1")]:
            text = text.replace(there, here)
        return text

    def _ports(self, service: str) -> dict[int, int]:
        return {port: self._stack.enter_context(reserved()) for port in PORTS[service]}

    def _directory(self, name: str) -> Path:
        path = self.directory / name
        path.mkdir(exist_ok=True)
        return path

    def _start(
        self,
        service: str,
        command: Sequence[str | Path],
        given: Mapping[str, str],
        ports: Mapping[int, int],
        checker: Sequence[str | Path],
        instance: str = "",
    ) -> None:
        """Start a process; return once its healthcheck finds it well.

        Args:
            checker: what stands here for the healthcheck's program.
        """
        name = instance or service
        child = self._stack.enter_context(
            running(
                name,
                command,
                log_path=self.directory / f"{name}.log",
                env=given,
                cwd=ROOT,
                # An orderly end of Kafka's is nobody's business here, and takes long.
                stop_signal=signal.SIGKILL if service == "kafka" else signal.SIGTERM,
                stop_bound=timedelta(seconds=seconds(SERVICES[service]["stop_grace_period"])),
            )
        )
        check = self._check(service, ports, *checker)
        self.services[name] = started = Service(service, child.pid, given, check, ports)
        child.wait_until_ready(lambda: started.health() == 0, PATIENCE)

    def _check(
        self, service: str, ports: Mapping[int, int], *checker: str | Path
    ) -> list[str | Path]:
        _, _, *words = SERVICES[service]["healthcheck"]["test"]
        return [*checker, *(self._here(service, word, ports) for word in words)]


def laurel(words: Sequence[str]) -> list[str]:
    """Return the command that is `laurel *words` in the image."""
    return [sys.executable, str(ROOT / "cli.py"), *words]


def _clean() -> dict[str, str]:
    """Return this process's environment without what the services or their clients look at."""
    theirs = re.compile(r"LAUREL_|PG|KAFKA_|.*_PROXY$", re.IGNORECASE)
    return {name: value for name, value in os.environ.items() if not theirs.match(name)}
