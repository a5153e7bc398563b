"""Recipes: flywheels to copy as a start, each from files alone.

A recipe is a folder with a `defs.yaml` and what that names; a `grammar.yaml` and an `audience.yaml` where the built-in
ones do not fit; and sample briefs beside it in `samples/`, or in the project's `data/samples/<name>/`.

Here: finding recipes, what each needs, and copying one. Not here: running one (`simulation.demo`), or the keys of its
files (`spec`).
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from flywheel_pipelines.errors import FlywheelError, SpecError
from flywheel_pipelines.feedback.feeds.metric_columns import measures_in
from flywheel_pipelines.paths import PROJECT_ROOT, RECIPES_DIR
from flywheel_pipelines.spec import COMPONENT_TYPE, NAME_PATTERN, FeedSpec, FlywheelSpec, component_of, load_spec

SETTINGS = "defs.yaml"


@dataclass(frozen=True)
class Recipe:
    """A folder from which a flywheel can be run or copied."""

    folder: Path

    @property
    def name(self) -> str:
        """Its flywheel's name."""
        return self.spec.name

    @property
    def spec(self) -> FlywheelSpec:
        """Its checked YAML. Raises SpecError."""
        return load_spec(self.folder / SETTINGS)

    @property
    def samples(self) -> Path:
        """The folder of its sample files."""
        own = self.folder / "samples"
        return own if own.is_dir() else PROJECT_ROOT / "data" / "samples" / self.folder.name

    @property
    def sample_briefs(self) -> list[Path]:
        """The files of sample briefs, in order; none where another flywheel publishes them.

        Raises:
            FlywheelError: there are none, although they come in as files.
        """
        if self.spec.briefs.published_by is not None:
            return []
        if self.spec.briefs.feed not in self.spec.feeds:
            raise FlywheelError(
                f"{self.name} has no feed {self.spec.briefs.feed!r} that briefs could come in by, so there is nothing "
                "to write about. Only flywheels whose briefs come in as files can be demonstrated."
            )
        pattern = Path(self.spec.feeds[self.spec.briefs.feed].path or "*").name
        found = sorted(self.samples.glob(pattern))
        if not found:
            raise FlywheelError(
                f"{self.samples}: no sample briefs ({pattern}) for {self.name}, so there is nothing to write about. "
                "Put a file there that its feed of briefs can read."
            )
        return found

    @property
    def needs(self) -> Iterator[tuple[str, str]]:
        """What it takes to run it on one's own data: each thing, and what for."""
        spec = self.spec
        if spec.producer.kind == "llm":
            yield "a language model", f"{spec.producer.model}, or any other; without one the offline writer simulates"
        if spec.briefs.published_by is not None:
            yield f"briefs (the flywheel {spec.briefs.published_by})", "what that publishes in the same cycle"
        for name, feed in spec.feeds.items():
            yield f"{feed.kind} ({name})", _what_comes_in(spec, feed)


def find_recipes(recipes_dir: Path = RECIPES_DIR) -> list[Recipe]:
    """All recipes of flywheels that write, by name."""
    return [
        Recipe(path.parent)
        for path in sorted(recipes_dir.glob(f"*/{SETTINGS}"))
        if component_of(path) == COMPONENT_TYPE
    ]


def recipe_named(name: str, recipes_dir: Path = RECIPES_DIR) -> Recipe:
    """One recipe. Raises FlywheelError, naming those there are."""
    known = {recipe.folder.name: recipe for recipe in find_recipes(recipes_dir)}
    if name not in known:
        raise FlywheelError(f"--recipe: found {name!r}; there are {', '.join(known)}. `flywheel recipes` says more.")
    return known[name]


def copy_recipe(recipe: Recipe, name: str, target: Path) -> Path:
    """Copy a recipe's folder, without samples, as the start of a flywheel called `name`; returns its `defs.yaml`.

    Its name and the folders of its feeds become the new one's; comments and everything else stay as they are.

    Raises:
        SpecError: the name cannot be a flywheel's name, or something is there already: nothing is overwritten.
    """
    if not re.fullmatch(NAME_PATTERN, name):
        raise SpecError(
            f"name: found {name!r}; allowed are 2 to 48 lower-case letters, digits and underscores, "
            "beginning with a letter, e.g. product_descriptions."
        )
    if target.exists():
        raise SpecError(f"{target} exists already. Choose another name, or edit what is there.")
    unfinished = target.with_name(f".copying-{target.name}")
    shutil.rmtree(unfinished, ignore_errors=True)
    shutil.copytree(recipe.folder, unfinished, ignore=shutil.ignore_patterns("samples"))
    settings = unfinished / SETTINGS
    text = settings.read_text(encoding="utf-8")
    text = re.sub(rf"(?m)^(  name: ){recipe.name}\b", rf"\g<1>{name}", text)
    text = re.sub(rf"(?m)^(\s+path: [\"']?){recipe.name}/", rf"\g<1>{name}/", text)
    settings.write_text(text, encoding="utf-8")
    load_spec(settings)
    unfinished.rename(target)
    return target / SETTINGS


def _what_comes_in(spec: FlywheelSpec, feed: FeedSpec) -> str:
    where = feed.path or ("a query" if feed.sql else "a table")
    if feed.kind != "metrics":
        return where
    of_metrics = [one for one in spec.feeds.values() if one.kind == "metrics"]
    wanted = spec.measures if len(of_metrics) == 1 else spec.measures.intersection(measures_in(feed, spec))
    ignored = feed.sessions.ignored if feed.sessions else None
    counted = f"; {ignored} is counted from what is not there" if ignored else ""
    return f"{where}, with {', '.join(sorted(wanted - {ignored}))}{counted}"
