"""One flywheel as its steps see it: the spec with the files that it names.

Not here: the spec's own rules (`spec`), or any step.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

from flywheel_pipelines.constraints import BRIEF
from flywheel_pipelines.cycles import cycle_range, cycle_window, shift_cycle
from flywheel_pipelines.errors import SpecError
from flywheel_pipelines.expressions import expression
from flywheel_pipelines.lake.contracts import TableContract
from flywheel_pipelines.lake.store import CycleWindow, Lake
from flywheel_pipelines.learning.frames import Frame, frame_of
from flywheel_pipelines.learning.prompt import DEFAULT_TEMPLATE
from flywheel_pipelines.llm.answer_schema import load_schema
from flywheel_pipelines.spec import (
    ArchiveProducer,
    AudienceSpec,
    ConstraintsSpec,
    FlywheelSpec,
    GrammarSpec,
    LlmProducer,
    ScoringProducer,
    load_section,
)

GRAMMAR, AUDIENCE = "grammar.yaml", "audience.yaml"
"""What may stand beside a `defs.yaml`: what the offline writer writes by, and before whom a demo is played."""


class Flywheel:
    """A checked spec and the folder of its YAML; files are read when a step needs them."""

    def __init__(self, spec: FlywheelSpec, folder: Path | None = None) -> None:
        """Relative file names in the spec are looked up in `folder`."""
        self.spec = spec
        self.folder = folder or Path()

    @property
    def name(self) -> str:
        """The flywheel's name, which is also its partition of the lake."""
        return self.spec.name

    @property
    def writer(self) -> LlmProducer | None:
        """The producer's settings when a language model writes the outputs; None when they come from an archive."""
        return self.spec.producer if isinstance(self.spec.producer, LlmProducer) else None

    @property
    def lead_scorer(self) -> ScoringProducer | None:
        """The producer's settings when leads are scored and nothing is written; else None."""
        return self.spec.producer if isinstance(self.spec.producer, ScoringProducer) else None

    @property
    def is_fed_briefs(self) -> bool:
        """Whether briefs come in through a feed, and what is made of them goes to the outbox; else from an archive."""
        return not isinstance(self.spec.producer, ArchiveProducer)

    @property
    def uses_batches(self) -> bool:
        """Whether requests go through the provider's Batch API."""
        return self.writer is not None and self.writer.requests == "batch"

    @property
    def has_proposals(self) -> bool:
        """Whether a model may propose prompts while a cycle is opened."""
        return self.spec.prompt.refresh != "references"

    def previous(self, cycle: date) -> date:
        """The cycle before."""
        return shift_cycle(cycle, self.spec.cadence, -1)

    def window(self, cycle: date, length: int) -> CycleWindow:
        """The last `length` cycles up to and including `cycle`."""
        return CycleWindow(*cycle_window(cycle, self.spec.cadence, length))

    def partitions(self, store: Lake, table: TableContract, window: CycleWindow) -> list[tuple[TableContract, date]]:
        """The partitions of a table that hold something in a window with two ends."""
        assert window.first is not None and window.last is not None
        cycles = cycle_range(max(window.first, self.spec.start), window.last, self.spec.cadence)
        return [(table, cycle) for cycle in cycles if store.has(table, self.name, cycle)]

    def prompt_template(self) -> str:
        """The prompt template. Raises SpecError when the file that is named is not there."""
        return self._template("template", self.spec.prompt.template) or DEFAULT_TEMPLATE

    def challenger_template(self) -> str | None:
        """The template on trial; None without one. Raises SpecError when the file that is named is not there."""
        return self._template("challenger", self.spec.prompt.challenger)

    def frame(self) -> Frame:
        """The frame that the YAML states: its template and its house rules."""
        return frame_of(self.prompt_template(), self.spec.house_rules)

    def challenger_frame(self) -> Frame | None:
        """The frame that the YAML puts on trial; None without one."""
        template = self.challenger_template()
        return frame_of(template, self.spec.house_rules) if template else None

    def output_schema(self) -> dict[str, Any] | None:
        """The JSON Schema of an output; None for plain text. Raises SpecError when it cannot be used."""
        if self.writer is None or self.writer.output is None:
            return None
        path = self.folder / self.writer.output
        schema = load_schema(path)
        if self.spec.guardrails.constraints is not None:
            _check_names(self.spec.guardrails.constraints, schema, path)
        return schema

    def grammar(self) -> GrammarSpec | None:
        """What the offline writer writes by; None: its built-in grammar. Raises SpecError when it cannot be used."""
        path = self.folder / GRAMMAR
        return load_section(GrammarSpec, path) if path.exists() else None

    def audience(self) -> AudienceSpec | None:
        """The simulated audience it brings; None: one of the built-in ones. Raises SpecError as `grammar`."""
        path = self.folder / AUDIENCE
        return load_section(AudienceSpec, path) if path.exists() else None

    def _template(self, key: str, name: str | None) -> str | None:
        if name is None:
            return None
        path = self.folder / name
        try:
            return path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise SpecError(
                f"{path}: the prompt template cannot be read ({error}). Key prompt.{key} names a UTF-8 text file "
                "relative to the flywheel's defs.yaml; leave the key out for the built-in template."
            ) from error


def _check_names(constraints: ConstraintsSpec, schema: dict[str, Any], path: Path) -> None:
    """Raises SpecError when a constraint asks for a field that the output does not have."""
    there = schema.get("properties", {})
    texts = {f"hard.{name}": text for name, text in constraints.hard.items()}
    texts |= {f"soft.{name}": goal.score for name, goal in constraints.soft.items()}
    for key, text in texts.items():
        asked = [one.split(".")[0] for one in expression(text).paths]
        if unknown := [name for name in asked if name != BRIEF and name not in there]:
            raise SpecError(
                f"key guardrails.constraints.{key}: {text} asks for {', '.join(unknown)}, but an output of {path} has "
                f"{', '.join(there) or 'no fields'}. Correct the name, or write {BRIEF}.{unknown[0]} for a field of "
                "the brief."
            )
