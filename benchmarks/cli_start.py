"""How long `laurel --help` takes, beside Python's own start with click imported.

The limit that no Python command line beats.
"""

import statistics
import subprocess
import sys
import time

ROUNDS = 15


def seconds(arguments: list[str]) -> float:
    """Return how long one run of the interpreter with `arguments` takes."""
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    """Print both medians and their ratio."""
    rounds = [
        (seconds(["-m", "cli", "--help"]), seconds(["-c", "import click"])) for _ in range(ROUNDS)
    ]
    ours, limit = (statistics.median(column) for column in zip(*rounds, strict=True))
    print(
        f"laurel --help   {ours:.3f} s (aim: below 0.3 s)   "
        f"python + click {limit:.3f} s   ratio {ours / limit:.2f}"
    )


if __name__ == "__main__":
    main()
