"""The arrows between modules, read from the source: layers stay pure, wiring stays at the edge, imports do nothing.

The rule, for the four layers production, feedback, learning and momentum: of this package a layer imports itself, the
lake, and the small modules that everything may use; never another layer, never Dagster.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGE = "flywheel_pipelines"
PACKAGE_DIR = Path(__file__).resolve().parent.parent / PACKAGE
LAYERS = ("production", "feedback", "learning", "momentum")
COMMON = (
    "spec", "cycles", "errors", "paths", "chat", "prompt_text", "similarity", "sequential", "personal_data",
    "metric_words", "expressions", "constraints", "passages",
)  # fmt: skip
PURE = (*LAYERS, "lake", *COMMON, "starter", "overview", "published", "terminal", "alerts")
WITHOUT_WIRING = ("llm", "loop")
OF_THE_CLIENT = ("llm", "lake", "spec", "chat", "errors", "similarity", "paths", "prompt_text", "passages")
"""What the client of language models may import of this package."""
SIMULATION_WITH_DAGSTER = ("dagster_runs", "season", "insight_season", "demo", "replay", "report")
"""Simulations that run whole flywheels; the audience, its market and its writer know nothing of Dagster."""
MAY_IMPORT_COMPONENTS = ("components", "defs")
NETWORK = ("aiohttp", "ftplib", "http", "httpx", "openai", "requests", "smtplib", "socket", "urllib")
CALLS_THAT_TOUCH_THE_WORLD = {
    "open", "print", "input", "connect", "run", "Popen", "check_output", "urlopen", "mkdir", "makedirs", "unlink",
    "read_text", "read_bytes", "write_text", "write_bytes", "read_csv", "read_parquet", "read_table", "write_table",
    "exists", "iterdir", "glob", "rglob", "listdir", "remove", "rename", "replace_file", "system",
}  # fmt: skip


@dataclass(frozen=True)
class Arrow:
    """One import: from which module to which, whether only for types, and whether it runs when the module is loaded."""

    source: str
    line: int
    target: str
    for_types: bool
    at_import: bool

    @property
    def part(self) -> str:
        """The part of the package that imports: a folder, or a module beside them."""
        return part_of(self.source)


def part_of(module: str) -> str:
    """The part of this package that a module belongs to; what others call `cli` is none of them."""
    names = module.split(".")
    return names[1] if len(names) > 1 and names[0] == PACKAGE else ""


def module_name(path: Path, root: Path) -> str:
    names = path.relative_to(root.parent).with_suffix("").parts
    return ".".join(names[:-1] if names[-1] == "__init__" else names)


def modules(root: Path) -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(root.rglob("*.py")):
        yield module_name(path, root), ast.parse(path.read_text(encoding="utf-8"), str(path))


def arrows(root: Path) -> list[Arrow]:
    """Every import statement of the package below `root`."""
    return [arrow for module, tree in modules(root) for arrow in _arrows(module, tree.body, True, False)]


def _arrows(module: str, body: Iterable[ast.stmt], at_import: bool, for_types: bool) -> Iterator[Arrow]:
    for node in body:
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            # A relative import stays in its own folder, or is resolved as far as its dots go.
            parts = module.split(".")[: -node.level] if node.level else []
            base = ".".join([*parts, *([node.module] if node.module else [])])
            targets = [f"{base}.{alias.name}" for alias in node.names]
        else:
            inside = at_import and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            typing_only = for_types or (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test))
            yield from _arrows(module, _statements_in(node), inside, typing_only)
            continue
        for target in targets:
            yield Arrow(module, node.lineno, target, for_types, at_import)


def _statements_in(node: ast.stmt) -> Iterator[ast.stmt]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.stmt):
            yield child
        elif isinstance(child, ast.ExceptHandler | ast.match_case):
            yield from child.body


def forbidden_by_layers(found: Iterable[Arrow]) -> list[Arrow]:
    """Imports of a layer that lead to another layer, to the wiring, or to Dagster."""
    return [
        arrow
        for arrow in found
        if arrow.part in LAYERS
        and (
            arrow.target.split(".")[0].startswith("dagster")
            or (arrow.target.split(".")[0] == PACKAGE and part_of(arrow.target) not in (arrow.part, "lake", *COMMON))
        )
    ]


def forbidden_to_reach_components(found: Iterable[Arrow]) -> list[Arrow]:
    """Imports of the wiring by anything but the wiring and its instances."""
    return [
        arrow
        for arrow in found
        if f"{arrow.target}.".startswith(f"{PACKAGE}.components.") and arrow.part not in MAY_IMPORT_COMPONENTS
    ]


def forbidden_to_reach_dagster(found: Iterable[Arrow]) -> list[Arrow]:
    """Imports of Dagster or the wiring by the client, the loop's steps, and the simulations that run no jobs."""
    return [
        arrow
        for arrow in found
        if (arrow.target.startswith("dagster") or f"{arrow.target}.".startswith(f"{PACKAGE}.components."))
        and (
            arrow.part in WITHOUT_WIRING
            or (arrow.part == "simulation" and arrow.source.split(".")[-1] not in SIMULATION_WITH_DAGSTER)
        )
    ]


def forbidden_to_the_client(found: Iterable[Arrow]) -> list[Arrow]:
    """Imports of the client of language models that lead to the rest of the package."""
    return [
        arrow
        for arrow in found
        if arrow.part == "llm" and arrow.target.split(".")[0] == PACKAGE and part_of(arrow.target) not in OF_THE_CLIENT
    ]


def calls_at_import(root: Path) -> list[str]:
    """Calls outside functions whose name says that they read, write, print or connect."""
    found = []
    for module, tree in modules(root):
        for call in _calls_when_loaded(tree):
            name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
            if name in CALLS_THAT_TOUCH_THE_WORLD:
                found.append(f"{module}:{call.lineno} {ast.unparse(call)}")
    return found


def _calls_when_loaded(node: ast.AST) -> Iterator[ast.Call]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        # Decorators and defaults run when the module is loaded, the body does not.
        parts: list[ast.AST] = [*node.args.defaults, *(d for d in node.args.kw_defaults if d)]
        parts += [] if isinstance(node, ast.Lambda) else node.decorator_list
    elif isinstance(node, ast.If) and "__name__" in ast.unparse(node.test):
        return
    else:
        parts = list(ast.iter_child_nodes(node))
    if isinstance(node, ast.Call):
        yield node
    for part in parts:
        yield from _calls_when_loaded(part)


@pytest.fixture(scope="module")
def found() -> list[Arrow]:
    return arrows(PACKAGE_DIR)


def test_every_layer_is_read(found: list[Arrow]) -> None:
    assert {*LAYERS, "components", "lake"} <= {arrow.part for arrow in found}


def test_layers_import_neither_each_other_nor_dagster(found: list[Arrow]) -> None:
    assert forbidden_by_layers(found) == []


def test_only_instances_import_the_wiring(found: list[Arrow]) -> None:
    assert forbidden_to_reach_components(found) == []


def test_client_steps_and_audience_know_nothing_of_dagster(found: list[Arrow]) -> None:
    assert forbidden_to_reach_dagster(found) == []


def test_the_client_of_language_models_knows_nothing_of_the_loop(found: list[Arrow]) -> None:
    assert forbidden_to_the_client(found) == []


def test_the_steps_of_the_loop_know_neither_simulations_nor_commands(found: list[Arrow]) -> None:
    beyond = ("simulation", "cli", "report")
    assert [arrow for arrow in found if arrow.part == "loop" and part_of(arrow.target) in beyond] == []


def test_the_lake_and_the_contract_know_no_layer(found: list[Arrow]) -> None:
    below = [arrow for arrow in found if arrow.part in ("lake", *COMMON)]
    assert [arrow for arrow in below if part_of(arrow.target) in (*LAYERS, "components", "simulation", "cli")] == []


def test_control_a_part_is_one_of_this_package() -> None:
    assert [part_of(name) for name in (f"{PACKAGE}.cli.looking", "dbt.cli.main", PACKAGE)] == ["cli", "", ""]


def test_dagster_is_imported_at_load_only_by_the_edge(found: list[Arrow]) -> None:
    """So that `flywheel status` and `flywheel sql` need not wait for it."""
    loaded = [
        arrow
        for arrow in found
        if arrow.target.startswith("dagster") and arrow.at_import and not arrow.for_types and arrow.part in PURE
    ]
    assert loaded == []


def reaches_a_network(target: str) -> bool:
    # urllib.parse takes addresses apart and opens none.
    return target.split(".")[0] in NETWORK and not target.startswith("urllib.parse")


def test_control_only_taking_addresses_apart_is_no_network() -> None:
    assert not reaches_a_network("urllib.parse.urlsplit")
    assert all(map(reaches_a_network, ("urllib", "urllib.request", "http.client")))


def test_nothing_imports_a_network_library(found: list[Arrow]) -> None:
    """Only the parts that talk to models, and to people, do."""
    assert [arrow for arrow in found if reaches_a_network(arrow.target) and arrow.part not in ("llm", "alerts")] == []


def test_nothing_is_opened_printed_or_connected_at_import() -> None:
    assert calls_at_import(PACKAGE_DIR) == []


def test_importing_everything_but_the_instances_writes_nothing_and_opens_no_socket(tmp_path: Path) -> None:
    """The same by trying it: every module in a process that refuses sockets and counts what is opened for writing."""
    names = [name for name, _ in modules(PACKAGE_DIR) if ".defs" not in name]
    script = (
        "import sys, importlib\n"
        "seen = []\n"
        "def hook(event, args):\n"
        "    if event in ('socket.connect', 'socket.bind') or (event == 'open' and isinstance(args[1], str)\n"
        "            and set(args[1]) & set('wax+') and '__pycache__' not in str(args[0])\n"
        "            and str(args[0]) != '/dev/null'):\n"
        "        seen.append((event, str(args)))\n"
        "sys.addaudithook(hook)\n"
        f"for name in {names!r}:\n"
        "    importlib.import_module(name)\n"
        "print(seen)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=PACKAGE_DIR.parent, check=True
    )
    assert done.stdout.strip() == "[]"


def plant(root: Path, module: str, text: str) -> Path:
    """A package with one module in it."""
    path = root / PACKAGE / f"{module}.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return root / PACKAGE


@pytest.mark.parametrize(
    "line",
    [
        "import dagster",
        "import dagster as dg",
        "from dagster_duckdb import DuckDBResource",
        "from flywheel_pipelines.momentum import lift",
        "import flywheel_pipelines.momentum.lift",
        "from flywheel_pipelines import momentum",
        "from flywheel_pipelines.components.kit import AssetKit",
        "from ..momentum import lift",
        "def later():\n    from flywheel_pipelines.momentum import lift",
        "if True:\n    try:\n        import dagster\n    except ImportError:\n        pass",
    ],
)
def test_control_a_planted_violation_of_a_layer_is_found(tmp_path: Path, line: str) -> None:
    assert len(forbidden_by_layers(arrows(plant(tmp_path, "learning/bad", line)))) == 1


def test_control_what_a_layer_may_import_is_not_taken_for_a_violation(tmp_path: Path) -> None:
    text = (
        "from flywheel_pipelines.spec import FloorSpec\nfrom flywheel_pipelines.learning import floor\nimport duckdb\n"
    )
    assert forbidden_by_layers(arrows(plant(tmp_path, "learning/good", text))) == []


def test_control_a_planted_import_of_the_wiring_is_found(tmp_path: Path) -> None:
    text = "from flywheel_pipelines.components import FlywheelComponent\n"
    assert len(forbidden_to_reach_components(arrows(plant(tmp_path, "cli", text)))) == 1
    assert (
        len(forbidden_to_reach_components(arrows(plant(tmp_path, "cli", "from flywheel_pipelines import components"))))
        == 1
    )


@pytest.mark.parametrize("module", ["llm/bad", "llm/offline/bad", "loop/bad", "simulation/bad"])
@pytest.mark.parametrize(
    "line", ["import dagster as dg", "from flywheel_pipelines.components.resources import LlmResource"]
)
def test_control_a_planted_import_of_dagster_is_found(tmp_path: Path, module: str, line: str) -> None:
    assert len(forbidden_to_reach_dagster(arrows(plant(tmp_path, module, line)))) == 1


@pytest.mark.parametrize("module", ["components/good", *(f"simulation/{name}" for name in SIMULATION_WITH_DAGSTER)])
def test_control_the_edge_may_import_dagster(tmp_path: Path, module: str) -> None:
    assert forbidden_to_reach_dagster(arrows(plant(tmp_path, module, "import dagster as dg"))) == []


@pytest.mark.parametrize(
    "line", ["from flywheel_pipelines.loop import opening", "from flywheel_pipelines import cycles"]
)
def test_control_a_planted_import_of_the_client_is_found(tmp_path: Path, line: str) -> None:
    assert len(forbidden_to_the_client(arrows(plant(tmp_path, "llm/offline/bad", line)))) == 1


@pytest.mark.parametrize(
    "line",
    ["DATA = open('x').read()", "class A:\n    text = Path('x').read_text()", "def f(a=duckdb.connect()):\n    pass"],
)
def test_control_a_planted_file_at_import_is_found(tmp_path: Path, line: str) -> None:
    assert len(calls_at_import(plant(tmp_path, "feedback/bad", line))) >= 1


def test_control_the_same_call_inside_a_function_is_fine(tmp_path: Path) -> None:
    assert calls_at_import(plant(tmp_path, "feedback/good", "def f():\n    return open('x').read()\n")) == []
