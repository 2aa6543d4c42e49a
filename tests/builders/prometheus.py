"""A real Prometheus that scrapes what a test runs, with Laurel's rules."""

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from sandbox.ports import reserved
from sandbox.process import START_BOUND, running
from tests.builders.patience import PATIENCE_S

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy" / "prometheus" / "rules"
SCRAPE_S = 1


class QueryFailed(AssertionError):
    """Prometheus refused an expression; the message is its own."""


@dataclass(frozen=True, slots=True)
class Series:
    """One answer to a query: its labels, and (time, value) each."""

    labels: Mapping[str, str]
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Prometheus:
    """A running one; `url` is its address."""

    url: str

    def query(self, expression: str) -> list[Series]:
        """Return what `expression` is now.

        Raises:
            QueryFailed: it is none, or cannot be evaluated.
        """
        result = self._asked("query", query=expression)
        if result["resultType"] == "scalar":
            return [_series({"metric": {}, "value": result["result"]})]
        return [_series(each) for each in result["result"]]

    def query_range(self, expression: str, begin: float, end: float, step: float) -> list[Series]:
        """Return what `expression` was from `begin` to `end`, in Unix seconds."""
        result = self._asked("query_range", query=expression, start=begin, end=end, step=step)
        return [_series(each) for each in result["result"]]

    def is_ready(self) -> bool:
        """Return whether it answers queries."""
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=PATIENCE_S):
                return True
        except OSError:
            return False

    def _asked(self, what: str, **parameters: object) -> Any:
        url = f"{self.url}/api/v1/{what}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=PATIENCE_S) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            with error:
                said = error.read().decode()
            raise QueryFailed(f"{parameters.get('query', what)}: {said}") from None


@contextmanager
def prometheus(
    program: Path, directory: Path, targets: Mapping[str, Mapping[str, str]]
) -> Iterator[Prometheus]:
    """Run a Prometheus that scrapes `targets` and evaluates Laurel's rules, all every second.

    Args:
        program: the server's.
        directory: for its settings, data and log; made if missing.
        targets: host:port each, by the job and by the name that it has as an instance.

    Raises:
        PartFailed: it did not start.
    """
    directory.mkdir(parents=True, exist_ok=True)
    settings, rules = directory / "prometheus.yml", directory / "rules.yml"
    rules.write_text(yaml.safe_dump({"groups": list(_hurried())}))
    settings.write_text(yaml.safe_dump(_settings(targets, rules)))
    with reserved() as port:
        command: list[str | Path] = [
            program,
            f"--config.file={settings}",
            f"--storage.tsdb.path={directory / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--log.level=warn",
        ]
        with running("Prometheus", command, log_path=directory / "prometheus.log") as child:
            started = Prometheus(f"http://127.0.0.1:{port}")
            child.wait_until_ready(started.is_ready, START_BOUND)
            yield started


def rule_groups() -> list[dict[str, Any]]:
    """Return the groups of Laurel's rules, as their files have them."""
    return [
        group
        for file in sorted(RULES.glob("*.yml"))
        for group in yaml.safe_load(file.read_text())["groups"]
    ]


def _hurried() -> Iterator[dict[str, Any]]:
    """Yield the groups of rules without intervals of their own."""
    for group in rule_groups():
        yield {name: value for name, value in group.items() if name != "interval"}


def _settings(targets: Mapping[str, Mapping[str, str]], rules: Path) -> dict[str, Any]:
    return {
        "global": {
            "scrape_interval": f"{SCRAPE_S}s",
            "scrape_timeout": f"{SCRAPE_S}s",
            "evaluation_interval": f"{SCRAPE_S}s",
        },
        "rule_files": [str(rules)],
        "scrape_configs": [
            {
                "job_name": job,
                "static_configs": [
                    {"targets": [address], "labels": {"instance": name}}
                    for name, address in instances.items()
                ],
            }
            for job, instances in targets.items()
        ],
    }


def _series(answer: Mapping[str, Any]) -> Series:
    points = answer["values"] if "values" in answer else [answer["value"]]
    return Series(answer["metric"], [(float(time), float(value)) for time, value in points])
