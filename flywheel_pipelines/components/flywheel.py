"""`FlywheelComponent`: one YAML becomes the assets and jobs of one flywheel. Wiring only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import BaseModel

from flywheel_pipelines.components.batch_assets import batch_asset, batch_sensor
from flywheel_pipelines.components.inbox_sensor import inbox_sensor
from flywheel_pipelines.components.kit import AssetKit
from flywheel_pipelines.components.learning_assets import learning_assets
from flywheel_pipelines.components.production_assets import production_assets
from flywheel_pipelines.components.pull_job import pull_job, pull_schedule
from flywheel_pipelines.components.scaffold import FlywheelScaffolder
from flywheel_pipelines.loop.pulling import pulled_feeds
from flywheel_pipelines.spec import FlywheelSpec


@dg.scaffold_with(FlywheelScaffolder)
class FlywheelComponent(dg.Component):
    """One flywheel: outputs are produced, measured, scored against a floor fixed beforehand, and fed back.

    Makes the assets `[name, table]` of one loop in the group `name`, and the jobs `<name>__open` (production of a
    cycle) and `<name>__close` (feedback and learning of one cycle or a range of cycles in one run).
    """

    def __init__(self, spec: FlywheelSpec, folder: Path | None = None) -> None:
        """A flywheel from its checked spec; relative file names in it are looked up in `folder`."""
        self.spec = spec
        self.folder = folder

    @classmethod
    def get_model_cls(cls) -> type[BaseModel]:
        """The attributes are the spec; there is no second schema to keep in step."""
        return FlywheelSpec

    @classmethod
    def load(cls, attributes: Any, context: dg.ComponentLoadContext) -> FlywheelComponent:
        """The component of one `defs.yaml`."""
        return cls(attributes, context.path)

    @classmethod
    def get_spec(cls) -> dg.ComponentTypeSpec:
        """How the component presents itself in `dg list components` and the docs."""
        return dg.ComponentTypeSpec(description=cls.__doc__, tags=["flywheel"], owners=["team:flywheel"])

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Assets and jobs of this flywheel."""
        kit = AssetKit(self.spec, self.folder)
        opening, closing = production_assets(kit), learning_assets(kit)
        sensors = []
        if kit.flywheel.uses_batches:
            opening.append(batch_asset(kit))
        jobs: list[Any] = [
            self._job("open", "Produce a cycle: briefs, manifest, outputs, what goes out.", opening),
            self._job("close", "Learn from a cycle, or a range in one run: metrics to momentum.", closing),
        ]
        if kit.flywheel.uses_batches:
            # What follows the manifest: a cycle that waits for its batch is not pinned anew.
            pinned = ("briefs", "proposed_prompt", "cycle_manifest")
            rest = [asset for asset in opening if asset.key.path[-1] not in pinned]
            jobs.append(self._job("collect", "Go on with a cycle whose batch was answered.", rest))
            sensors.append(batch_sensor(kit, jobs[-1]))
        schedules = []
        if self.spec.feeds:
            sensors.append(inbox_sensor(kit, jobs[1]))
        if pulled_feeds(self.spec):
            jobs.append(pull_job(kit))
            schedules.append(pull_schedule(kit, jobs[-1]))
        return dg.Definitions(assets=[*opening, *closing], jobs=jobs, sensors=sensors, schedules=schedules)

    def _job(self, verb: str, description: str, assets: list[dg.AssetsDefinition]):
        return dg.define_asset_job(
            f"{self.spec.name}__{verb}",
            selection=dg.AssetSelection.assets(*assets),
            description=description,
            # One process for the whole run: a process per step costs more than the step (seconds against tenths).
            executor_def=dg.in_process_executor,
            tags={"flywheel": self.spec.name, "phase": verb},
        )
