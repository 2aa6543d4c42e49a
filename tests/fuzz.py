"""`make fuzz`: the property tests of what a record may hold, with new examples until the time is over.

Each round is a run of pytest with a seed of its own and many examples. What failed is printed with
the command that repeats it; hypothesis keeps it in .hypothesis, too, so that the next `make test`
begins with it.
"""

import argparse
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
# Reader and COPY by raw tokens, headers and keys; and the contract's schemas against the reader.
TESTS = (
    "tests/processor/batch/test_poison.py",
    "tests/processor/events/test_json_schema.py",
)
PROFILE = "fuzz"


def command(seed: int, tests: Sequence[str]) -> list[str]:
    """What runs one round, and repeats it."""
    return [
        *(sys.executable, "-m", "pytest", "-q", "-x", *tests),
        *(f"--hypothesis-profile={PROFILE}", f"--hypothesis-seed={seed}"),
    ]


def main() -> int:
    """Run rounds; return 1 at the first that fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--examples", type=int, default=int(os.environ.get("FUZZ_EXAMPLES", "500")))
    parser.add_argument("tests", nargs="*", default=TESTS)
    asked = parser.parse_args()
    environment = os.environ | {"FUZZ_EXAMPLES": str(asked.examples)}
    end, rounds = time.monotonic() + asked.seconds, 0
    while rounds == 0 or time.monotonic() < end:
        # 32 bits: what pytest's plug-ins take for a seed.
        round_ = command(secrets.randbelow(2**32), asked.tests)
        if subprocess.run(round_, cwd=ROOT, env=environment, check=False).returncode != 0:
            print(f"\nAgain: FUZZ_EXAMPLES={asked.examples} {' '.join(round_)}")
            return 1
        rounds += 1
    print(f"{rounds} rounds, nothing found.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
