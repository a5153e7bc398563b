"""The signs of a loop that feeds on itself, and when they say that the prompt must not be refreshed.

Signs: texts become alike (mean similarity of two of them), they say the same words (distinct-n), and no person had a
hand in what the next prompt shows. Each is compared with the flywheel's own first cycles, since what is normal differs
between headlines and letters, and within segments, since a loop that has one text left for each of them has collapsed
although its texts differ. Mean similarity stands for self-BLEU: it asks the same question of trigrams of characters
instead of n-grams of words, in time that is linear in the texts instead of quadratic.

Not here: what the numbers are made of (`diversity`, `ancestry`), or what stops (`components.corpus_checks`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from flywheel_pipelines.lake.tables import COLLAPSE_SIGNS
from flywheel_pipelines.learning.diversity import GROUP, TextVectors, distinct_n
from flywheel_pipelines.spec import CollapseSpec

CORPUS, OUTPUTS = "corpus", "outputs"
FEWEST = GROUP
"""Texts, and pairs of them, below which nothing is compared: two texts that are alike say little about a loop."""
ADVICE = {
    "max_distinct_fall": "Review drafts so that edited texts enter (flywheel review export), pin references that say "
    "something else (flywheel corpus pin), ban those that all others copy (flywheel corpus ban), raise "
    "producer.explore or corpus.diversity",
    "max_similarity_rise": "Ban references that all others copy (flywheel corpus ban), review drafts so that edited "
    "texts enter (flywheel review export), lower corpus.near_duplicate, raise corpus.diversity or producer.explore",
    "max_depth": "Let people into the loop: edited texts count as human (flywheel review export); ban references that "
    "are far from human text (flywheel corpus list shows the depth)",
    "min_human_share": "Review drafts (flywheel review export): accepted and edited ones count; or pin references that "
    "a person stands behind (flywheel corpus pin)",
}
WARNINGS = {"warn_depth": ADVICE["max_depth"]}


@dataclass(frozen=True)
class Texts:
    """What is looked at in one scope; all sequences in one order, by segment and id."""

    scope: str
    segments: Sequence[str]
    texts: Sequence[str]
    depths: Sequence[int]
    mean_depths: Sequence[float]
    is_human: Sequence[bool]


@dataclass(frozen=True)
class Verdict:
    """What the signs of a cycle say: `stops` names limits of the YAML that stop, `warns` those that only warn."""

    stops: tuple[str, ...]
    warns: tuple[str, ...]
    words: str


def collapse_signs(looked_at: Sequence[Texts], before: pa.Table, spec: CollapseSpec) -> pa.Table:
    """The signs of one close, beside the first cycles.

    Args:
        looked_at: the texts of each scope.
        before: COLLAPSE_SIGNS of the close before; what is normal and how long a limit is past are carried from it.
        spec: the limits.

    Returns:
        COLLAPSE_SIGNS without partition columns. A cycle with both numbers and FEWEST
        texts counts into what is normal.
    """
    known = {row["scope"]: row for row in before.to_pylist()}
    rows = [_signs(texts, known.get(texts.scope), spec) for texts in looked_at]
    return COLLAPSE_SIGNS.conform(pa.Table.from_pylist(rows, schema=COLLAPSE_SIGNS.schema))


def _signs(texts: Texts, before: Mapping[str, Any] | None, spec: CollapseSpec) -> dict[str, Any]:
    n = len(texts.texts)
    distinct, similarity = distinct_n(texts.texts, 2), TextVectors(texts.texts).mean_similarity(texts.segments, FEWEST)
    n_first, first_distinct, first_similarity = _normal(n, distinct, similarity, before, spec)
    row: dict[str, Any] = {
        "scope": texts.scope,
        "n_texts": n,
        "distinct_1": distinct_n(texts.texts, 1),
        "distinct_2": distinct,
        "similarity": similarity,
        "depth": max(texts.depths, default=None),
        "mean_depth": sum(texts.mean_depths) / n if n else None,
        "human_share": sum(texts.is_human) / n if n else None,
        "n_first": n_first,
        "first_distinct_2": first_distinct,
        "first_similarity": first_similarity,
        "distinct_fall": None
        if n < FEWEST or not first_distinct or distinct is None
        else 1 - distinct / first_distinct,
        "similarity_rise": None
        if n < FEWEST or first_similarity is None or similarity is None
        else similarity - first_similarity,
    }
    past = _past(row, spec)
    counts = dict(zip(before["past"], before["n_past"], strict=True)) if before else {}
    return row | {"past": past, "n_past": [counts.get(key, 0) + 1 for key in past]}


def _normal(
    n_texts: int, distinct: float | None, similarity: float | None, before: Mapping[str, Any] | None, spec: CollapseSpec
) -> tuple[int, float | None, float | None]:
    """How many first cycles there are, and their means with this one counted in while they are few."""
    n, first_distinct, first_similarity = 0, None, None
    if before is not None:
        n, first_distinct, first_similarity = before["n_first"], before["first_distinct_2"], before["first_similarity"]
    if n >= spec.first_cycles or n_texts < FEWEST or distinct is None or similarity is None:
        return n, first_distinct, first_similarity
    if not n:
        return 1, distinct, similarity
    return n + 1, (first_distinct * n + distinct) / (n + 1), (first_similarity * n + similarity) / (n + 1)


def _past(row: Mapping[str, Any], spec: CollapseSpec) -> list[str]:
    """The limits that a row is past. Depth and share are asked of the corpus, which is what the next prompt shows."""
    past = []
    for key, value in (("max_distinct_fall", row["distinct_fall"]), ("max_similarity_rise", row["similarity_rise"])):
        limit = getattr(spec, key)
        if limit != "off" and value is not None and value > limit:
            past.append(key)
    if row["scope"] != CORPUS or not row["n_texts"]:
        return past
    for key in ("max_depth", "warn_depth"):
        limit = getattr(spec, key)
        if limit != "off" and row["mean_depth"] > limit:
            past.append(key)
    return [*past, "min_human_share"] if row["human_share"] < spec.min_human_share else past


def verdict(signs: pa.Table, spec: CollapseSpec) -> Verdict:
    """What the signs of a cycle say. A limit stops once `patience` cycles in a row are past it."""
    stops, warns, lines = [], [], []
    for row in signs.to_pylist():
        for key, cycles in zip(row["past"], row["n_past"], strict=True):
            is_limit = key not in WARNINGS
            stop = is_limit and cycles >= spec.patience
            (stops if stop else warns).append(key)
            left = f"; {spec.patience} stop the refresh" if is_limit and not stop else ""
            advice = ADVICE.get(key) or WARNINGS[key]
            undo = f", or change collapse.{key} in the YAML" + (", then close the cycle again" if stop else "")
            lines.append(f"{_found(row, key, spec)} ({cycles} cycle(s) in a row{left}). {advice}{undo}.")
    if not lines:
        return Verdict(
            (), (), "No sign of a loop that feeds on itself. " + "; ".join(map(_plain, signs.to_pylist())) + "."
        )
    head = (
        "The prompt refresh is stopped: the loop feeds on itself." if stops else "Signs of a loop that feeds on itself."
    )
    return Verdict(tuple(sorted(set(stops))), tuple(sorted(set(warns))), " ".join([head, *lines]))


def _found(row: Mapping[str, Any], key: str, spec: CollapseSpec) -> str:
    what = "references" if row["scope"] == CORPUS else "outputs"
    limit = getattr(spec, key)
    match key:
        case "max_distinct_fall":
            return (
                f"Distinct-2 of the {what} is {row['distinct_2']:.2f} against {row['first_distinct_2']:.2f} in the "
                f"first {row['n_first']} cycles, a fall of {row['distinct_fall']:.0%}, more than "
                f"collapse.{key}: {limit:g}"
            )
        case "max_similarity_rise":
            return (
                f"Two {what} of a segment have a mean similarity of {row['similarity']:.2f} against "
                f"{row['first_similarity']:.2f} in the first {row['n_first']} cycles, a rise of "
                f"{row['similarity_rise']:.2f}, more than collapse.{key}: {limit:g}"
            )
        case "min_human_share":
            return (
                f"A person wrote, edited, pinned or accepted {row['human_share']:.0%} of {row['n_texts']} references, "
                f"less than collapse.{key}: {limit:g}"
            )
        case _:
            return (
                f"The references are {row['mean_depth']:.1f} generations away from human text on average "
                f"({row['depth']} at most), more than collapse.{key}: {limit:g}"
            )


def _plain(row: Mapping[str, Any]) -> str:
    def number(value: float | None) -> str:
        return "none" if value is None else f"{value:.2f}"

    return (
        f"{row['scope']}: {row['n_texts']} texts, distinct-2 {number(row['distinct_2'])}, similarity "
        f"{number(row['similarity'])}, generations since human text {number(row['mean_depth'])}"
    )
