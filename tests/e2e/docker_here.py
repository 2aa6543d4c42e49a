"""`docker` for deploy/verify-docker.sh where there is none: a command in a container runs here.

Starting and ending are the test's own affair, and are only written down. What there is no part for
(Grafana, what a container may not do) is answered as Docker's containers would.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ANSWERS = {
    "id": "10001\n",
    "cat": "CapBnd:\t0000000000000000\n",
    "wget": '[{"uid":"laurel-overview"}]\n',
}


def inside(place: dict[str, Any], service: str, words: list[str]) -> int:
    """`docker compose exec -T SERVICE WORDS...`."""
    program, *rest = words
    if program in ANSWERS:
        print(ANSWERS[program], end="")
        return 0
    if program == "touch":
        return 1
    if program == "promtool":
        rest = [place["prometheus"] if word.startswith("http:") else word for word in rest]
    if rest[:2] == ["sandbox", "fund"]:
        rest += ["--faucet", place["faucet"]]
    command = [*place["programs"][program], *rest]
    return subprocess.run(command, env=place["environments"][service], check=False).returncode


def one_off(words: list[str], path: str) -> int:
    """`docker run --volume DIRECTORY:/secrets ... --entrypoint sh IMAGE WORDS...`."""
    directory = words[words.index("--volume") + 1].partition(":")[0]
    image = words.index("laurel:local")
    command = [words[words.index("--entrypoint") + 1], *words[image + 1 :]]
    given = os.environ | {"PATH": path + os.pathsep + os.environ["PATH"]}
    return subprocess.run(command, cwd=directory, env=given, check=False).returncode


def main(words: list[str]) -> int:
    """Do what is asked, and write down that it was."""
    place = json.loads(Path(os.environ["DOCKER_HERE"]).read_text())
    with Path(place["asked"]).open("a") as asked:
        asked.write(" ".join(words[:2]) + "\n")
    match words:
        case ["compose", "exec", "-T", service, *command]:
            return inside(place, service, command)
        case ["run", *rest]:
            return one_off(rest, place["path"])
        case ["compose", "ps", *_]:
            print("worker-1 worker-2 minter-1")
        case ["inspect", *_, _worker, _another, _minter]:
            print("0\n0\n0")
        case ["compose", "build" | "up" | "stop" | "down" | "logs", *_]:
            pass
        case _:
            print(f"docker: {words} was not foreseen", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
