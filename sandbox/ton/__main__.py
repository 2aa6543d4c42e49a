"""`python -m sandbox.ton --directory DIR`: the local TON network as a process."""

import sys
from datetime import timedelta

from ops import lifecycle, logs
from ops.errors import UsageError
from sandbox.ton.runner import parsed, serve

_DRAIN = timedelta(seconds=5)


def main() -> int:
    """Run the network; return the process's exit code."""
    logs.configure()
    try:
        options, admin_port = parsed(sys.argv[1:])
        return lifecycle.run(lambda stop: serve(options, stop, admin_port=admin_port), _DRAIN)
    except UsageError as error:
        sys.stderr.write(f"{error.message}\n")
        return lifecycle.EXIT_USAGE


if __name__ == "__main__":
    sys.exit(main())
