"""The asset that makes training sets, for flywheels that have the section `training_sets`. Wiring only."""

import dagster as dg

from flywheel_pipelines.components.kit import AssetKit, result
from flywheel_pipelines.components.resources import LakeResource
from flywheel_pipelines.lake import tables
from flywheel_pipelines.loop.training import make_training_sets
from flywheel_pipelines.paths import DataPaths


def training_asset(kit: AssetKit) -> dg.AssetsDefinition:
    """The asset that fills `training_examples` and writes `data/training`."""
    assert kit.spec.training_sets is not None

    @kit.asset(
        tables.TRAINING_EXAMPLES,
        deps=[tables.SCORED_OUTPUTS],
        many_cycles_per_run=True,
    )
    def training_examples(context: dg.AssetExecutionContext, lake: LakeResource) -> dg.MaterializeResult:
        with kit.step(lake) as recorder:
            folder = DataPaths.from_environment().training
            return result(recorder, make_training_sets(kit.flywheel, recorder, kit.cycles(context), folder))

    return training_examples
