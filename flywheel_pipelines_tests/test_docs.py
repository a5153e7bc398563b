"""The documents name files, keys, columns and commands that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer.main
import yaml
from pydantic import ValidationError

from flywheel_pipelines.cli import app
from flywheel_pipelines.lake import tables
from flywheel_pipelines.paths import PROJECT_ROOT
from flywheel_pipelines.spec import FeedSpec, FlywheelSpec, explain_keys

DOCUMENTS = [PROJECT_ROOT / name for name in ("README.md", "CONTRIBUTING.md", "data/README.md")]
DOCUMENTS += sorted((PROJECT_ROOT / "docs").rglob("*.md"))
SECTIONS = ("producer", "prompt", "guardrails", "arms", "floor", "corpus", "scoring_model", "briefs")
KEYS = {re.sub(r"\(\w+\)", "", row[0]) for row in explain_keys(FlywheelSpec)}
KEYS |= {key.split(".<name>")[0] for key in KEYS}
"""Without the kind of producer that a key belongs to."""
MAKEFILE = (PROJECT_ROOT / "Makefile").read_text(encoding="utf-8")


def unknown_links(text: str, folder: Path) -> list[str]:
    targets = re.findall(r"\]\(([^)\s]+)\)", text.replace("\n", " "))
    return [
        target
        for target in targets
        if "://" not in target and not target.startswith("#") and not (folder / target.split("#")[0]).exists()
    ]


def unknown_anchors(text: str) -> list[str]:
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    known = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    return [anchor for anchor in re.findall(r"\]\(#([^)]+)\)", text) if anchor not in known]


def unknown_keys(text: str) -> list[str]:
    named = re.findall(rf"`((?:{'|'.join(SECTIONS)})\.[a-z_]+)", text)
    files = {f"{section}.{ending}" for section in SECTIONS for ending in ("py", "md", "yaml", "json")}
    return sorted({name for name in named if name not in KEYS} - files)


def unknown_commands(text: str) -> list[str]:
    known = set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
    targets = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
    called = re.findall(r"`(?:\.venv/bin/)?flywheel ([a-z-]+)|^\.venv/bin/flywheel ([a-z-]+)", text, re.MULTILINE)
    made = re.findall(r"`make ([a-z-]+)|^make ([a-z-]+)", text, re.MULTILINE)
    return [f"flywheel {name}" for pair in called for name in pair if name and name not in known] + [
        f"make {name}" for pair in made for name in pair if name and name not in targets
    ]


def unknown_columns(text: str) -> list[str]:
    """Of "`column` in `table`", where the table is one of the lake's."""
    by_name = {table.name: {field.name for field in table.schema} for table in tables.ALL_TABLES}
    named = re.findall(r"`(\w+)` in\s+`(\w+)`", text)
    return [f"{table}.{column}" for column, table in named if table in by_name and column not in by_name[table]]


def wrong_feeds(text: str) -> list[str]:
    """Of the YAML that declares `feeds`: why the spec refuses them."""
    wrong = []
    for block in re.findall(r"^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        found = yaml.safe_load(block)
        for name, feed in (found.get("feeds") or {}).items() if isinstance(found, dict) else ():
            try:
                FeedSpec.model_validate(feed)
            except ValidationError as error:
                wrong.append(f"{name}: {error}")
    return wrong


CHECKS = {
    "feeds": lambda text, _: wrong_feeds(text),
    "links": unknown_links,
    "anchors": lambda text, _: unknown_anchors(text),
    "keys": lambda text, _: unknown_keys(text),
    "commands": lambda text, _: unknown_commands(text),
    "columns": lambda text, _: unknown_columns(text),
}
WRONG = {
    "feeds": "```yaml\nfeeds:\n  mails: {kind: metrics, path: mails/*.csv, aggregat: sum}\n```",
    "links": "[how](docs/how-it-never-worked.md)",
    "anchors": "# Here\n[there](#there)",
    "keys": "`producer.maximal_cost`",
    "commands": "`flywheel fly` and\nmake haste",
    "columns": "`predicted_twice` in\n`generated_outputs`",
}


@pytest.mark.parametrize("what", CHECKS)
@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(PROJECT_ROOT)))
def test_what_a_document_names_exists(path: Path, what: str) -> None:
    assert CHECKS[what](path.read_text(encoding="utf-8"), path.parent) == []


@pytest.mark.parametrize("what", CHECKS)
def test_what_does_not_exist_is_noticed(what: str) -> None:
    assert CHECKS[what](WRONG[what], PROJECT_ROOT) != []


@pytest.mark.parametrize(
    ("page", "sections"),
    [
        ("writing-with-a-model.md", ("producer(llm).", "guardrails.")),
        ("flywheels/lead_scoring.md", ("producer(scoring).",)),
    ],
)
def test_every_key_of_a_producer_is_explained(page: str, sections: tuple[str, ...]) -> None:
    words = set(re.findall(r"\w+", (PROJECT_ROOT / "docs" / page).read_text(encoding="utf-8")))
    keys = [row[0] for row in explain_keys(FlywheelSpec) if row[0].startswith(sections)]
    assert keys
    assert sorted({key.split(".")[1] for key in keys} - words) == []
