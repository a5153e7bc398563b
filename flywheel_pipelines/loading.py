"""Loading everything below `defs/`, so that one broken YAML names itself and takes nothing else down.

Dagster's own loader is tried first. It gives up as a whole when one file is wrong, and then each folder is loaded by
itself: the good ones as ever, and for each broken one an asset in the group `broken`, whose description is the error,
so that the UI shows it. Who checks a project wants it refused instead: with FLYWHEEL_REFUSE_BROKEN in the environment,
as `make check` has it, the first broken folder ends the loading.

Here: that, and nothing about what is loaded. What is used of Dagster below its public interface is used only when
something is broken.
"""

from __future__ import annotations

import logging
import os
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path

import dagster as dg
from dagster.components.core.component_tree import ComponentTree
from dagster.components.core.decl import ComponentDecl, build_filesystem_component_decl_from_context
from dagster.components.core.defs_module import ComponentPath, DefsFolderComponent, context_with_injected_scope

from flywheel_pipelines.git_links import linked
from flywheel_pipelines.paths import PROJECT_ROOT

BROKEN = "broken"
REFUSE = "FLYWHEEL_REFUSE_BROKEN"
PASSED_OVER = re.compile(r"__pycache__|\..*|__init__\.py")


def load_project(tree: ComponentTree) -> dg.Definitions:
    """The definitions of a project; broken folders of it as assets that say what is wrong with them."""
    with warnings.catch_warnings():
        # Whoever runs a command can do nothing about what this project uses of Dagster while it is called beta.
        warnings.simplefilter("ignore", dg.BetaWarning)
        return linked(_load(tree), os.environ)


def with_folder(project: dg.Definitions, folder: Path) -> dg.Definitions:
    """A project's definitions, and those of one more folder that lies anywhere, such as a recipe's."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)
        return dg.Definitions.merge(project, _load_one(ComponentTree.for_project(PROJECT_ROOT), folder))


def _load(tree: ComponentTree) -> dg.Definitions:
    try:
        return tree.build_defs()
    except Exception as error:  # a file may be wrong in any way, down to not being YAML
        if os.environ.get(REFUSE):
            raise
        whole = error
    parts, broken = [], dict[str, str]()
    for path in _entries(tree.defs_module_path):
        try:
            parts.append(_load_one(tree, path))
        except Exception as error:  # whatever is wrong with one file concerns that file alone
            broken[path.name] = _words(error)
    if not broken:
        # Each of them loads, so that what is wrong lies between them.
        raise whole
    for name, words in broken.items():
        logging.getLogger("dagster").error("%s was not loaded: %s", name, words)
    return dg.Definitions.merge(*parts, dg.Definitions(assets=_signs(broken)))


def _entries(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.iterdir()) if not PASSED_OVER.fullmatch(path.name))


def _load_one(tree: ComponentTree, path: Path) -> dg.Definitions:
    """What one folder or file below `defs/` defines, in a tree in which there is nothing else."""
    alone = ComponentTree(
        defs_module=tree.defs_module, project_root=tree.project_root, code_location_name=tree.code_location_name
    )
    location = ComponentPath.from_path(path)
    context = context_with_injected_scope(alone.decl_load_context, DefsFolderComponent, None)
    declared = build_filesystem_component_decl_from_context(context.for_component_loc(location))
    if declared is None:
        return dg.Definitions()
    for one, declaration in _all(declared):
        alone.state_tracker.set_cache_data(one, component_decl=declaration)
    return alone.build_defs(location)


def _all(declared: ComponentDecl) -> Iterator[tuple[ComponentPath, ComponentDecl]]:
    return iter(declared.iterate_loc_component_decl_pairs())  # type: ignore[return-value]


def _signs(broken: Mapping[str, str]) -> list[dg.AssetSpec]:
    return [
        dg.AssetSpec(
            [BROKEN, re.sub(r"[^A-Za-z0-9_]", "_", name)],
            description=f"defs/{name} was not loaded. What it says must be put right first:\n\n```\n{words}\n```",
            group_name=BROKEN,
            kinds={"yaml"},
        )
        for name, words in broken.items()
    ]


def _words(error: BaseException) -> str:
    """The innermost reason, which names the file, the line and the key."""
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error).strip() or type(error).__name__
