"""Contracts as a page for people: the text of `docs/feeds.md`.

Not here: how a feed is declared (`flywheel spec` explains the keys), or writing the file (`cli.contracts`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from flywheel_pipelines.feedback.contracts.feed_contract import READ_BY_A_CLOSE, FeedContract
from flywheel_pipelines.feedback.contracts.rules import Rule

HEAD = """\
# The declared feeds, and their contracts

<!-- Made by `flywheel contracts --write` from the feeds of the flywheels below defs/; `make check` compares. -->

Each feed has one contract. From it come the suite of Great Expectations that every close runs (the check
`<feed>_contract` of the asset `performance_metrics`), the tests of dbt that every publish runs, and this page.

- A row that cannot be used is put aside when its file lands, with the reason, and the rest goes on. When more of a file
  than `max_quarantined` is still open in quarantine, its cycles do not close.
- A rule that **blocks** keeps the cycles of a run from being scored; a rule that **warns** shows yellow, and the cycle
  closes. Rules hold for the facts in the lake, as latest known; they do not repeat what landing refuses row by row.
- What to do about a red check stands in the check: correct the file and hand it in again under its name, or settle its
  rows with `flywheel quarantine`, or raise the share; then close the cycle again.
"""
_HEADERS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "briefs": (("brief_id", "the thing to produce"), ("date", "the day that decides its cycle"),
               ("segment", "its group; `all` without one"), ("title", "its name"), ("locale", "language tag")),
    "reviews": (("output_id", "the output"), ("decision", "accepted, edited or rejected"),
                ("final_text", "the text as it was left"), ("comment", "what was said"),
                ("reviewer", "pseudonym"), ("date", "day of the review")),
    "outputs": (("output_id", "the output"), ("external_id", "the platform's id for it")),
    "tickets": (("ticket_id", "its id"), ("created_at", "when it was written"), ("text", "what was written"),
                ("subject", "its subject"), ("segment", "brand, product or queue"), ("channel", "how it came"),
                ("status", "where it stands")),
}  # fmt: skip

_OF_DOCUMENTS = (("brief_id", "(the file's name)", "and its section's, where each is a brief"),
                 ("title", "(the document's title)", "and its section's"),
                 ("passages", "(its text)", "in pieces with an id each, to be cited"))  # fmt: skip


def feeds_page(contracts: Sequence[FeedContract]) -> str:
    """The Markdown of docs/feeds.md."""
    parts = [HEAD]
    for flywheel in dict.fromkeys(contract.flywheel for contract in contracts):
        parts.append(f"## {flywheel}\n")
        parts += [_feed(contract) for contract in contracts if contract.flywheel == flywheel]
    return "\n".join(parts)


def rule_row(rule: Rule) -> str:
    """A rule's line in the table."""
    expectations = ", ".join(f"`{kind}`" for kind in dict.fromkeys(one.kind for one in rule.expectations))
    return f"| `{rule.name}` | {rule.severity}s | {rule.expected} | {expectations} | `{rule.dbt_test.macro}` |"


def _feed(contract: FeedContract) -> str:
    spec = contract.spec
    checked = (
        f"check `{contract.name}`" if spec.kind in READ_BY_A_CLOSE else "no check of its own; dbt tests it at a publish"
    )
    facts = [
        f"Kind {spec.kind}, from {_origin(contract)}, into `lake.{contract.ledger.name}`; {checked}.",
        f"At most {spec.max_quarantined:.0%} of a file may be open in quarantine.",
    ]
    if spec.preset:
        facts.append(f"Preset `{spec.preset}`.")
    lines = [
        f"### {contract.feed} of {contract.flywheel}", "", " ".join(facts), "",
        "| column | header in the file | what it is |", "| --- | --- | --- |",
        *(f"| `{name}` | `{header}` | {what} |" for name, header, what in _columns(contract)), "",
        "| rule | severity | expected | Great Expectations | dbt |", "| --- | --- | --- | --- | --- |",
        *(rule_row(rule) for rule in contract.rules), "",
    ]  # fmt: skip
    return "\n".join(lines)


def _origin(contract: FeedContract) -> str:
    spec = contract.spec
    if spec.path is not None:
        return f"`{spec.path}` in the inbox"
    if spec.sql is not None:
        return f"a query on the database that `{spec.sql.url_variable}` names"
    assert spec.dlt is not None
    return f"table `{spec.dlt.table}` of the dlt pipeline `{spec.dlt.pipeline}`"


def _columns(contract: FeedContract) -> Iterator[tuple[str, str, str]]:
    """Our name, their header, and what the column is; columns that are named alike stand under one name."""
    spec = contract.spec
    if spec.documents is not None:
        yield from _OF_DOCUMENTS
        return
    known = dict(_HEADERS.get(spec.kind, ())) | _metric_columns(contract)
    for name, what in known.items():
        yield name, spec.columns.get(name, name), what
    for name, header in spec.columns.items():
        if name not in known:
            yield name, header, "kept as a field of the brief" if spec.kind == "briefs" else "as the feed declares it"


def _metric_columns(contract: FeedContract) -> dict[str, str]:
    spec = contract.spec
    if spec.kind != "metrics":
        return {}
    joined = {
        "output_id": "tracking tag of the output, as it stands in the outbox",
        "url": f"address with the tracking tag in `{spec.url_parameter}`, or one that a feed of kind outputs names",
        "external_id": "id that a feed of kind outputs names",
    }
    columns = {spec.join: joined[spec.join], "date": "the day it is about"}
    if spec.events:
        named = ", ".join(f"{one} = {ours}" for one, ours in spec.events.items())
        of_session = {"session": "in which it happened; each event counts once in it"} if spec.sessions else {}
        return columns | {"event": f"counted as: {named}"} | of_session
    return columns | dict.fromkeys(contract.measures, "a count; what it is about stands in the flywheel's `metrics`")
