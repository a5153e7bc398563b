"""What DuckDB may hold while it builds: less in a container than on its machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from flywheel_pipelines.lake import dbt


@pytest.mark.parametrize(
    ("said", "is_limit"),
    [("104857600\n", True), ("max\n", False), ("9223372036854771712\n", False), (None, False)],
    ids=["a limit", "none in version 2", "none in version 1", "no container"],
)
def test_a_limit_of_the_container_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str | None, is_limit: bool
):
    monkeypatch.setattr(dbt, "CGROUP_LIMITS", ())
    of_machine = dbt.memory()
    assert of_machine > 104857600
    path = tmp_path / "memory.max"
    if said is not None:
        path.write_text(said)
    monkeypatch.setattr(dbt, "CGROUP_LIMITS", (tmp_path / "not there", path))
    assert dbt.memory() == (104857600 if is_limit else of_machine)
