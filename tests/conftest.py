"""Fixtures shared by all tests: real parts, started once a session."""

import os

import pytest
from hypothesis import settings

# Settings of the person who runs the tests must not leak into them.
_OF_THE_TESTS = {"LAUREL_REQUIRE_ALL_PARTS", "LAUREL_KAFKA_JARS"}
for name in [
    name for name in os.environ if name.startswith("LAUREL_") and name not in _OF_THE_TESTS
]:
    del os.environ[name]

pytest_plugins = [
    "tests.unit",
    "tests.fixtures.postgres",
    "tests.fixtures.broker",
    "tests.fixtures.ton",
]

# `make unit` tries a few examples of each property, `make test` all of them.
settings.register_profile("unit", max_examples=10)


@pytest.fixture(autouse=True)
def _no_leftover_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that sets a LAUREL_ name by monkeypatch starts from none."""
    for name in [
        name for name in os.environ if name.startswith("LAUREL_") and name not in _OF_THE_TESTS
    ]:
        monkeypatch.delenv(name)
