"""A contract as a suite of Great Expectations, and what that finds.

Here: the only module that imports Great Expectations, which takes seconds, and only inside functions. Not here: the
rules (`rules`), the frames that it validates (`evidence`, `history`), or what a finding means for a cycle (`findings`).

Nothing leaves the machine: analytics are off by the context's own setting and by the variable that older releases look
at. A test blocks every connection while a suite is made and run.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import pandas as pd

from flywheel_pipelines.errors import FlywheelError
from flywheel_pipelines.feedback.contracts.feed_contract import FeedContract
from flywheel_pipelines.feedback.contracts.rules import Rule

if TYPE_CHECKING:
    import great_expectations as gx

SAMPLES = 3
NO_ANALYTICS = {"GX_ANALYTICS_ENABLED": "False", "GE_USAGE_STATS": "False"}


@dataclass(frozen=True)
class RuleResult:
    """What became of one rule.

    Attributes:
        rule: the rule.
        n_checked: rows (facts or cycles) that it was held against.
        n_failed: rows that break it.
        at_least: whether more may break it than were counted.
        samples: the first rows that break it.
    """

    rule: Rule
    n_checked: int
    n_failed: int
    at_least: bool = False
    samples: tuple[dict[str, Any], ...] = ()

    @property
    def passed(self) -> bool:
        """Whether no row breaks it."""
        return self.n_failed == 0

    @property
    def blocks(self) -> bool:
        """Whether it is broken and keeps cycles from closing."""
        return not self.passed and self.rule.severity == "block"


def to_gx(contract: FeedContract, about: str) -> gx.ExpectationSuite:
    """The rules about `facts` or about `cycles` as a suite; each expectation names its rule in its `meta`."""
    expectations = [
        _expectation_class(expectation.kind)(
            **expectation.arguments,
            meta={"rule": rule.name},
            notes=rule.expected,
            severity="critical" if rule.severity == "block" else "warning",
        )
        for rule in contract.of_frame(about)
        for expectation in rule.expectations
    ]
    name = f"{contract.flywheel}.{contract.name}.{about}"
    return _great_expectations().ExpectationSuite(name=name, expectations=expectations)


def validate(
    contract: FeedContract, frames: Mapping[str, pd.DataFrame], n_rows: Mapping[str, int], *, is_cut: bool = False
) -> list[RuleResult]:
    """Hold frames against the contract; one result per rule whose frame is there, in the contract's order.

    Args:
        contract: the feed's contract.
        frames: `facts` and `cycles`, or one of them; a large feed's facts may be those alone that some rule objects to.
        n_rows: how many rows each of them stands for.
        is_cut: whether more facts have objections than are in the frame.

    Raises:
        FlywheelError: Great Expectations could not hold a frame against a rule; the rule and its words are quoted.
    """
    objections: dict[str, list[int]] = {}
    for about, frame in frames.items():
        if contract.of_frame(about):
            objections |= _objections(to_gx(contract, about), frame)
    results = []
    for rule in contract.rules:
        if rule.about not in frames:
            continue
        positions = objections[rule.name]
        samples = frames[rule.about].iloc[positions[:SAMPLES]]
        results.append(
            RuleResult(
                rule=rule,
                n_checked=n_rows[rule.about],
                n_failed=len(positions),
                at_least=is_cut and rule.about == "facts" and bool(positions),
                samples=tuple(_plain(row) for row in samples.to_dict("records")),
            )
        )
    return results


def _objections(suite: gx.ExpectationSuite, frame: pd.DataFrame) -> dict[str, list[int]]:
    """Per rule, the positions of the rows that break it."""
    frame = frame.reset_index(drop=True)
    broken: dict[str, set[int]] = {str((one.meta or {})["rule"]): set() for one in suite.expectations}
    if not len(frame):
        return {name: [] for name in broken}
    batch = _batch_definition().get_batch(batch_parameters={"dataframe": frame})
    for result in batch.validate(suite, result_format="COMPLETE").results:
        assert result.expectation_config is not None
        rule = str((result.expectation_config.meta or {})["rule"])
        if result.exception_info and _raised(result.exception_info):
            raise FlywheelError(
                f"Suite {suite.name}, rule {rule}: Great Expectations could not hold the rows against it: "
                f"{_raised(result.exception_info)}. The frame has the columns {', '.join(map(str, frame.columns))}."
            )
        if not result.success:
            broken[rule].update(result.result["unexpected_index_list"])
    return {name: sorted(positions) for name, positions in broken.items()}


def _raised(exception_info: Mapping[str, Any]) -> str | None:
    """The message of an exception; it stands at the top or one level below, by metric."""
    nested = [one for one in exception_info.values() if isinstance(one, Mapping)]
    for info in (exception_info, *nested):
        if info.get("raised_exception"):
            return str(info.get("exception_message"))
    return None


def _plain(row: Mapping[Any, Any]) -> dict[str, Any]:
    """A row without the columns that only its frame needs; what is missing is None."""
    return {
        str(name): None if pd.isna(value) else value
        for name, value in row.items()
        if name not in ("is_suspect", "n_alike") and not isinstance(value, list)
    }


def _expectation_class(kind: str) -> Any:
    gx = _great_expectations()
    return getattr(gx.expectations, "".join(part.capitalize() for part in kind.split("_")))


@cache
def _batch_definition() -> Any:
    """Where frames are handed over: a context that lives in memory, made once per process."""
    gx = _great_expectations()
    from great_expectations.data_context.types.base import (
        DataContextConfig,
        InMemoryStoreBackendDefaults,
        ProgressBarsConfig,
    )

    config = DataContextConfig(
        # No folder for pages of Great Expectations' own: ours are made by `report.data_docs`.
        store_backend_defaults=InMemoryStoreBackendDefaults(init_temp_docs_sites=False),
        progress_bars=ProgressBarsConfig(globally=False),
        analytics_enabled=False,
    )
    context = gx.get_context(mode="ephemeral", project_config=config)
    asset = context.data_sources.add_pandas("lake").add_dataframe_asset("rows")
    return asset.add_batch_definition_whole_dataframe("frame")


def _great_expectations() -> Any:
    # Before the import, which is when the variable is read.
    os.environ.update(NO_ANALYTICS)
    import great_expectations as gx

    return gx
