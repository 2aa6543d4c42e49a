"""A picture of a board says what Grafana would say."""

import pytest

from docs.board_values import named, shown


@pytest.mark.parametrize(
    ("value", "unit", "decimals", "text"),
    [
        (0, "s", None, "0 ms"),
        (0.0853, "s", None, "85.3 ms"),
        (1.5, "s", None, "1.5 s"),
        (90, "s", None, "1.5 min"),
        (7200, "s", None, "2 h"),
        (0.0125, "percentunit", None, "1.25%"),
        (999, "short", None, "999"),
        (12_345, "short", None, "12.3 K"),
        (3 * 2**20, "bytes", None, "3 MiB"),
        (4.26, "suffix:Grams", 1, "4.3 Grams"),
        (250.4, "suffix:/s", None, "250 /s"),
        (float("nan"), "s", None, "NaN"),
    ],
)
def test_a_value_is_written_in_its_unit(
    value: float, unit: str, decimals: int | None, text: str
) -> None:
    assert shown(value, unit, decimals) == text


def test_a_series_is_called_by_its_legend_or_by_all_its_labels() -> None:
    labels = {"__name__": "up", "job": "laurel-worker", "instance": "a:1"}
    assert named("{{job}} at {{instance}}{{nothing}}", labels) == "laurel-worker at a:1"
    assert named("p99", labels) == "p99"
    assert named("", labels) == "job=laurel-worker, instance=a:1"
