"""Export formats of platforms that pre-fill a feed, one YAML file each, beside this module.

Here: reading them, and what they fill in. Not here: the keys of a feed (`spec.feeds`), or reading exports.

A preset says how sure its format is, separately for the names of the columns and for how values are written. Headers
differ by account, language and year, so a preset only pre-fills: every key that the feed has itself wins.
"""

from __future__ import annotations

import difflib
import textwrap
from collections.abc import Mapping
from datetime import date
from functools import cache
from importlib import resources
from typing import Any, Literal

import yaml
from pydantic import Field

from flywheel_pipelines.spec.section import Section

Certainty = Literal["A", "B", "C"]
CERTAINTIES: dict[Certainty, str] = {
    "A": "read in a real export",
    "B": "read in documentation or public code",
    "C": "not verified",
}
MERGED = ("columns", "events")
"""Keys that are filled in entry by entry; all others are taken whole."""


class Preset(Section):
    """The export format of one platform."""

    title: str = Field(description="What the export is, and where the platform has it.")
    header_certainty: Certainty = Field(description="How sure the names of the columns are.")
    values_certainty: Certainty = Field(description="How sure it is how days and numbers are written.")
    checked: date = Field(description="When that was last looked at.")
    source: str = Field(description="Where it is from.")
    notes: str = Field(default="", description="What to know before using it.")
    header: list[str] = Field(default_factory=list, description="The export's header as far as it is known, in order.")
    feed: dict[str, Any] = Field(description="The keys of a feed that it fills in.")

    @property
    def certainty(self) -> str:
        """How sure the format is, in words."""
        header, values = CERTAINTIES[self.header_certainty], CERTAINTIES[self.values_certainty]
        return f"header {header} ({self.header_certainty}), values {values} ({self.values_certainty}), {self.checked}"

    def yaml_to_paste(self, name: str) -> str:
        """A feed with this preset for `defs.yaml`; what the preset fills in stands there as comments to change."""
        filled = yaml.safe_dump(self.feed, sort_keys=False, allow_unicode=True, width=200)
        about = [self.title, f"How sure: {self.certainty}.", f"Source: {self.source}."]
        comments = [*about, *textwrap.wrap(self.notes, 110)]
        return "\n".join(
            [
                *(f"# {line}" for line in comments),
                "feeds:",
                f"  {name}:",
                f"    preset: {name}",
                f"    path: {name}/*",
                "    # The preset fills in what follows; write a key only where yours differs.",
                *(f"    # {line}" for line in filled.splitlines()),
                "",
            ]
        )


@cache
def presets() -> Mapping[str, Preset]:
    """All presets by name, in alphabetical order."""
    files = sorted(
        (item for item in resources.files(__name__).iterdir() if item.name.endswith(".yaml")),
        key=lambda item: item.name,
    )
    return {
        item.name.removesuffix(".yaml"): Preset.model_validate(yaml.safe_load(item.read_text(encoding="utf-8")))
        for item in files
    }


def preset_named(name: object) -> Preset:
    """One preset. Raises ValueError, naming those there are."""
    known = presets()
    if not isinstance(name, str) or name not in known:
        near = difflib.get_close_matches(str(name), list(known), n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise ValueError(f"preset: there is none called {name!r}.{hint} There are: {', '.join(known)}")
    return known[name]


def filled_in(keys: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a feed with what its preset adds; without a preset, as they are.

    Raises:
        ValueError: there is no such preset, or the feed is of another kind than the preset.
    """
    if keys.get("preset") is None:
        return dict(keys)
    preset = preset_named(keys["preset"])
    kind = keys.get("kind", preset.feed["kind"])
    if kind != preset.feed["kind"]:
        raise ValueError(
            f"kind: found {kind}, but the preset {keys['preset']} is of kind {preset.feed['kind']}; "
            "leave kind out, or leave preset out and write the columns"
        )
    filled: dict[str, Any] = {**preset.feed, **keys}
    for key in MERGED:
        own, theirs = keys.get(key), preset.feed.get(key)
        if isinstance(own, Mapping) and theirs:
            filled[key] = {**theirs, **own}
    return filled
