"""The alerts of deploy/prometheus are valid, fire and are quiet where they should, and lead a person
to a section that helps."""

import re
import subprocess
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from prometheus_client import Counter, Histogram
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.utils import floatToGoString

from ops import metrics
from store.values.minting import HoldReason, TaskOperation, TaskStatus
from tests.builders.alert_rules import (
    PROMETHEUS,
    ROOT,
    RULES,
    Alert,
    alerts,
    parsed,
    recorded,
    rules,
    scraped,
)

CONFIG = PROMETHEUS / "prometheus.yml"
CASES = sorted((PROMETHEUS / "tests").glob("*.yml"))
PAGE = ROOT / "docs" / "alerts.md"
PAGE_URL = "https://github.com/laurel-badges/laurel/blob/main/docs/alerts.md#"
JOBS = {each["job_name"] for each in yaml.safe_load(CONFIG.read_text())["scrape_configs"]}
# Of Prometheus, and of its client for Python.
FOREIGN: dict[str, set[str]] = {
    "up": set(),
    "process_cpu_seconds_total": set(),
    "process_resident_memory_bytes": set(),
    "process_start_time_seconds": set(),
}
# What a target has beside a metric's own labels.
OF_TARGETS = {"job", "instance"}
VALUES = {
    "job": JOBS,
    "hold": {"none", *HoldReason},
    "operation": set(TaskOperation),
    "status": set(TaskStatus),
}


def run(*command: str | Path) -> tuple[int, str]:
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    return done.returncode, done.stdout


def test_prometheus_takes_the_rules(promtool: Path) -> None:
    code, said = run(promtool, "check", "rules", "--lint=all", "--lint-fatal", RULES)
    assert (code, "FAILED" in said) == (0, False), said


def test_prometheus_takes_the_configuration_with_the_rules(promtool: Path, tmp_path: Path) -> None:
    """In the container the rules lie where the configuration names them."""
    text = CONFIG.read_text()
    assert "/etc/prometheus/rules/*.yml" in text
    config = tmp_path / "prometheus.yml"
    config.write_text(text.replace("/etc/prometheus/rules", str(RULES.parent)))
    code, said = run(promtool, "check", "config", config)
    assert code == 0, said
    assert f"{len(rules())} rules found" in said


@pytest.mark.parametrize("cases", CASES, ids=lambda path: path.stem)
def test_alerts_fire_and_are_quiet_as_their_cases_say(promtool: Path, cases: Path) -> None:
    code, said = run(promtool, "test", "rules", cases)
    assert code == 0, said


def groups_of_cases() -> list[dict[str, Any]]:
    return [group for path in CASES for group in yaml.safe_load(path.read_text())["tests"]]


def fires(alert: Alert, case: dict[str, Any]) -> bool:
    """Return whether the case expects `alert`, in its severity."""
    return any(
        expected["exp_labels"]["severity"] == alert.severity for expected in case["exp_alerts"]
    )


def of_alerts() -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        "alert", alerts(), ids=lambda alert: f"{alert.name}-{alert.severity}"
    )


@of_alerts()
def test_an_alert_has_a_case_in_which_it_fires_and_one_in_which_it_is_quiet(alert: Alert) -> None:
    """A quiet case counts only where the alert has something to look at."""
    found = set()
    for group in groups_of_cases():
        given = {re.split(r"[{ ]", each["series"])[0] for each in group["input_series"]}
        for case in group.get("alert_rule_test", []):
            if case["alertname"] == alert.name:
                is_fire = fires(alert, case)
                if is_fire or scraped(alert.expression) - FOREIGN.keys() <= given | FOREIGN.keys():
                    found.add(is_fire)
    assert found == {True, False}


def test_a_case_is_about_an_alert_that_there_is() -> None:
    """promtool is content with the silence of an alert that nobody knows."""
    named = {
        case["alertname"]
        for group in groups_of_cases()
        for case in group.get("alert_rule_test", [])
    }
    assert named == {alert.name for alert in alerts()}


def test_there_are_two_objectives_and_at_most_a_dozen_symptoms() -> None:
    names = {alert.name for alert in alerts()}
    assert {"LaurelCountingSlow", "LaurelMintingSlow"} <= names
    assert len(names) <= 2 + 12


@of_alerts()
def test_an_alert_says_how_urgent_it_is_and_what_to_run(alert: Alert) -> None:
    assert alert.severity in {"page", "ticket"}
    assert set(alert.annotations) == {"summary", "description", "runbook_url"}
    assert re.search(r"`laurel [a-z ]+", alert.annotations["description"])


@of_alerts()
def test_an_alert_leads_to_its_section(alert: Alert) -> None:
    anchors = {heading.lower() for heading in sections()}
    assert alert.annotations["runbook_url"] == PAGE_URL + alert.name.lower()
    assert alert.name.lower() in anchors


def sections() -> dict[str, str]:
    """Return the text below each heading of docs/alerts.md that is an alert's name."""
    parts = re.split(r"^## (Laurel\w+)$", PAGE.read_text(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_each_section_is_about_an_alert() -> None:
    assert list(sections()) == list(dict.fromkeys(alert.name for alert in alerts()))


@pytest.mark.parametrize("name", dict.fromkeys(alert.name for alert in alerts()))
def test_a_section_tells_what_it_means_why_what_to_look_at_and_what_is_safe(name: str) -> None:
    section = sections()[name]
    words = re.findall(r"^\*\*(.+?)\*\*", section, re.MULTILINE)
    assert words == ["For users", "Causes", "Look at", "Run", "Safe?"]
    assert "```promql" in section


def statements() -> list[str]:
    """Return the SQL that alerts and page tell a person to type."""
    told = [alert.annotations["description"] for alert in alerts()]
    told = [text.replace("{{ $labels.topic }}", "laurel.quests") for text in told]
    typed = re.findall(r'-c "(SELECT .+?)"', PAGE.read_text())
    return [
        *typed,
        *(found for text in told for found in re.findall(r"(SELECT [^.]+?'[^']+'.*?)\.", text)),
    ]


def test_what_is_to_be_asked_of_the_database_can_be_asked(database_url: str) -> None:
    asked = statements()
    assert len({re.findall(r"FROM (\w+)", each)[0] for each in asked}) == 2
    with psycopg.connect(database_url) as connection:
        for statement in asked:
            connection.execute(f"EXPLAIN {statement}".encode())


def labels_of() -> dict[str, set[str]]:
    """Return the labels of each series that a process shows."""
    found = dict(FOREIGN)
    for each in vars(metrics).values():
        if not isinstance(each, MetricWrapperBase):
            continue
        name, labels = next(iter(each.describe())).name, set(each._labelnames)
        if isinstance(each, Histogram):
            found |= {f"{name}_count": labels, f"{name}_sum": labels}
            found[f"{name}_bucket"] = labels | {"le"}
        else:
            found[f"{name}_total" if isinstance(each, Counter) else name] = labels
    return found


def expressions() -> dict[str, str]:
    """Return every expression of the rules and of the page, by where it stands."""
    found = {
        f"{rule.get('alert') or rule['record']} {at}": rule["expr"]
        for at, rule in enumerate(rules())
    }
    for name, section in sections().items():
        blocks = re.findall(r"^```promql$(.*?)^```$", section, re.MULTILINE | re.DOTALL)
        for at, line in enumerate(line for block in blocks for line in block.strip().splitlines()):
            found[f"docs/alerts.md {name} {at}"] = line.partition(" #")[0]
    return found


@pytest.mark.parametrize("place", expressions())
def test_an_expression_asks_for_metrics_and_labels_that_there_are(place: str) -> None:
    expression = expressions()[place]
    there, asked = labels_of(), parsed(expression)
    assert sorted(asked.metrics - there.keys() - recorded().keys()) == []
    grouped = set().union(*(there.get(name, set()) for name in scraped(expression)))
    assert sorted(asked.grouped_by - grouped - OF_TARGETS - {"window"}) == []
    for metric, label, value in asked.matchers:
        if metric in recorded():
            assert label in {"window", *OF_TARGETS}
        else:
            assert label in there[metric] | OF_TARGETS, metric
        assert value in VALUES.get(label, {value}), label


def test_what_an_expression_names_is_seen() -> None:
    asked = parsed(
        'sum by (topic) (rate(a_total{topic=~"x|y"}[5m] offset 1h)) > 1e9 '
        'and on (job) laurel:b{job=~"c-(d|e)"} unless time() - f_seconds == 0'
    )
    assert asked.metrics == {"a_total", "laurel:b", "f_seconds"}
    assert asked.grouped_by == {"topic", "job"}
    assert asked.matchers == {
        ("a_total", "topic", "x"),
        ("a_total", "topic", "y"),
        ("laurel:b", "job", "c-d"),
        ("laurel:b", "job", "c-e"),
    }


def test_an_objective_stands_at_the_bound_of_a_bucket() -> None:
    """Where there is no such bucket, all would be slow."""
    bounds = {
        f"{next(iter(each.describe())).name}_bucket": set(map(floatToGoString, each._upper_bounds))
        for each in vars(metrics).values()
        if isinstance(each, Histogram)
    }
    asked = {
        (metric, value)
        for rule in rules()
        for metric, label, value in parsed(rule["expr"]).matchers
        if label == "le"
    }
    assert {metric for metric, _ in asked} == {
        "laurel_event_age_seconds_bucket",
        "laurel_mint_stage_seconds_bucket",
    }
    assert [each for each in asked if each[1] not in bounds.get(each[0], set())] == []
