"""Who decides something on the command line, for what is written down about it."""

import getpass
import os


def operator() -> str:
    """Return `admin:` and the name of who runs this process; a number where it has no name."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a container's user is often a number alone
        name = str(os.getuid())
    # A name from the environment may be any bytes; PostgreSQL's text is UTF-8.
    return f"admin:{name.encode('utf-8', 'backslashreplace').decode()}"
