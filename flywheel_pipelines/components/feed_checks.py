"""The checks of `performance_metrics`: one per feed, `<feed>_contract`, blocking.

They belong to the asset's own step, so that they look at exactly the cycles of the run, a range included (Dagster 1.13
gives a check of a range no partition of its own). They come before the metrics are written, since they are about the
ledgers: when one fails, the step fails, the tables stay as they were, and nothing behind it runs. A finding that only
warns is a failed check of severity WARN: yellow, and it blocks nothing.

Wiring only: the contracts are in `feedback.contracts`, the step in `loop.checking`, the pages in `report.data_docs`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any

import dagster as dg

from flywheel_pipelines.components.kit import AssetKit
from flywheel_pipelines.feedback.contracts import READ_BY_A_CLOSE, Findings, contracts_of
from flywheel_pipelines.feedback.contracts.words import quarantine_table, rules_table, samples_list
from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.store import Lake
from flywheel_pipelines.loop.checking import check_feeds
from flywheel_pipelines.paths import DataPaths
from flywheel_pipelines.report.data_docs import write_data_docs


def feed_check_specs(kit: AssetKit) -> list[dg.AssetCheckSpec]:
    """One check per feed that a close reads."""
    return [
        dg.AssetCheckSpec(
            contract.name,
            asset=kit.key(tables.PERFORMANCE_METRICS),
            blocking=True,
            description=f"What came in by feed {contract.feed} keeps its contract ({len(contract.rules)} rules), and "
            f"at most {contract.spec.max_quarantined:.0%} of a file's rows are in quarantine.",
        )
        for contract in contracts_of(kit.spec, READ_BY_A_CLOSE)
    ]


def feed_check_results(
    kit: AssetKit, store: Lake, cycles: Sequence[date], knowledge_cutoff: datetime | None
) -> list[dg.AssetCheckResult]:
    """What every feed's contract finds in the lake about the cycles; the pages about it are written besides."""
    findings = check_feeds(kit.flywheel, store, cycles, knowledge_cutoff)
    if not findings:
        return []
    pages = write_data_docs(DataPaths.from_environment(), kit.spec.name, findings)
    return [check_result(one, pages[one.contract.feed]) for one in findings]


def stopping(checks: Sequence[dg.AssetCheckResult]) -> dg.Failure | None:
    """The failure that keeps the metrics from being written; None when no check is red."""
    red = [check for check in checks if not check.passed and check.severity == dg.AssetCheckSeverity.ERROR]
    if not red:
        return None
    words = "\n".join(check.description or str(check.check_name) for check in red)
    # Trying again changes nothing about what came in.
    return dg.Failure(f"Nothing was written, since a check of what came in is red. {words}", allow_retries=False)


def check_result(findings: Findings, page: Path) -> dg.AssetCheckResult:
    """Findings as the UI shows them."""
    blocks = findings.verdict == "blocked"
    worst = findings.worst_file
    metadata: dict[str, Any] = {
        "facts": findings.n_facts,
        "rules": dg.MetadataValue.md(rules_table(findings)),
        "quarantined_share": worst.share if worst else 0.0,
        "quarantine": dg.MetadataValue.md(quarantine_table(findings)),
    }
    samples = samples_list(findings)
    if samples:
        metadata["samples"] = dg.MetadataValue.md(samples)
    # A browser may refuse to follow a link from a page of the UI to a file, so the path stands there to be copied.
    metadata |= {"data_docs": dg.MetadataValue.url(page.as_uri()), "data_docs_file": dg.MetadataValue.path(page)}
    return dg.AssetCheckResult(
        check_name=findings.contract.name,
        passed=findings.verdict in ("passed", "nothing yet"),
        severity=dg.AssetCheckSeverity.ERROR if blocks else dg.AssetCheckSeverity.WARN,
        description=findings.words,
        metadata=metadata,
    )
