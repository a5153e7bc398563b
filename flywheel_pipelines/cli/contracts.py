"""The command that makes files from contracts: dbt's tests, the docs and the record of tables' versions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flywheel_pipelines.cli.shared import Json, app, out, print_json
from flywheel_pipelines.errors import FlywheelError
from flywheel_pipelines.paths import DEFS_DIR, PROJECT_ROOT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flywheel_pipelines.feedback.contracts import FeedContract
    from flywheel_pipelines.lake.contracts import TableContract

DBT_FILE = Path("dbt_project/models/staging/_feeds.yml")
DOCS_FILE = Path("docs/feeds.md")


@app.command()
def contracts(
    write: Annotated[
        bool, typer.Option("--write", help="Write dbt's tests, docs/feeds.md and the tables' versions.")
    ] = False,
    check: Annotated[bool, typer.Option("--check", help="Fail when a file is not what the contracts say.")] = False,
    as_json: Json = False,
) -> None:
    """The contract of every feed, and the files that are made from the contracts of feeds and tables."""
    found = declared_contracts(DEFS_DIR)
    if as_json:
        print_json([_as_dict(contract) for contract in found])
        return
    if check or write:
        refuse_undeclared(PROJECT_ROOT)
    if check:
        stale = drifted(found, PROJECT_ROOT)
        if stale:
            raise FlywheelError(
                f"{', '.join(str(path) for path in stale)}: not what the contracts say. Run "
                "`flywheel contracts --write`, look at the difference, and commit it."
            )
        out.print(f"{len(found)} contracts; dbt's tests, the docs and the record of tables agree with them.")
        return
    for path, text in files_of(found).items():
        if write:
            (PROJECT_ROOT / path).write_text(text, encoding="utf-8")
            out.print(f"Wrote {path}.", markup=False)
    if not write:
        for contract in found:
            blocking = sum(rule.severity == "block" for rule in contract.rules)
            out.print(
                f"{contract.flywheel}.{contract.feed} ({contract.spec.kind}): {len(contract.rules)} rules, "
                f"{blocking} of them block; at most {contract.spec.max_quarantined:.0%} of a file in quarantine",
                markup=False,
            )


def declared_contracts(defs_dir: Path) -> list[FeedContract]:
    """The contracts of all feeds of the flywheels below a folder of definitions."""
    from flywheel_pipelines.feedback.contracts import contracts_of
    from flywheel_pipelines.overview import find_insights, find_specs

    specs = [*find_specs(defs_dir), *find_insights(defs_dir)]
    return [contract for spec in specs for contract in contracts_of(spec)]


def files_of(found: list[FeedContract]) -> dict[Path, str]:
    """The files that are made from contracts, below the project's folder, with their texts."""
    from flywheel_pipelines.feedback.contracts.dbt_tests import dbt_sources
    from flywheel_pipelines.feedback.contracts.reference import feeds_page
    from flywheel_pipelines.lake.recorded import VERSIONS_FILE, versions_text
    from flywheel_pipelines.lake.tables import ALL_TABLES

    return {DBT_FILE: dbt_sources(found), DOCS_FILE: feeds_page(found), VERSIONS_FILE: versions_text(ALL_TABLES)}


def refuse_undeclared(root: Path, tables: Sequence[TableContract] | None = None) -> None:
    """Raises FlywheelError when a table's columns changed since they were recorded, and no declared change says how."""
    from flywheel_pipelines.lake.recorded import VERSIONS_FILE, read_record, undeclared
    from flywheel_pipelines.lake.tables import ALL_TABLES

    path = root / VERSIONS_FILE
    record = read_record(path.read_text(encoding="utf-8"), path) if path.exists() else {}
    if problems := undeclared(record, tables or ALL_TABLES):
        raise FlywheelError("\n".join([f"{path}: the tables' columns are not as it records them.", *problems]))


def drifted(found: list[FeedContract], root: Path) -> list[Path]:
    """Those of the files that are missing, or are not what the contracts say."""
    return [
        path
        for path, text in files_of(found).items()
        if not (root / path).exists() or (root / path).read_text(encoding="utf-8") != text
    ]


def _as_dict(contract: FeedContract) -> dict[str, object]:
    return {
        "flywheel": contract.flywheel,
        "feed": contract.feed,
        "kind": contract.spec.kind,
        "table": contract.ledger.name,
        "max_quarantined": contract.spec.max_quarantined,
        "rules": [
            {
                "name": rule.name,
                "severity": rule.severity,
                "expected": rule.expected,
                "great_expectations": [{"type": one.kind, **one.arguments} for one in rule.expectations],
                "dbt": {"test": rule.dbt_test.macro, **rule.dbt_test.arguments},
            }
            for rule in contract.rules
        ],
    }
