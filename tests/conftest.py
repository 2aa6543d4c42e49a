"""Fixtures shared by all tests: real parts, started once a session."""

import logging
import os
import signal
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import HealthCheck, settings

# No test depends on the machine's speed: neither on the time that an example takes nor on the time
# that drawing it takes. A test that suppresses checks of its own names `too_slow` again.
settings.register_profile("laurel", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("laurel")

# A shell lets what it starts in the background ignore SIGINT, and children inherit that: a test that
# interrupts one would wait for ever.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Settings of the person who runs the tests must not leak into them.
_OF_THE_TESTS = {"LAUREL_REQUIRE_ALL_PARTS", "LAUREL_KAFKA_JARS", "LAUREL_HTTP__PORT"}
for name in [
    name for name in os.environ if name.startswith("LAUREL_") and name not in _OF_THE_TESTS
]:
    del os.environ[name]

# Processes of several tests run side by side, and listen where they are told to or anywhere.
os.environ["LAUREL_HTTP__PORT"] = "0"

pytest_plugins = [
    "tests.unit",
    "tests.hangs",
    "tests.fixtures.postgres",
    "tests.fixtures.broker",
    "tests.fixtures.pooler",
    "tests.fixtures.prometheus",
    "tests.fixtures.secured",
    "tests.fixtures.ton",
]

# `make unit` tries a few examples of each property, `make test` all of them.
settings.register_profile("unit", parent=settings.get_profile("laurel"), max_examples=10)
# `make fuzz` (tests/fuzz.py) goes on for as long as it is told to.
settings.register_profile(
    "fuzz",
    parent=settings.get_profile("laurel"),
    max_examples=int(os.environ.get("FUZZ_EXAMPLES", "500")),
    print_blob=True,
)


@pytest.fixture(autouse=True)
def _no_leftover_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that sets a LAUREL_ name by monkeypatch starts from none."""
    for name in [
        name for name in os.environ if name.startswith("LAUREL_") and name not in _OF_THE_TESTS
    ]:
        monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _no_leftover_log() -> Iterator[None]:
    """A test that runs a command in this process sets its log up: the next one has none."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)
