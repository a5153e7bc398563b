"""`FlywheelComponent`: one YAML becomes the assets and jobs of one flywheel. Wiring only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import BaseModel

from flywheel_pipelines.components.automation import automation
from flywheel_pipelines.components.batch_assets import batch_asset
from flywheel_pipelines.components.kit import AssetKit
from flywheel_pipelines.components.learning_assets import learning_assets
from flywheel_pipelines.components.production_assets import production_assets
from flywheel_pipelines.components.pull_job import pull_job
from flywheel_pipelines.components.scaffold import FlywheelScaffolder
from flywheel_pipelines.loop.pulling import pulled_feeds
from flywheel_pipelines.spec import FlywheelSpec


@dg.scaffold_with(FlywheelScaffolder)
class FlywheelComponent(dg.Component):
    """One flywheel: outputs are produced, measured, scored against a floor fixed beforehand, and fed back.

    Makes the assets `[name, table]` of one loop in the group `name`, and the jobs `<name>__open` (production of a
    cycle), `<name>__close` (feedback and learning of one cycle or a range of cycles in one run) and `<name>__catch_up`
    (both, for cycles of the past). `automation.py` says what starts them by itself.
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
        if kit.flywheel.uses_batches:
            opening.append(batch_asset(kit))
        jobs: dict[str, Any] = {
            "open": kit.job("open", "Produce a cycle: briefs, manifest, outputs, what goes out.", opening),
            "close": kit.job("close", "Learn from a cycle, or a range in one run: metrics to momentum.", closing),
        }
        if kit.flywheel.uses_batches:
            # What follows the manifest: a cycle that waits for its batch is not pinned anew.
            pinned = ("briefs", "proposed_prompt", "cycle_manifest")
            rest = [asset for asset in opening if asset.key.path[-1] not in pinned]
            jobs["collect"] = kit.job("collect", "Go on with a cycle whose batch was answered.", rest)
        else:
            both = "Open a cycle and close it in one run. A backfill over a range of the past goes in order."
            jobs["catch_up"] = kit.job("catch_up", both, [*opening, *closing])
        if pulled_feeds(self.spec):
            jobs["pull"] = pull_job(kit)
        sensors, schedules = automation(kit, jobs)
        # The component loader adds the YAML's line; this is where the steps are.
        assets = dg.with_source_code_references([*opening, *closing])
        return dg.Definitions(assets=assets, jobs=list(jobs.values()), sensors=sensors, schedules=schedules)
