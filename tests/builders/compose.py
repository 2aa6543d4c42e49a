"""docker-compose.yml as Compose reads it: its services, and the values of its variables."""

import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
# The services that are processes of Laurel.
LAUREL = sorted(name for name, each in SERVICES.items() if each["image"].startswith("laurel:"))
_VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")


def interpolated(text: str, **variables: str) -> str:
    """Return `text` with each ${NAME} and ${NAME:-default} replaced, as Compose does."""
    return _VARIABLE.sub(lambda found: variables.get(found[1]) or found[2] or "", text)


def environment(service: str, **variables: str) -> dict[str, str]:
    """Return what the service's processes find in their environment.

    A name without a value is taken from the variables, and left out where it is not among them.
    """
    found: dict[str, str | None] = SERVICES[service].get("environment", {})
    passed = {
        name: variables.get(name) if value is None else value for name, value in found.items()
    }
    return {n: interpolated(v, **variables) for n, v in passed.items() if v is not None}


def mounts(service: str, **variables: str) -> dict[str, tuple[str, bool]]:
    """Return target -> (source, writable) of the service's volumes."""
    found = {}
    for each in SERVICES[service].get("volumes", []):
        source, target, *mode = interpolated(each, **variables).split(":")
        found[target] = (source, mode != ["ro"])
    return found


def memory(service: str) -> dict[str, str]:
    """Return target -> options of what the service has in memory."""
    return dict(each.partition(":")[::2] for each in SERVICES[service].get("tmpfs", []))


def seconds(duration: str) -> int:
    """Return how long a duration of Compose's is: 30s, 2m."""
    number, unit = int(duration[:-1]), duration[-1]
    return number * {"s": 1, "m": 60}[unit]
