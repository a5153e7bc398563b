"""Data Docs: a page per feed with its contract and what was found, and one page over all feeds of a flywheel.

Great Expectations' own site builder is not used: its pages (1.24) take style sheets, fonts and scripts from seven hosts
on the internet and show neither quarantine nor which file a row came from. These pages need nothing but themselves.

Not here: what was found (`feedback.contracts`), or how the pages look (`data_docs.html.j2`).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
import markupsafe

from flywheel_pipelines.feedback.contracts import Findings
from flywheel_pipelines.feedback.contracts.findings import file_sample_words, file_words, many, sample_words
from flywheel_pipelines.feedback.contracts.words import files_shown, outcome, reasons
from flywheel_pipelines.paths import DataPaths

TEMPLATE = "data_docs.html.j2"
FOLDER = "data_docs"
VERDICTS = {
    "passed": "keeps its contract",
    "warned": "warns",
    "blocked": "keeps its cycles from closing",
    "nothing yet": "nothing has come in yet",
}


def write_data_docs(paths: DataPaths, flywheel: str, findings: Sequence[Findings]) -> dict[str, Path]:
    """Write `data/reports/data_docs/<flywheel>/index.html` and a page per feed; returns the page of each feed.

    A page is replaced whole, and says the same whenever the same is found.
    """
    folder = paths.reports / FOLDER / flywheel
    feeds = [_about(one) for one in findings]
    pages = {one["feed"]: _write(folder / f"{one['feed']}.html", _render(flywheel, feeds, one)) for one in feeds}
    _write(folder / "index.html", _render(flywheel, feeds, None))
    return pages


def _about(findings: Findings) -> dict[str, Any]:
    """What a page says of a feed, in words and rounded numbers."""
    contract = findings.contract
    return {
        "feed": contract.feed,
        "kind": contract.spec.kind,
        "origin": contract.spec.path or ("a query" if contract.spec.sql else "a dlt pipeline"),
        "ledger": contract.ledger.name,
        "limit": f"{contract.spec.max_quarantined:.0%}",
        "verdict": findings.verdict,
        "verdict_words": VERDICTS[findings.verdict],
        "words": findings.words if findings.verdict == "nothing yet" else f"{findings.summary}.".capitalize(),
        "ways_out": [file_words(file, contract) for file in findings.too_much_quarantined],
        "first_cycle": findings.cycles[0],
        "last_cycle": findings.cycles[-1],
        "n_cycles": len(findings.cycles),
        "n_facts": f"{findings.n_facts:,}",
        "n_broken": sum(not result.passed for result in findings.rules),
        "rules": [
            {
                "name": result.rule.name,
                "expected": result.rule.expected,
                "severity": result.rule.severity,
                "state": "yes" if result.passed else "no" if result.blocks else "maybe",
                "outcome": outcome(result),
                "counts": many(result),
                "samples": sample_words(result),
                "advice": result.rule.advice,
                "expectations": list(dict.fromkeys(one.kind for one in result.rule.expectations)),
            }
            for result in findings.rules
        ],
        "files": [
            {
                "source": file.source,
                "batch": file.batch_id,
                "n_rows": f"{file.n_rows:,}",
                "n_open": f"{file.n_open:,}",
                "share": f"{file.share:.1%}",
                "is_too_much": file.is_too_much,
                "reasons": reasons(file),
                "samples": file_sample_words(file),
            }
            for file in files_shown(findings)
        ],
        "n_files": len(findings.files),
    }


def _render(flywheel: str, feeds: Sequence[dict[str, Any]], feed: dict[str, Any] | None) -> bytes:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["with_code"] = _with_code
    return environment.get_template(TEMPLATE).render(flywheel=flywheel, feeds=feeds, one=feed).encode()


def _with_code(text: str) -> markupsafe.Markup:
    """Text in which what stands between backticks is code."""
    parts = text.split("`")
    return markupsafe.Markup("").join(
        markupsafe.Markup("<code>{}</code>").format(part) if number % 2 else part for number, part in enumerate(parts)
    )


def _write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".writing-{path.name}")
    unfinished.write_bytes(content)
    os.replace(unfinished, path)
    return path
