"""How often a prompt optimiser adopts another prompt: `python -m benchmarks.prompt_optimiser [--runs 60] [--json]`.

Two worlds. In `equal` every prompt writes equally well; in `better` every proposal writes texts whose true rate is 25%
higher than the champion's. A text is scored as a mail of the simulated outreach market is (`simulation/market.py`): its
sends, its brief, its own luck, and replies drawn at that rate. The noise is the market's, set before this was written.

Two acceptances, with the same seeds, 20 validation items and as many texts: `stock` is gepa as it comes, which returns
the candidate with the best validation mean; `gate` is the same search, with each proposal tested on evidence of its own
(`learning/optimising.py`). Needs the optional package gepa (`pip install 'flywheel-pipelines[gepa]'`). Simulated
throughout. Wanted of the gate: at most 3 of 60 runs adopt a prompt among equals, and at least 45 of 60 a better one.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.measurement import Measurement, show
from flywheel_pipelines.learning.optimising import Budget, Items, Lines, optimise_guidelines
from flywheel_pipelines.learning.paired_test import PairedTest
from flywheel_pipelines.simulation.market import RECIPIENTS, MarketSettings
from flywheel_pipelines.spec import OptimiserSpec

RUNS = 60
GAIN = 0.25
MOST_AMONG_EQUALS, LEAST_WHERE_BETTER = 3 / 60, 45 / 60
VALIDATION = 20
DEFAULTS = OptimiserSpec()
BUDGET = Budget(DEFAULTS.max_texts, DEFAULTS.minibatch, DEFAULTS.evidence, DEFAULTS.error)
ITEMS = Items(
    train=tuple(f"t{number}" for number in range(40)),
    validation=tuple(f"v{number}" for number in range(VALIDATION)),
    evidence=tuple(f"e{number}" for number in range(200)),
)
CHAMPION: Lines = ("The champion's guideline.",)


@dataclass
class SimulatedScores:
    """Mails that nobody wrote, at rates that are known: the champion's, and `gain` more for any other prompt."""

    seed: int
    gain: float

    def __call__(self, items: Sequence[str], guidelines: Lines, purpose: str) -> list[tuple[str, float]]:
        """One text and its observed reply rate per item."""
        return [("", self._rate(item, guidelines, purpose)) for item in items]

    def _rate(self, item: str, guidelines: Lines, purpose: str) -> float:
        (traffic,) = RECIPIENTS.traffic
        (replies, *_), market = traffic.responses, MarketSettings()
        brief = self._rng("brief", item).normal(0, market.brief_effect)
        rng = self._rng(purpose, item, *guidelines)
        gain = math.log1p(self.gain) if guidelines != CHAMPION else 0.0
        rate = replies.base_rate * math.exp(brief + gain + rng.normal(0, market.taste))
        sends = max(1, int(rng.lognormal(math.log(traffic.typical), traffic.spread)))
        certain = replies.concentration
        return float(rng.binomial(sends, rng.beta(rate * certain, (1 - rate) * certain)) / sends)

    def _rng(self, *parts: str) -> np.random.Generator:
        text = "\x1f".join((str(self.seed), *parts)).encode()
        return np.random.default_rng(list(text))


class NumberedProposals:
    """Each proposal is another prompt; which one it was made from makes no difference to how well it writes."""

    def __init__(self) -> None:
        """Nothing was proposed yet."""
        self.n = 0

    def __call__(self, guidelines: Lines, seen: Sequence[tuple[str, str, float]]) -> Lines:
        """The next one."""
        self.n += 1
        return (f"Proposal {self.n}.",)


def adopted(seed: int, gain: float, *, gated: bool) -> bool:
    """Whether one run ends with another prompt than the champion's."""
    done = optimise_guidelines(
        CHAMPION,
        ITEMS,
        score=SimulatedScores(seed, gain),
        propose=NumberedProposals(),
        test=PairedTest if gated else None,
        budget=BUDGET,
        seed=seed,
    )
    return done.best is not None


def run(runs: int = RUNS) -> list[Measurement]:
    """Adoptions of each world and acceptance."""
    found = []
    for world, gain in (("equal", 0.0), ("better", GAIN)):
        for acceptance in ("stock", "gate"):
            count = sum(adopted(seed, gain, gated=acceptance == "gate") for seed in range(runs))
            limit = ""
            if acceptance == "gate":
                limit = f"at most {MOST_AMONG_EQUALS:.0%}" if world == "equal" else f"at least {LEAST_WHERE_BETTER:.0%}"
            compared = f"runs that adopt another prompt: {acceptance}, prompts {world}"
            notes = f"{count} of {runs} runs" + (f", true gain {gain:+.0%}" if gain else "")
            found.append(Measurement("prompt_optimiser", compared, count / runs, "share", limit, notes))
    return found


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.prompt_optimiser",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--runs", type=int, default=RUNS, help="runs of each kind")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    arguments = parser.parse_args()
    show(run(arguments.runs), as_json=arguments.json)


if __name__ == "__main__":
    main()
