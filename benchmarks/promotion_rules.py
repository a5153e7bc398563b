"""What the rules of the promotion benchmark are shown, and what they say: predictions, priors, draws, claims.

Here: reading the archive, predictions and priors from strictly earlier cycles, one draw of the first exposures with
what each rule claims of it, and the comparison at equal precision. Not here: what is counted and asked (`promotion`),
the oracle (`promotion_bound`).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit, logit

from flywheel_pipelines.cycles import Cadence
from flywheel_pipelines.feedback.archive import find_mapping, read_archive
from flywheel_pipelines.feedback.archive.days import DayFormat
from flywheel_pipelines.feedback.files import read_header, read_table
from flywheel_pipelines.learning.embedding_features import TextVectors, rounded, text_hash
from flywheel_pipelines.learning.posterior import EmpiricalBayes, FittedPrior
from flywheel_pipelines.learning.text_model import fit_text_model
from flywheel_pipelines.llm.embedding_local import embed_locally

METRIC = "rate"
WARM_UP_BRIEFS = 30
"""Briefs with a choice that must have passed before a cycle counts; without any past no rule could be fitted."""

Report = Callable[[float, str], None]
Priors = dict[date, FittedPrior]


def load_archive(path: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Candidates (one row per brief and text) and A/A pairs (two rows per pair), both sorted by cycle."""
    mapping = find_mapping(read_header(path), str(path))[1]
    batch = read_archive(path, mapping, cadence=Cadence.WEEKLY)
    texts = batch.candidates.to_pandas()[["brief_id", "candidate_id", "segment", "text"]]
    counts = batch.measurements.to_pandas().rename(columns={"successes": "numerator"})
    frame = counts.merge(texts, on=["brief_id", "candidate_id"], validate="one_to_one")
    frame = frame[frame["exposure"] > 0].assign(output_id=frame["brief_id"] + " " + frame["candidate_id"])
    frame["size"] = frame.groupby("brief_id")["output_id"].transform("size")
    names = mapping.columns
    cells = read_table(path, mapping.required_columns, date_format=mapping.cycle_format).rows.to_pandas()
    raw = cells.iloc[:, 1:].set_axis(mapping.required_columns, axis=1)
    for column, values in mapping.leave_out.items():
        raw = raw[~raw[column].fillna("").str.strip().str.casefold().isin(values)]
    pair = [*names.brief, names.text, names.cycle]
    twins = raw[raw.groupby(pair)[names.text].transform("size") == 2]
    day = DayFormat(mapping.cycle_format)
    twins = pd.DataFrame(
        {
            "brief_id": twins.groupby(pair).ngroup().astype(str),
            "text": twins[names.text],
            "cycle": twins[names.cycle].map(day.parse),
            "segment": "all",
            "numerator": twins[names.successes].astype(int),
            "exposure": twins[names.exposure].astype(int),
            "output_id": "pair " + twins.index.astype(str),
        }
    )
    order = ["cycle", "brief_id", "output_id"]
    defaults = {"predicted": 0.0, "control_weight": 1.0, "metric": METRIC}
    candidates, twins = (each.sort_values(order, ignore_index=True).assign(**defaults) for each in (frame, twins))
    return candidates, twins


def as_day(cycle: object) -> date:
    """The key that pandas hands out when it groups by cycle, as the date it is."""
    return pd.Timestamp(str(cycle)).date()


def vectors_of(candidates: pd.DataFrame, report: Report) -> TextVectors:
    """Sentence embeddings of all texts as they would stand in the lake; they know nothing of outcomes."""
    texts = sorted(set(candidates["text"]))
    parts = []
    for start in range(0, len(texts), 100):
        report(0.0, f"embedding {start} of {len(texts)} texts")
        parts.append(rounded(embed_locally(texts[start : start + 100])))
    return TextVectors("local", tuple(map(text_hash, texts)), np.concatenate(parts))


def record_predictions(candidates: pd.DataFrame, report: Report, vectors: TextVectors | None = None) -> pd.DataFrame:
    """Fill `predicted` cycle by cycle, each from a text model that saw strictly earlier cycles only."""
    pooled = candidates.groupby("brief_id")[["numerator", "exposure"]].transform("sum")
    rate = (pooled["numerator"] + 1) / (pooled["exposure"] + 100)
    training = candidates.assign(
        value=candidates["numerator"] / candidates["exposure"], variance=rate * (1 - rate) / candidates["exposure"]
    )
    predicted, cycles = candidates["predicted"].copy(), candidates["cycle"].nunique()
    for i, (cycle, rows) in enumerate(candidates.groupby("cycle")):
        report(0.35 * i / cycles, f"predicting {cycle}")
        model = fit_text_model(training, as_of=as_day(cycle), vectors=vectors)
        predicted[rows.index] = model.predict(rows["text"].tolist(), rows["segment"].tolist(), vectors)
    return candidates.assign(predicted=predicted)


def priors_by_cycle(candidates: pd.DataFrame) -> Priors:
    """For each cycle the prior fitted on strictly earlier ones; cycles in the warm-up are missing."""
    priors: Priors = {}
    for cycle in sorted(candidates["cycle"].unique()):
        past = candidates[(candidates["cycle"] < cycle) & (candidates["size"] > 1)]
        if past["brief_id"].nunique() >= WARM_UP_BRIEFS:
            priors[cycle] = EmpiricalBayes().fit(past)
    return priors


def blinded(candidates: pd.DataFrame) -> pd.DataFrame:
    """What a rule sees that knows counts only."""
    return candidates.assign(predicted=0.0).drop(columns=["text", "vector"], errors="ignore")


def weeks_chosen_on(candidates: pd.DataFrame) -> np.ndarray:
    """Every second cycle: the half on which the likeness by vectors was chosen."""
    return np.sort(candidates["cycle"].unique())[::2]


def draw(choices: pd.DataFrame, k: int, content: Priors, plain: Priors, generator: np.random.Generator) -> pd.DataFrame:
    """One draw: per candidate the truth, and per rule latent and predictive probability of beating its brief."""
    successes = choices["numerator"].to_numpy(int)
    seen = generator.hypergeometric(successes, choices["exposure"].to_numpy(int) - successes, k)
    rest = choices["exposure"].to_numpy(int) - k
    frame = choices[["brief_id", "cycle"]].assign(right=beats_its_brief(choices, (successes - seen) / rest))
    by_brief = choices["brief_id"]
    observed = pd.Series(seen, choices.index)
    frame["observed"] = (observed > observed.groupby(by_brief).transform("mean")).astype(float)
    sample = choices.assign(numerator=seen, exposure=k)
    return frame.join([claims("content", sample, content, rest), claims("plain", blinded(sample), plain, rest)])


def claims(name: str, sample: pd.DataFrame, priors: Priors, rest: np.ndarray) -> pd.DataFrame:
    """What a rule says of the candidates of a sample, indexed as it is.

    Columns `name`, the probability that the true rate beats the brief's mean, and `name`_predictive, that the rate on
    `rest` further exposures will, shape (n,).
    """
    sample, parts = sample.assign(rest=rest), []
    for cycle, rows in sample.groupby("cycle"):
        prior = priors[as_day(cycle)]
        posterior, share = prior.posterior(rows), 1 / rows["size"].to_numpy(float)
        again = posterior.measured_again(rows["rest"].to_numpy(float))
        latent, fresh = (expit(prior.temper * logit(each.above_mean(share)[0])) for each in (posterior, again))
        parts.append(pd.DataFrame({name: latent, f"{name}_predictive": fresh}, index=rows.index))
    return pd.concat(parts)


def beats_its_brief(choices: pd.DataFrame, rate: np.ndarray) -> np.ndarray:
    """Whether each rate lies above the mean of the rates of its brief, shape (n,)."""
    rates = pd.Series(rate, choices.index)
    return (rates > rates.groupby(choices["brief_id"]).transform("mean")).to_numpy()


def at_equal_precision(frame: pd.DataFrame, k: int, seeds: int, rule: str, confidence: float = 0.9) -> dict[str, Any]:
    """What `rule` promotes at the confidence, and how many of the other's most certain promotions are right as often.

    The other rule is given the largest number that is, wherever that puts its threshold: the choice that favours it.
    """
    other = "plain" if rule == "content" else "content"
    brief = pd.factorize(frame["brief_id"])[0]
    promoted, right = (frame[rule] >= confidence).to_numpy(), frame["right"].to_numpy(float)
    order = np.argsort(-frame[other].to_numpy(), kind="stable")

    def compare(weight: np.ndarray) -> tuple[float, float, float]:
        own = weight * promoted
        precision = (own * right).sum() / max(own.sum(), 1e-9)
        counted, hits = np.cumsum(weight[order]), np.cumsum((weight * right)[order])
        enough = hits >= precision * counted - 1e-9
        # The first few may be right by luck; where none are, there is no threshold of equal precision.
        found = counted[enough]
        return float(own.sum()), float(precision), float(found.max()) if len(found) else 0.0

    n, precision, n_other = compare(np.ones(len(frame)))
    random, n_briefs = np.random.default_rng(k), int(brief.max()) + 1
    draws = [compare(random.multinomial(n_briefs, np.full(n_briefs, 1 / n_briefs))[brief]) for _ in range(400)]
    lower, upper = np.percentile([own / max(others, 1.0) for own, _, others in draws], [5, 95])
    row = {"what": "equal precision", "k": k, "rule": rule, "confidence": confidence, "right": precision}
    row |= {"promotions": n / seeds, "other": other, "other_promotions": n_other / seeds}
    return row | {"ratio": n / max(n_other, 1.0), "ratio_lower": float(lower), "ratio_upper": float(upper)}
