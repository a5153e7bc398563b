"""Findings as Markdown, for whoever looks at a check.

Not here: the sentences (`findings`), or the HTML page (`report.data_docs`).
"""

from __future__ import annotations

from collections.abc import Iterable

from flywheel_pipelines.feedback.contracts.findings import Findings, file_sample_words, many, sample_words
from flywheel_pipelines.feedback.contracts.quarantined import FileShare
from flywheel_pipelines.feedback.contracts.suite import RuleResult

OUTCOMES = {"passed": "kept", "warn": "broken, warns", "block": "broken, blocks"}
MAX_FILES = 12


def outcome(result: RuleResult) -> str:
    """What became of a rule, in a word or two."""
    return OUTCOMES["passed" if result.passed else result.rule.severity]


def rules_table(findings: Findings) -> str:
    """Every rule with its outcome and its numbers."""
    if not findings.rules:
        return "No file of this feed has come in yet."
    lines = ["| rule | outcome | break it | expected |", "| --- | --- | ---: | --- |"]
    lines += [_row(result.rule.name, outcome(result), many(result), result.rule.expected) for result in findings.rules]
    return "\n".join(lines)


def files_shown(findings: Findings) -> list[FileShare]:
    """The files with the largest shares in quarantine, the largest first."""
    return sorted(findings.files, key=lambda file: -file.share)[:MAX_FILES]


def quarantine_table(findings: Findings) -> str:
    """The files that touch the cycles, with their shares in quarantine, the largest first."""
    if not findings.files:
        return "No file touches these cycles."
    lines = [
        "| file | rows | open in quarantine | share | allowed | why |",
        "| --- | ---: | ---: | ---: | ---: | --- |",
    ]
    lines += [
        _row(
            file.source, f"{file.n_rows:,}", f"{file.n_open:,}", f"{file.share:.1%}", f"{file.limit:.0%}", reasons(file)
        )
        for file in files_shown(findings)
    ]
    if len(findings.files) > MAX_FILES:
        lines.append(f"\n{len(findings.files) - MAX_FILES} more files")
    return "\n".join(lines)


def reasons(file: FileShare) -> str:
    """Kinds of problems with their numbers."""
    return ", ".join(f"{n:,} {problem}" for problem, n in file.reasons)


def samples_list(findings: Findings) -> str:
    """Rows that break a rule, and rows in quarantine of the worst file; empty when there are none."""
    lines: list[str] = []
    for result in findings.rules:
        if not result.passed:
            lines += [f"**{result.rule.name}**", *_bullets(sample_words(result))]
    worst = findings.worst_file
    if worst is not None and worst.samples:
        lines += [f"**quarantine**, {_plain(worst.source)}", *_bullets(file_sample_words(worst))]
    return "\n".join(lines)


def _bullets(texts: Iterable[str]) -> list[str]:
    return ["", *(f"- {_plain(text)}" for text in texts), ""]


def _row(*cells: str) -> str:
    return "| " + " | ".join(_plain(cell) for cell in cells) + " |"


def _plain(text: str) -> str:
    """Text that stays in its cell and on its line, whatever a file is called or a cell holds."""
    return text.replace("|", "\\|").replace("\n", " ").replace("\r", " ").replace("<", "&lt;")
