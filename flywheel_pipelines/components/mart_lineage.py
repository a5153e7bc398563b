"""Column lineage of the marts, as the UI shows it.

Here: wiring. Not here: reading it from the models (`lake/column_lineage.py`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import dagster as dg

from flywheel_pipelines.lake.column_lineage import Source

LINEAGE = "dagster/column_lineage"


def table_lineage(
    columns: Mapping[str, Collection[Source]], group: str, flywheels: Mapping[str, Collection[str]]
) -> dg.TableColumnLineage:
    """What each column of a mart is made from: columns of other marts, and of the lake's tables in every flywheel.

    Args:
        columns: the columns of the mart.
        group: the first part of the keys of marts.
        flywheels: by table of the lake that is an asset of its own, the flywheels that have it.
    """

    def dependencies(source: Source) -> list[dg.TableColumnDep]:
        if source.is_mart:
            return [dg.TableColumnDep(dg.AssetKey([group, source.table]), source.column)]
        names = sorted(flywheels.get(source.table, ()))
        return [dg.TableColumnDep(dg.AssetKey([name, source.table]), source.column) for name in names]

    return dg.TableColumnLineage(
        {name: [one for source in sorted(sources) for one in dependencies(source)] for name, sources in columns.items()}
    )
