"""Fixtures shared by all tests: real parts, started once a session."""

import importlib.util
import os

import pytest

# Settings of the person who runs the tests must not leak into them.
_OF_THE_TESTS = {"LAUREL_REQUIRE_ALL_PARTS", "LAUREL_KAFKA_JARS"}
for name in [
    name for name in os.environ if name.startswith("LAUREL_") and name not in _OF_THE_TESTS
]:
    del os.environ[name]

pytest_plugins = [
    f"tests.fixtures.{part}"
    for part in ("postgres", "broker", "ton")
    if importlib.util.find_spec(f"tests.fixtures.{part}") is not None
]


@pytest.fixture(autouse=True)
def _no_leftover_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that sets a LAUREL_ name by monkeypatch starts from none."""
    for name in [
        name for name in os.environ if name.startswith("LAUREL_") and name not in _OF_THE_TESTS
    ]:
        monkeypatch.delenv(name)
