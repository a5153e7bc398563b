"""What `deploy/Dockerfile` and `deploy/compose.yaml` say, read for tests: no container is started anywhere here."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import yaml

from flywheel_pipelines.paths import PROJECT_ROOT

DOCKERFILE = PROJECT_ROOT / "deploy" / "Dockerfile"
COMPOSE = PROJECT_ROOT / "deploy" / "compose.yaml"
INSTALLED = "/opt/flywheel-pipelines"
STATE = "/var/lib/flywheel"


def compose() -> dict[str, Any]:
    return yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))


def instructions(text: str) -> list[tuple[str, str]]:
    """Each instruction of a Dockerfile with its words, continued lines joined."""
    lines = "\n".join(line for line in text.splitlines() if not line.startswith("#")).replace("\\\n", " ")
    return [(line.split()[0], " ".join(line.split()[1:])) for line in lines.splitlines() if line.strip()]


def copied(text: str) -> list[tuple[str, str]]:
    """Each file or folder that a Dockerfile copies, and where to, below the folder of the project."""
    found = []
    for instruction, words in instructions(text):
        if instruction == "COPY":
            *sources, to = words.split()
            found += [(source, f"{to}{source}" if to.endswith("/") else to) for source in sources]
    return found


def copy_project(to: Path) -> Path:
    """What the image has of the project, in a folder of its own, without what `.dockerignore` leaves out."""
    for source, target in copied(DOCKERFILE.read_text(encoding="utf-8")):
        place = to / target
        place.parent.mkdir(parents=True, exist_ok=True)
        if (PROJECT_ROOT / source).is_dir():
            shutil.copytree(PROJECT_ROOT / source, place, ignore=_ignored, dirs_exist_ok=True)
        else:
            shutil.copy(PROJECT_ROOT / source, place)
    return to


def _ignored(folder: str, names: list[str]) -> set[str]:
    here = Path(folder).relative_to(PROJECT_ROOT)
    return {name for name in names if is_left_out((here / name).as_posix())}


def is_left_out(path: str) -> bool:
    """Whether `.dockerignore` leaves a path out: the last pattern that fits it or a folder above it decides."""
    out = False
    for line in DOCKERFILE.with_name("Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines():
        pattern = line.removeprefix("!").removeprefix("**/")
        if line and not line.startswith("#") and any(fnmatch(part, pattern) for part in _above(path, line)):
            out = not line.startswith("!")
    return out


def _above(path: str, line: str) -> Iterator[str]:
    parts = Path(path).parts
    if "**/" in line:
        yield from parts
    for number in range(len(parts)):
        yield "/".join(parts[: number + 1])


def words_of(command: list[str]) -> list[str]:
    """A command of the image as it is run here: its program from this environment, its files from this checkout."""
    program = Path(sys.executable).with_name(command[0])
    first = str(program) if program.exists() else command[0]
    return [first, *(word.replace(INSTALLED, str(PROJECT_ROOT)) for word in command[1:])]


def unknown_words(command: list[str]) -> list[str]:
    """Programs and files of a command that do not exist, neither here nor in any Debian."""
    program, *rest = words_of(command)
    wrong = [] if shutil.which(program) else [command[0]]
    return wrong + [word for word in rest if word.startswith(str(PROJECT_ROOT)) and not Path(word).exists()]


def variables(text: str) -> set[str]:
    """Environment variables that the settings of a Dagster home are made from."""
    return set(re.findall(r"\{env: (\w+)\}", text))
