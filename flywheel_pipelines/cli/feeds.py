"""`flywheel feeds`: the export formats that come with the project, and how sure they are.

Not here: the presets (`spec.presets`), or what becomes of files (`feedback`).
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from flywheel_pipelines.cli.shared import Json, app, out, print_json
from flywheel_pipelines.errors import FlywheelError


@app.command()
def feeds(
    preset: Annotated[str | None, typer.Argument(help="A preset; without it, all of them are listed.")] = None,
    as_json: Json = False,
) -> None:
    """Export formats of platforms: all presets with how sure they are, or the YAML of one to paste."""
    from flywheel_pipelines.spec.presets import CERTAINTIES, preset_named, presets
    from flywheel_pipelines.terminal import rows_table

    if preset is None:
        known = presets()
        if as_json:
            print_json({name: found.model_dump(mode="json") for name, found in known.items()})
            return
        rows = [
            (name, found.feed["kind"], found.header_certainty, found.values_certainty, found.title)
            for name, found in known.items()
        ]
        out.print(rows_table(["preset", "kind", "header", "values", "export"], rows))
        out.print(f"How sure: {'; '.join(f'{letter} {words}' for letter, words in CERTAINTIES.items())}.")
        out.print(
            "flywheel feeds NAME prints the YAML to paste. Headers differ by account: columns are yours to change."
        )
        return
    try:
        found = preset_named(preset)
    except ValueError as error:
        raise FlywheelError(str(error)) from None
    if as_json:
        print_json(found.model_dump(mode="json"))
        return
    sys.stdout.write(found.yaml_to_paste(preset))
