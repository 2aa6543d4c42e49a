"""What the settings themselves are like: a check of `laurel doctor`."""

import os

from ops.checks import Check, CheckResult, Lines, Said, warn
from ops.settings import Settings, setting_fields


async def _settings(settings: Settings) -> Lines:
    yield CheckResult.of("settings", _said(settings))


def _said(settings: Settings) -> Said:
    changed = sum(each.value(settings) != each.field.get_default() for each in setting_fields())
    told = f"{changed} are not at their default (`laurel config check` shows all)"
    textfile = settings.metrics_textfile
    if textfile is not None and not os.access(textfile.parent, os.W_OK | os.X_OK):
        return warn(
            f"{told}. LAUREL_METRICS_TEXTFILE: {textfile.parent} is no directory that this process "
            "may write to, so commands leave no metrics there."
        )
    return told


# Settings that are wrong end every command before it begins.
CHECKS = (Check(("settings",), (), _settings),)
