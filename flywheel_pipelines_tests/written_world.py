"""A flywheel that the offline writer writes, small enough for tests: a few cycles of a few briefs, in one folder."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster_duckdb import DuckDBResource

from flywheel_pipelines.components.flywheel import FlywheelComponent
from flywheel_pipelines.components.resources import LakeResource, LlmResource
from flywheel_pipelines.cycles import cycle_start
from flywheel_pipelines.feedback.landing import land_file, measures_of
from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.store import Lake
from flywheel_pipelines.llm.batch_calls import ENDPOINT
from flywheel_pipelines.llm.offline import application, batches
from flywheel_pipelines.llm.offline.answering import RequestError, chat_completion
from flywheel_pipelines.llm.offline.server import OfflineServer
from flywheel_pipelines.loop.flywheel import Flywheel
from flywheel_pipelines.loop.writing import OFFLINE_MODEL
from flywheel_pipelines.paths import DATA_DIR_VARIABLE, DataPaths
from flywheel_pipelines.simulation.audience import Audience
from flywheel_pipelines.simulation.market import kind_of
from flywheel_pipelines.simulation.season import DagsterStage, Season, play
from flywheel_pipelines.spec import FlywheelSpec, load_spec
from flywheel_pipelines_tests.instances import new_instance
from flywheel_pipelines_tests.small_world import fingerprint

NAME = "offers"
"""Arms are drawn by name; with this one every cycle has briefs in both."""
START = date(2026, 1, 5)
WEEKS = [START + timedelta(weeks=number) for number in range(8)]
N_BRIEFS = 6
SCHEMA = """{
  "type": "object",
  "properties": {"subject": {"type": "string", "maxLength": 200}, "body": {"type": "string"}},
  "required": ["subject", "body"],
  "additionalProperties": false
}
"""
SETTINGS: dict[str, Any] = {
    "name": NAME,
    "start": START.isoformat(),
    "briefs": {"feed": "leads"},
    "producer": {
        "kind": "llm",
        "model": "gpt-5-mini",
        "variants": 2,
        "explore": 0.2,
        "output": "letter.json",
        "prices": {"gpt-5-mini": {"input": 0.25, "output": 2.0}, "offline-writer": {"input": 0.25, "output": 2.0}},
    },
    "arms": {"control": 0.34},
    "metrics": {"reply_rate": {"kind": "rate", "successes": "replies", "exposure": "sends"}},
    "floor": {"metric": "reply_rate", "above": "mean", "min_exposure": 30, "confidence": 0.8},
    "feeds": {
        "leads": {"kind": "briefs", "path": "leads/*.csv", "columns": {"date": "week"}},
        # Tests correct numbers out of all proportion; nothing of that is to be held.
        "mailer": {
            "kind": "metrics",
            "path": "mailer/*.csv",
            "columns": {"date": "day"},
            "hold_implausible": False,
        },
    },
}
SEGMENTS = ("bakeries", "garages")
WRITING = ("generated_outputs", "published_outputs")
OPEN_TABLES = ("briefs", "cycle_manifest", *WRITING)


@dataclass(frozen=True)
class WrittenWorld:
    """One data directory and one folder of definitions."""

    root: Path

    @classmethod
    def make(cls, root: Path, *, n_briefs: int = N_BRIEFS, **changes: Any) -> WrittenWorld:
        """Write the YAML, its schema and the briefs of eight weeks; the briefs are in the ledger, nothing is open."""
        world = cls(root)
        world.folder.mkdir(parents=True)
        (world.folder / "letter.json").write_text(SCHEMA, encoding="utf-8")
        world.configure(**changes)
        path = root / "leads.csv"
        path.write_text(briefs_csv(n_briefs), encoding="utf-8")
        land_file(world.lake, world.spec, "leads", path, recorded_at=cycle_start(START) - timedelta(days=1))
        return world

    def configure(self, **changes: Any) -> None:
        """Write the YAML, with some sections changed: `producer={"variants": 3}` changes that one key.

        Metrics are replaced as a whole: a file needs a column for every measure that one of them reads.
        """
        settings = {**SETTINGS}
        for key, value in changes.items():
            is_merged = isinstance(settings.get(key), dict) and key != "metrics"
            settings[key] = {**settings[key], **value} if is_merged else value
        document = {"type": "flywheel_pipelines.components.FlywheelComponent", "attributes": settings}
        (self.folder / "defs.yaml").write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")

    @property
    def folder(self) -> Path:
        return self.root / "defs" / NAME

    @property
    def spec(self) -> FlywheelSpec:
        return load_spec(self.folder / "defs.yaml")

    @property
    def flywheel(self) -> Flywheel:
        return Flywheel(self.spec, self.folder)

    @property
    def paths(self) -> DataPaths:
        return DataPaths(self.root / "data")

    @property
    def lake(self) -> Lake:
        return Lake(self.paths.lake)

    def definitions(self) -> dg.Definitions:
        """The component of the YAML, with the resources it needs."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = FlywheelComponent(self.spec, self.folder).build_defs(None)  # type: ignore[arg-type]
        duckdb = DuckDBResource(database=":memory:")
        resources = {"lake": LakeResource(duckdb=duckdb), "llm": LlmResource()}
        return dg.Definitions.merge(made, dg.Definitions(resources=resources, executor=dg.in_process_executor))

    @contextmanager
    def in_force(self, **environment: str) -> Iterator[None]:
        """The environment names this data directory, and no provider but the one given."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(DATA_DIR_VARIABLE, str(self.paths.root))
            for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
                patch.delenv(name, raising=False)
            for name, value in environment.items():
                patch.setenv(name, value)
            yield

    def audience(self, **options: Any) -> Audience:
        return Audience(kind_of(measures_of(self.spec)), seed=4, **options)

    def copy_to(self, root: Path) -> WrittenWorld:
        shutil.copytree(self.root, root, dirs_exist_ok=True)
        return WrittenWorld(root)

    def play(self, n_cycles: int, **season_options: Any) -> Season:
        """Open and close cycles through Dagster, before a simulated audience."""
        season = Season.of(self.flywheel, n_cycles, self.audience(), **season_options)
        with self.in_force(), new_instance() as instance:
            play(season, DagsterStage(self.flywheel, self.definitions(), instance), self.lake, self.paths)
        return season

    def run(
        self,
        verb: str,
        cycle: date,
        *,
        select: list[str] | None = None,
        environment: Mapping[str, str] | None = None,
        instance: dg.DagsterInstance | None = None,
        **config: Mapping[str, Any],
    ) -> dg.ExecuteInProcessResult:
        """Run the job `open`, `close` or `collect` for a cycle; `config` is run config by asset.

        Without an instance the run is kept in one of its own.
        """
        with self.in_force(**(environment or {})), ExitStack() as stack:
            kept = instance or stack.enter_context(new_instance())
            return self.execute(verb, cycle, kept, select=select, **config)

    def execute(
        self,
        verb: str,
        cycle: date,
        instance: dg.DagsterInstance,
        *,
        select: list[str] | None = None,
        tags: Mapping[str, str] | None = None,
        **config: Mapping[str, Any],
    ) -> dg.ExecuteInProcessResult:
        """The same in the environment that is in force, with tags of the run."""
        dated = {"open": ("cycle_manifest", *WRITING), "collect": WRITING}.get(verb, ())
        if self.flywheel.has_proposals and verb == "open":
            dated = ("proposed_prompt", *dated)
        if self.flywheel.uses_batches and dated:
            dated = (*dated, "llm_batches")
        known: dict[str, dict[str, Any]] = {asset: {"recorded_at": at(cycle)} for asset in dated}
        for asset, values in config.items():
            known[asset] = {**known.get(asset, {}), **values}
        chosen = {asset: values for asset, values in known.items() if select is None or asset in select}
        ops = {f"{NAME}__{asset}": {"config": dict(values)} for asset, values in chosen.items()}
        quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
        job = self.definitions().resolve_job_def(f"{NAME}__{verb}")
        return job.execute_in_process(
            partition_key=cycle.isoformat(),
            run_config={"ops": ops, **quiet},
            instance=instance,
            raise_on_error=False,
            tags=dict(tags or {}),
            asset_selection=[dg.AssetKey([NAME, asset]) for asset in select] if select else None,
        )

    def open(self, cycle: date, server: CountedServer | None = None, **manifest: Any) -> dg.ExecuteInProcessResult:
        """Open a cycle at a server, or offline; `manifest` is the run config of the manifest."""
        return self.run("open", cycle, environment=server.environment if server else None, cycle_manifest=manifest)

    def manifest(self, cycle: date) -> dict[str, Any]:
        return self.rows(tables.CYCLE_MANIFEST, cycle)[0]

    def bytes_of(self, *of_tables: str) -> dict[str, str]:
        """The hash of every file of the lake (or of some of its tables) and of the outbox."""
        lake = {
            path: digest
            for path, digest in fingerprint(self.paths.lake).items()
            if not of_tables or Path(path).parts[0] in of_tables
        }
        return lake | {f"outbox/{path}": digest for path, digest in fingerprint(self.paths.outbox).items()}

    def rows(self, table: tables.TableContract, cycle: date | None = None) -> list[dict[str, Any]]:
        return self.lake.read(table, NAME, cycle).to_pylist()


class CountedServer:
    """The offline writer as if it were a provider: it keeps what arrived, and can be told to babble."""

    KEY = "sk-test-recognisable-4711"

    def __init__(self, server: OfflineServer) -> None:
        self.server = server
        self.arrived: list[dict[str, Any]] = []
        self.babbles: Callable[[str], bool] = lambda _: False
        """Given the prompt: whether it is answered with what is no JSON."""
        self.refusal: RequestError | None = None
        """What every request is refused with."""

    @property
    def environment(self) -> dict[str, str]:
        return {"OPENAI_BASE_URL": self.server.base_url, "OPENAI_API_KEY": self.KEY}

    def asked_by(self, work: Callable[[], dg.ExecuteInProcessResult]) -> tuple[dg.ExecuteInProcessResult, list[str]]:
        """Do something; returns its result and the prompts that arrived meanwhile."""
        before = len(self.arrived)
        return work(), [prompt_of(body) for body in self.arrived[before:]]

    def answer(self, body: dict[str, Any]) -> dict[str, Any]:
        self.arrived.append(body)
        if self.refusal:
            raise self.refusal
        completion = chat_completion({**body, "model": OFFLINE_MODEL}) | {"model": body["model"]}
        if self.babbles(prompt_of(body)):
            completion["choices"][0]["message"]["content"] = "I would rather not."
        return completion


@contextmanager
def counted_server(**options: Any) -> Iterator[CountedServer]:
    with OfflineServer(**options) as server, pytest.MonkeyPatch.context() as patch:
        counted = CountedServer(server)
        patch.setattr(application, "chat_completion", counted.answer)
        patch.setattr(batches, "ENDPOINTS", {ENDPOINT: counted.answer})
        yield counted


def prompt_of(body: Mapping[str, Any]) -> str:
    return "\n".join(message["content"] for message in body["messages"])


def at(cycle: date) -> str:
    return cycle_start(cycle).isoformat()


def later(cycle: date, **delta: float) -> datetime:
    return cycle_start(cycle) + timedelta(**delta)


def briefs_csv(n_briefs: int) -> str:
    lines = ["brief_id,week,segment,title,locale,product,facts"]
    for number, week in enumerate(WEEKS):
        for brief in range(n_briefs):
            segment = SEGMENTS[brief % len(SEGMENTS)]
            fact = f"Saves {11 + brief + number} hours a week"
            lines.append(f"w{number}b{brief},{week},{segment},Rota planning for {segment},en,rota planner,{fact}")
    return "\n".join(lines) + "\n"
