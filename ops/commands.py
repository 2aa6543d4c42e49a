"""`laurel config`: the settings as this machine has them."""

import click
from pydantic import BaseModel, SecretStr

from ops.console import Console, json_option


@click.group()
def config() -> None:
    """Check the settings."""


@config.command()
@json_option
@click.pass_obj
def check(console: Console, *, as_json: bool) -> None:
    """Print every setting under its environment name, secrets redacted; exit 2 if one is wrong.

    Example: LAUREL_WORKER__BATCH_RECORDS_MAX=5000 laurel config check
    """
    values = dict(_flat(console.settings, "LAUREL_"))
    width = max(map(len, values))
    console.result(
        values,
        "\n".join(f"{name:<{width}}  {value}" for name, value in values.items()),
        as_json=as_json,
    )


def _flat(part: BaseModel, prefix: str) -> list[tuple[str, str | None]]:
    rows: list[tuple[str, str | None]] = []
    for name in type(part).model_fields:
        value = getattr(part, name)
        if isinstance(value, BaseModel):
            rows += _flat(value, f"{prefix}{name.upper()}__")
        elif isinstance(value, SecretStr):
            rows.append((prefix + name.upper(), "(set, hidden)"))
        else:
            rows.append((prefix + name.upper(), "(not set)" if value is None else str(value)))
    return rows
