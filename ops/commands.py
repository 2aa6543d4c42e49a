"""`laurel config` and `laurel doctor`: the settings of this machine, and what they lead to."""

import click

from ops.console import Console, json_option


@click.group()
def config() -> None:
    """Check the settings."""


@config.command()
@json_option
@click.pass_obj
def check(console: Console, *, as_json: bool) -> None:
    """Print every setting under its environment name, secrets redacted; exit 2 if one is wrong.

    What differs from its default is marked with a star. docs/settings.md says what each is for.

    Example: LAUREL_WORKER__BATCH_RECORDS_MAX=5000 laurel config check
    """
    from ops.settings import setting_fields, shown

    settings = console.settings
    values = {each.name: each.value(settings) for each in setting_fields()}
    changed = {
        each.name for each in setting_fields() if values[each.name] != each.field.get_default()
    }
    width = max(map(len, values))
    console.result(
        {name: shown(value) for name, value in values.items()},
        "\n".join(
            f"{'*' if name in changed else ' '} {name:<{width}}  {shown(value)}"
            for name, value in values.items()
        ),
        as_json=as_json,
    )


@click.command()
@json_option
@click.pass_obj
def doctor(console: Console, *, as_json: bool) -> None:
    """Look at everything that Laurel needs, and say what is missing and the way out.

    Database, clock, schema, catalog, Kafka, topics, wallet and TON, a line each. Nothing is
    written. What has no setting is skipped. Exits 1 when something failed.

    Example: LAUREL_DATABASE_URL=postgresql://laurel@db/laurel laurel doctor
    """

    async def main() -> int:
        from ops.checks import CheckState, examine
        from ops.lifecycle import EXIT_FAILURE, EXIT_OK

        results = await examine(console.load_checks(), console.settings)
        width = max(len(each.name) for each in results)
        console.result(
            {each.name: {"state": each.state.value, "detail": each.detail} for each in results},
            "\n".join(
                f"{each.state.value:<7}  {each.name:<{width}}  {each.detail}" for each in results
            ),
            as_json=as_json,
        )
        failed = any(each.state is CheckState.FAILED for each in results)
        return EXIT_FAILURE if failed else EXIT_OK

    console.run_once(main)
