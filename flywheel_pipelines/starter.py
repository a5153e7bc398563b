"""A commented `defs.yaml` to start a flywheel from: used by `flywheel init` and by `dg scaffold defs`.

Here: its text, and writing it once. Not here: Dagster's side of scaffolding (`components/scaffold.py`), or checking
what people make of it (`spec/`).
"""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

from flywheel_pipelines.cycles import Cadence, cycle_of
from flywheel_pipelines.errors import SpecError
from flywheel_pipelines.spec import COMPONENT_TYPE, NAME_PATTERN

STARTER = """\
# One flywheel: one kind of output, its metrics, its quality floor, its prompt.
# `dg check yaml` says what is wrong with this file; `flywheel spec` explains every key.
type: {component_type}

attributes:
  name: {name}
  description: Say in one sentence what this flywheel produces and for whom.
  cadence: weekly # daily, weekly or monthly
  start: {start} # first day of the first cycle: a Monday for weekly, the 1st for monthly
  owners: [] # team:growth, or an e-mail address

  # archive: choose among outputs that people wrote; they come in through the feed named here.
  briefs: {{feed: archive}}
  producer: {{kind: archive, publish: choice}}

  # Or a language model writes them, from briefs that come in as files. Take these lines instead of the two above, and
  # set OPENAI_API_KEY, or OPENAI_BASE_URL for an endpoint of your own; without either, the offline writer simulates.
  # briefs: {{feed: topics}}
  # producer:
  #   kind: llm
  #   model: gpt-5-mini # as its endpoint knows it
  #   variants: 3 # candidates per brief; the best predicted goes out
  #   explore: 0.1 # the share of briefs that publish one drawn at random
  #   max_cost_per_cycle: 5 # US dollars; a cycle that would cost more is refused
  #   prices: {{gpt-5-mini: {{input: 0.25, output: 2.0}}}} # US dollars per million tokens: check your provider's list
  # feeds:
  #   topics: {{kind: briefs, path: topics/*.csv, columns: {{brief_id: id, date: week}}}}
  #   measurements: {{kind: metrics, path: measurements/*.csv, columns: {{output_id: tag, date: day}}}}

  # The share of briefs that stays on the treadmill, so that you can see whether the flywheel compounds.
  # `control: off` gives that proof up.
  arms: {{control: 0.2, comparison: between_briefs}}

  # What the world reports back. `successes` and `exposure` are measures in the metric ledger.
  metrics:
    click_rate: {{kind: rate, successes: clicks, exposure: impressions, better: higher}}
  measurement_window: 1 # cycles until feedback counts as mature

  # Fixed before anything is measured: an output becomes a reference only when it beats this.
  floor:
    metric: click_rate
    above: mean # control, mean, quantile (with `quantile: 0.75`), or a number such as 0.03
    min_exposure: 100
    confidence: 0.9

  # Which proven winners the next prompt shows.
  corpus: {{size: 24, per_segment: 6, near_duplicate: 0.85, lookback: 52}}
  prompt: {{refresh: references}} # `template: prompt.md` for a template of your own beside this file
  scoring_model: {{window: 104}} # cycles it learns from
"""


def starter_yaml(name: str, today: date) -> str:
    """The commented YAML of a new flywheel, starting with the running week.

    Raises:
        SpecError: the name cannot be a flywheel's name.
    """
    if not re.fullmatch(NAME_PATTERN, name):
        raise SpecError(
            f"name: found {name!r}; allowed are 2 to 48 lower-case letters, digits and underscores, "
            "beginning with a letter, e.g. product_descriptions."
        )
    return STARTER.format(component_type=COMPONENT_TYPE, name=name, start=cycle_of(today, Cadence.WEEKLY))


def write_starter(name: str, path: Path, today: date | None = None) -> Path:
    """Write the starter YAML to `path`. Raises SpecError when a file is already there: nothing is overwritten."""
    text = starter_yaml(name, today or date.today())
    if path.exists():
        raise SpecError(f"{path} exists already. Choose another name, or edit that file.")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path
