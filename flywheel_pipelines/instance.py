"""Dagster's own storage for the command line: where it is, and that telemetry stays off.

Here: opening the instance that `make dev`, replays and the UI share, and saying in words why it cannot be opened. Not
here: definitions, or running anything.
"""

from __future__ import annotations

import importlib.util
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from flywheel_pipelines.errors import FlywheelError
from flywheel_pipelines.paths import PROJECT_ROOT, DataPaths

if TYPE_CHECKING:
    import dagster as dg

SETTINGS = "dagster.yaml"


class BooksError(FlywheelError):
    """Dagster's books (runs, events, ticks) cannot be opened, or cannot be read or written now."""


def prepare_home(paths: DataPaths) -> None:
    """Make the Dagster home of this data directory, with the project's settings, and name it in the environment."""
    home = paths.dagster_home
    home.mkdir(parents=True, exist_ok=True)
    settings = PROJECT_ROOT / SETTINGS
    if settings.exists() and not (home / SETTINGS).exists():
        (home / SETTINGS).write_bytes(settings.read_bytes())
    os.environ["DAGSTER_HOME"] = str(home)
    os.environ.setdefault("DAGSTER_DISABLE_TELEMETRY", "1")


def open_instance(paths: DataPaths) -> dg.DagsterInstance:
    """The instance of this data directory, the same one that the UI shows.

    Raises:
        BooksError: its settings want what is not there, or the server that keeps its books does not let us in.
    """
    prepare_home(paths)
    return instance_in(paths.dagster_home)


def instance_in(home: Path, settings: Path | None = None) -> dg.DagsterInstance:
    """The instance of a Dagster home; errors name the file `settings` instead of the home's. Raises BooksError."""
    import dagster as dg

    settings = settings or home / SETTINGS
    _refuse_settings(settings)
    with in_words(settings):
        return dg.DagsterInstance.from_config(str(home))


@contextmanager
def in_words(settings: Path) -> Iterator[None]:
    """While Dagster's books are asked: raises BooksError when their server does not answer, or refuses."""
    from sqlalchemy.exc import SQLAlchemyError

    # Dagster logs each of its five tries; that the last one failed is said below, once.
    disabled = logging.root.manager.disable
    logging.disable(max(disabled, logging.WARNING))
    try:
        yield
    except FlywheelError:
        raise
    except Exception as error:
        reason = next((one for one in _causes(error) if isinstance(one, SQLAlchemyError)), None)
        if reason is None:
            raise
        raise BooksError(
            f"{settings}: Dagster's books cannot be used: {_first_line(reason)}. Start the database server, or "
            "put its address, user and password right, and try again."
        ) from error
    finally:
        logging.disable(disabled)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _first_line(error: Any) -> str:
    """What the database said, without SQL and parameters, which may hold anything."""
    said = str(getattr(error, "orig", None) or error).strip()
    return said.splitlines()[0] if said else type(error).__name__


def _refuse_settings(settings: Path) -> None:
    """Raises BooksError for what Dagster would end over with a page of its own words."""
    if not settings.is_file():
        return
    try:
        storage = (yaml.safe_load(settings.read_text(encoding="utf-8")) or {}).get("storage") or {}
    except (yaml.YAMLError, AttributeError) as error:
        raise BooksError(f"{settings}: it cannot be read ({error}). Take {SETTINGS} of the project anew.") from error
    missing = sorted(name for name in _variables(storage) if not os.environ.get(name))
    if missing:
        raise BooksError(
            f"{settings}: `storage` takes {', '.join(missing)} from the environment, where {_they(missing)} not set. "
            "Set what the services are started with."
        )
    if "postgres" in storage and importlib.util.find_spec("dagster_postgres") is None:
        raise BooksError(
            f"{settings}: `storage: postgres` wants the package dagster-postgres, which is not installed. Install the "
            "extra `server`: pip install 'flywheel-pipelines[server]'."
        )


def _they(names: list[str]) -> str:
    return "it is" if len(names) == 1 else "they are"


def _variables(setting: Any) -> Iterator[str]:
    """The names of the environment variables that a setting is made from."""
    if isinstance(setting, dict):
        if set(setting) == {"env"}:
            yield str(setting["env"])
            return
        for value in setting.values():
            yield from _variables(value)
