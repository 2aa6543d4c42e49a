"""The Grafana boards are sound: their JSON, their grid, their links, and every name that they ask
Prometheus for."""

import json
import re
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from prometheus_client.metrics import MetricWrapperBase

from cli import main
from ops import metrics
from ops.settings import environment_names
from tests.builders.boards import (
    GRAFANA,
    NAMES,
    PICTURE_BYTES_MAX,
    Board,
    Panel,
    boards,
    path_of,
    written,
)
from tests.builders.compose import mounts
from tests.builders.prometheus import rule_groups
from tests.builders.promql import Asked, Selector, asked

ROOT = Path(__file__).parents[1]
BOARDS = list(boards())
PANELS = [panel for board in BOARDS for panel in board.panels]
ASKING = [panel for panel in PANELS if panel.queries("1m")]
ALERTS = "https://github.com/laurel-badges/laurel/blob/main/docs/alerts.md"
# What Grafana itself knows, of its units; any other begins with `suffix:`.
UNITS = {"s", "short", "bytes", "percentunit"}
# What every series has from the scrape, and what Prometheus and its client show by themselves.
OF_A_TARGET = {"job", "instance"}
FOREIGN = {
    "up": set(),
    "ALERTS": {"alertname", "alertstate", "severity"},
    "process_resident_memory_bytes": set(),
    "process_cpu_seconds_total": set(),
    "process_start_time_seconds": set(),
}
# Figures about the database or the chain as a whole: each instance shows the same, and a sum over
# them would show it twice.
SHARED = {
    "laurel_catalog_job_users",
    "laurel_collections_stopped",
    "laurel_commands_waiting",
    "laurel_mint_task_oldest_seconds",
    "laurel_mint_tasks",
    "laurel_outbox_messages",
    "laurel_outbox_oldest_seconds",
    "laurel_reconcile_findings",
    "laurel_wallet_balance_nanograms",
}


def _id(panel: Panel) -> str:
    return f"{panel.board}: {panel.title}"


each_board = pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.name)
each_asking = pytest.mark.parametrize("panel", ASKING, ids=_id)


@cache
def known() -> dict[str, set[str]]:
    """Return each series' name, as /metrics has it, and the labels that it can have."""
    found = {name: set(labels) for name, labels in FOREIGN.items()}
    for metric in vars(metrics).values():
        if isinstance(metric, MetricWrapperBase):
            (described,) = metric.describe()
            name, labels = described.name, set(metric._labelnames)
            if described.type == "histogram":
                found |= {f"{name}_sum": labels, f"{name}_count": labels}
                found[f"{name}_bucket"] = labels | {"le"}
            else:
                found[f"{name}_total" if described.type == "counter" else name] = labels
    for rule in [rule for group in rule_groups() for rule in group["rules"]]:
        if "record" in rule:
            there = set(rule.get("labels", {})) | asked(rule["expr"]).grouped
            found.setdefault(rule["record"], set()).update(there)
    return found


def _asked(panel: Panel) -> list[Asked]:
    return [asked(query.expression) for query in panel.queries("1m")]


def test_the_boards_are_those_that_are_listed() -> None:
    assert sorted(path.stem for path in (GRAFANA / "dashboards").iterdir()) == sorted(NAMES)


@each_board
def test_a_board_is_written_in_its_one_form(board: Board) -> None:
    there = path_of(board.name).read_text()
    assert there == written(board.json), "run: python docs/boards.py format"


@each_board
def test_a_board_keeps_its_address(board: Board) -> None:
    assert board.json["uid"] == f"laurel-{board.name}"


@each_board
def test_panels_have_ids_and_titles_of_their_own_and_do_not_overlap(board: Board) -> None:
    ids = [panel.json["id"] for panel in board.panels]
    assert len(ids) == len(set(ids))
    titles = [panel.title for panel in board.panels if panel.title]
    assert len(titles) == len(set(titles))
    squares = {
        panel.json["id"]: {
            (column, line) for column in range(left, left + wide) for line in range(top, top + tall)
        }
        for panel in board.panels
        for left, top, wide, tall in [panel.place]
    }
    assert all(0 <= column < 24 for taken in squares.values() for column, _ in taken)
    assert [pair for pair in combinations(ids, 2) if squares[pair[0]] & squares[pair[1]]] == []


@each_board
def test_a_board_leads_to_the_others_and_to_what_to_do(board: Board) -> None:
    others = [f"/d/laurel-{name}" for name in NAMES if name != board.name]
    assert [link["url"] for link in board.json["links"]] == [*others, ALERTS]
    assert all(link["keepTime"] for link in board.json["links"] if link["url"] != ALERTS)


def test_the_datasource_is_the_provisioned_one() -> None:
    (source,) = _provisioned("datasources", "prometheus.yml")["datasources"]
    assert {(source["url"], source["type"])} == {("http://prometheus:9090", "prometheus")}
    named = {
        (panel.json["datasource"]["type"], panel.json["datasource"]["uid"]) for panel in ASKING
    }
    named |= {
        (each["datasource"]["type"], each["datasource"]["uid"])
        for board in BOARDS
        for each in board.json["templating"]["list"]
    }
    assert named == {("prometheus", source["uid"])}


def test_rates_are_taken_over_enough_scrapes() -> None:
    (source,) = _provisioned("datasources", "prometheus.yml")["datasources"]
    scraping = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())
    assert source["jsonData"]["timeInterval"] == scraping["global"]["scrape_interval"]


def test_grafana_finds_the_boards_where_the_compose_file_mounts_them() -> None:
    (provider,) = _provisioned("dashboards", "laurel.yml")["providers"]
    mounted = mounts("grafana")
    assert mounted["/etc/grafana/provisioning"][0] == "./deploy/grafana/provisioning"
    assert mounted[provider["options"]["path"]][0] == "./deploy/grafana/dashboards"


def _provisioned(kind: str, name: str) -> dict[str, Any]:
    found = yaml.safe_load((GRAFANA / "provisioning" / kind / name).read_text())
    assert found["apiVersion"] == 1
    return dict(found)


@each_asking
def test_a_panel_says_what_to_do_in_what_unit(panel: Panel) -> None:
    assert len(panel.json["description"]) > 30
    unit = panel.defaults.get("unit", "short")
    assert unit in UNITS or unit.startswith("suffix:")


@each_asking
def test_a_panel_names_commands_and_settings_that_there_are(panel: Panel) -> None:
    for quoted in re.findall(r"`([^`]+)`", panel.json["description"]):
        if quoted.startswith("LAUREL_"):
            assert quoted in environment_names()
            continue
        command: click.Command = main
        for word in quoted.removeprefix("laurel ").split():
            if word.startswith("--"):
                assert word in [option for each in command.params for option in each.opts]
            elif isinstance(command, click.Group):
                found = command.get_command(click.Context(command), word)
                assert found is not None, quoted
                command = found


@each_asking
def test_a_colour_means_something(panel: Panel) -> None:
    steps = panel.defaults.get("thresholds", {"steps": []})["steps"]
    assert {each["color"] for each in steps} <= {"green", "orange", "red"}
    values = [each["value"] for each in steps]
    assert values[:1] in ([], [None]), "the first one is what holds below the others"
    assert values[1:] == sorted(set(values[1:]))


@pytest.mark.parametrize(
    "panel",
    [panel for panel in ASKING if "thresholdsStyle" in panel.defaults.get("custom", {})],
    ids=_id,
)
def test_a_dotted_line_is_where_an_alert_draws_it(panel: Panel) -> None:
    ((_, line),) = [each.values() for each in panel.defaults["thresholds"]["steps"][1:]]
    # That something is paused is more than 0 in words of Prometheus, and from 1 on in Grafana's.
    assert line in {1, *_numbers_of(panel.json["links"][0]["title"].partition(":")[0])}


def _numbers_of(alert: str) -> set[float]:
    """Return the numbers in the expressions of an alert, and of what is recorded for it."""
    rules = [rule for group in rule_groups() for rule in group["rules"]]
    own = [rule["expr"] for rule in rules if rule.get("alert") == alert]
    uses = {selector.metric for each in own for selector in asked(each).selectors}
    recorded = [rule["expr"] for rule in rules if rule.get("record") in uses]
    return {
        float(number)
        for each in [*own, *recorded]
        for number in re.findall(r"\b\d+(?:\.\d+)?\b", each)
    }


@each_asking
def test_a_panel_asks_for_metrics_and_labels_that_there_are(panel: Panel) -> None:
    wrong = [
        str(selector)
        for each in _asked(panel)
        for selector in each.selectors
        if selector.metric not in known() or selector.labels - _labels(selector)
    ]
    assert wrong == []


@each_asking
def test_a_panel_groups_and_names_by_labels_that_there_are(panel: Panel) -> None:
    for query, each in zip(panel.queries("1m"), _asked(panel), strict=True):
        there = set[str]().union(*(_labels(selector) for selector in each.selectors))
        assert each.grouped <= there
        assert set(re.findall(r"{{(\w+)}}", query.legend)) <= there


def _labels(selector: Selector) -> set[str]:
    return known()[selector.metric] | OF_A_TARGET


@each_asking
def test_what_each_instance_shows_alike_is_not_added_up(panel: Panel) -> None:
    for query in panel.queries("1m"):
        for metric in SHARED & {each.metric for each in asked(query.expression).selectors}:
            for before in query.expression.split(metric)[:-1]:
                assert re.search(r"\bmax( (by|without) \([^)]*\) )?\($", before), query.expression


@each_board
def test_a_variable_chooses_where_it_is_used(board: Board) -> None:
    text = json.dumps([panel.json for panel in board.panels])
    for variable in board.json["templating"]["list"]:
        assert f'=~\\"${variable["name"]}\\"' in text
        query = asked(variable["query"]["query"].removeprefix("label_values"))
        (metric, label) = query.selectors
        assert label.metric in known()[metric.metric] | OF_A_TARGET
    names = {variable["name"] for variable in board.json["templating"]["list"]}
    assert set(re.findall(r"\$(\w+)", text)) <= names | {"__rate_interval"}


def test_a_link_leads_to_a_section_about_an_alert() -> None:
    page = (ROOT / "docs" / "alerts.md").read_text()
    sections = {name.lower() for name in re.findall(r"^## (\w+)$", page, re.MULTILINE)}
    links = [link for panel in PANELS for link in panel.json.get("links", ())]
    assert links
    for link in links:
        address, _, section = link["url"].partition("#")
        assert (address, link["title"].partition(":")[0].lower()) == (ALERTS, section)
        assert section in sections


@each_board
def test_a_board_has_a_picture_of_some_size(board: Board) -> None:
    picture = ROOT / "docs" / "boards" / f"{board.name}.png"
    assert picture.stat().st_size < PICTURE_BYTES_MAX
    assert f"boards/{picture.name}" in (ROOT / "docs" / "dashboards.md").read_text()
