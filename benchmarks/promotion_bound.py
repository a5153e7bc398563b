"""How much would have to be known beforehand to promote twice as many: the oracle of the promotion benchmark.

Here: `bound_rows`, which shows the plain posterior further real exposures of each candidate, and `bound_tables`. An
oracle that was shown m exposures more knows of every candidate what nobody can know at that time, with an error that
m sets; it is as good as a prediction from whatever source can be that is worth m exposures. What the texts are worth
is found in the same coin: the m at which the oracle's probabilities fit what came out as well as those of `content`
do. Draws, truth and candidates are the same for all, and nothing is simulated.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from rich.table import Table

from benchmarks.promotion_rules import Priors, at_equal_precision, beats_its_brief, blinded, claims

MORE = (0, 50, 100, 200, 400, 600, 800, 1000)
"""Further exposures that the oracle is shown."""
UNSEEN = 500
"""Exposures that must be left over to say what was right."""
WANTED = 2.0


def bound_rows(choices: pd.DataFrame, k: int, content: Priors, plain: Priors, seeds: int) -> list[dict[str, Any]]:
    """What the oracle reaches with k exposures and each of MORE, and what `content` is worth in its coin.

    Returns:
        A row per number of further exposures (`what` is "bound": more, promotions, right, ratio and its interval
        against `plain` at equal precision, fit) and one that sums up (`what` is "worth": the further exposures that
        `content` is worth, and those `needed` for WANTED times the promotions, None where even the most do not reach
        it). `fit` is the mean log probability of what came out, less that of `plain`. No rows where no brief has enough
        exposures.
    """
    enough = choices.groupby("brief_id")["exposure"].transform("min") >= k + max(MORE) + UNSEEN
    if not enough.any():
        return []
    drawn = pd.concat(
        [_draw(choices[enough], k, content, plain, np.random.default_rng([seed, k, 1])) for seed in range(seeds)]
    )
    rows = []
    for more in MORE:
        compared = drawn.assign(content=drawn[str(more)], plain=drawn["0"])
        equal = at_equal_precision(compared, k, seeds, "content") | {"what": "bound", "rule": "oracle", "more": more}
        rows.append(equal | {"fit": _fit(drawn, f"{more}_predictive") - _fit(drawn, "0_predictive")})
    fit = _fit(drawn, "content_predictive") - _fit(drawn, "0_predictive")
    worth = float(np.interp(fit, np.maximum.accumulate([row["fit"] for row in rows]), MORE))
    summary = {"what": "worth", "k": k, "candidates": int(enough.sum()), "fit": fit, "worth": worth}
    return [*rows, summary | {"needed": _first_reaching([row["ratio"] for row in rows])}]


def _draw(
    choices: pd.DataFrame, k: int, content: Priors, plain: Priors, generator: np.random.Generator
) -> pd.DataFrame:
    """Per candidate whether it beat its brief on what nobody was shown, and claims (the oracle's by its `more`)."""
    left, exposure = choices["numerator"].to_numpy(int), choices["exposure"].to_numpy(int)
    seen, shown, samples = np.zeros_like(left), 0, {}
    for more in MORE:
        drawn = generator.hypergeometric(left, exposure - shown - left, k + more - shown)
        left, seen, shown = left - drawn, seen + drawn, k + more
        samples[more] = choices.assign(numerator=seen, exposure=shown)
    rest = exposure - shown
    frame = choices[["brief_id", "cycle"]].assign(right=beats_its_brief(choices, left / rest))
    said = [claims(str(more), blinded(sample), plain, rest) for more, sample in samples.items()]
    return frame.join([claims("content", samples[0], content, rest), *said])


def _fit(drawn: pd.DataFrame, probability: str) -> float:
    p = drawn[probability].clip(1e-6, 1 - 1e-6)
    return float(np.log(np.where(drawn["right"], p, 1 - p)).mean())


def _first_reaching(ratios: list[float]) -> float | None:
    """Further exposures at which the ratio first reaches WANTED, between those tried; None where it never does."""
    for i in range(1, len(ratios)):
        if ratios[i] >= WANTED:
            return float(np.interp(WANTED, sorted(ratios[i - 1 : i + 1]), MORE[i - 1 : i + 1]))
    return None


def bound_tables(rows: list[dict[str, Any]]) -> list[Table]:
    """The rows for people to read; none without any."""
    oracle = [row for row in rows if row["what"] == "bound"]
    if not oracle:
        return []
    steps = Table("k", "further exposures", "right", "promoted", "plain, right as often", "ratio", title="The oracle")
    for row in oracle:
        interval = f"{row['ratio']:.2f} [{row['ratio_lower']:.2f}, {row['ratio_upper']:.2f}]"
        counts = [f"{row[name]:.1f}" for name in ("promotions", "other_promotions")]
        steps.add_row(str(row["k"]), str(row["more"]), f"{row['right']:.1%}", *counts, interval)
    coin = Table("k", "candidates", "the texts are worth", "twice as many takes", title="In further exposures")
    for row in (row for row in rows if row["what"] == "worth"):
        needed = f"more than {max(MORE)}" if row["needed"] is None else f"{row['needed']:.0f}"
        coin.add_row(str(row["k"]), str(row["candidates"]), f"{row['worth']:.0f}", needed)
    return [steps, coin]
