"""YAML read more strictly than YAML: values that mean what they look like, each with its line."""

from decimal import Decimal
from pathlib import Path

import pytest

from processor.catalog import yaml_source
from processor.catalog.yaml_source import Source, read
from processor.rules.diagnostics import Diagnostic, SourceLocation


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "all.yaml"


def source(file: Path, text: str) -> Source:
    file.write_text(text, encoding="utf-8")
    return read(file)


def value(file: Path, text: str) -> object:
    """Return the value under `x`, which is read without a complaint."""
    found = source(file, text)
    assert found.diagnostics == []
    assert isinstance(found.value, dict)
    return found.value["x"]


def problems(file: Path, text: str) -> list[tuple[int, str]]:
    """Return the line and the message of what is wrong with `text`."""
    found = source(file, text)
    for each in found.diagnostics:
        assert each.path == ()
        assert each.location is not None
        assert each.location.file == str(file)
    return [(each.location.line, each.message) for each in found.diagnostics if each.location]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("no", "no"),
        ("yes", "yes"),
        ("on", "on"),
        ("true", True),
        ("False", False),
        ("~", None),
        ("", None),
        ("7", 7),
        ("-7", -7),
        ("+7", 7),
        ("007", 7),
        ("0x10", "0x10"),
        ("0o10", "0o10"),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("0.10", Decimal("0.10")),
        (".5", Decimal(".5")),
        ("5.", Decimal(5)),
        ("1.5e+3", Decimal("1.5e+3")),
        (".inf", ".inf"),
        (".nan", ".nan"),
        ("2026-01-01", "2026-01-01"),
        ("'7'", "7"),
        ("=", "="),
        ("[1, [a]]", [1, ["a"]]),
        ("{a: 1, 2: b}", {"a": 1, 2: "b"}),
    ],
)
def test_a_value_means_what_it_looks_like(file: Path, written: str, meant: object) -> None:
    found = value(file, f"x: {written}")
    assert (found, type(found)) == (meant, type(meant))


def test_an_integer_of_a_hundred_digits_is_no_work_for_python(file: Path) -> None:
    # int() of a long text takes quadratic time, and Python refuses 4 300 digits.
    assert value(file, f"x: {'9' * 99}") == 10**99 - 1
    assert isinstance(value(file, f"x: {'9' * 99}"), int)
    assert isinstance(value(file, f"x: {'9' * 100}"), Decimal)
    assert isinstance(value(file, f"x: {'9' * 5_000}"), Decimal)


def test_an_alias_repeats_its_value(file: Path) -> None:
    assert value(file, "x:\n  a: &one {n: 1}\n  b: *one") == {"a": {"n": 1}, "b": {"n": 1}}


def test_every_path_has_its_line(file: Path) -> None:
    found = source(file, "# first\nevents:\n  made:\n    list:\n    - 1\n    - a: 2\n")
    assert {path: place.line for path, place in found.locations.items()} == {
        (): 2,
        ("events",): 2,
        ("events", "made"): 3,
        ("events", "made", "list"): 4,
        ("events", "made", "list", 0): 5,
        ("events", "made", "list", 1): 6,
        ("events", "made", "list", 1, "a"): 6,
    }
    assert {place.file for place in found.locations.values()} == {str(file)}


TWICE = "`a` was given before, in line 1: keep one of the two."
NO_KEY = "a key must be a word or a whole number: put it in quotes if it is meant as a word."


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\nb: 2\na: 3\n", [(3, TWICE)]),
        ("x:\n  1.5: a\n", [(2, NO_KEY)]),
        ("true: a\n", [(1, NO_KEY)]),
        ("~: a\n", [(1, NO_KEY)]),
        ("? [a]\n: b\n", [(1, NO_KEY)]),
        ("a: 1\na: 2\n1.5: b\n", [(2, TWICE), (3, NO_KEY)]),
        ("x: &x\n  y: *x\n", [(1, "an alias contains itself: write the part out.")]),
        ("x: !!set {a}\ny: !mine b\n", [(2, "the tag !mine is not allowed here: remove it.")]),
        (
            "x: [\n",
            [
                (
                    2,
                    (
                        "this is no YAML: expected the node content, but found '<stream end>'. "
                        "Correct or quote what stands here."
                    ),
                )
            ],
        ),
        (
            "x: 1\ny: \a\n",
            [
                (
                    2,
                    (
                        "a character that YAML does not allow: special characters are not allowed. "
                        "Remove it."
                    ),
                )
            ],
        ),
        ("", [(1, "the file is empty: remove it, or write events, counters or types into it.")]),
        (
            "# nothing\n",
            [(1, "the file is empty: remove it, or write events, counters or types into it.")],
        ),
    ],
)
def test_what_is_wrong_is_told_with_its_line(
    file: Path, text: str, expected: list[tuple[int, str]]
) -> None:
    assert problems(file, text) == expected


def test_a_key_given_twice_keeps_its_first_value(file: Path) -> None:
    assert source(file, "a: 1\na: 2\n").value == {"a": 1}


def test_text_in_another_encoding_is_told_with_its_line(file: Path) -> None:
    file.write_bytes(b"x: 1\ny: \xe4\n")
    assert read(file) == Source(
        diagnostics=[
            Diagnostic(
                (),
                "this is no UTF-8 text: save the file as UTF-8.",
                SourceLocation(str(file), 2),
            )
        ]
    )


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    # A directory with the name of a file: permissions do not stop root, who may run the tests.
    [diagnostic] = read(tmp_path).diagnostics
    assert (
        str(diagnostic) == f"{tmp_path}:1: cannot be read: Is a directory. Check its permissions."
    )


def test_aliases_of_aliases_are_read_up_to_a_bound(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(yaml_source, "NODES_MAX", 12)
    # The root, x, its list and nine items are twelve values.
    assert problems(file, f"x: [{', '.join('1' * 10)}]") == []
    found = problems(file, f"x: [{', '.join('1' * 11)}]")
    assert found == [(1, "more than 12 values through aliases: write less of them.")]
