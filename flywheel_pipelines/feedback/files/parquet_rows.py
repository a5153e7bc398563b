"""Rows of a Parquet file as columns of text, so that one set of checks serves every file format.

Here: the header, the columns' types, and how dates and numbers are written as text. Not here: what cells mean.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from flywheel_pipelines.errors import InputFileError
from flywheel_pipelines.feedback.files.cells import RowProblem, text_array, too_long

CHUNK_ROWS = 20_000
# UnicodeDecodeError: a flipped bit in a column's name; pyarrow decodes names without translating the error.
_BROKEN = (pa.ArrowException, OSError, UnicodeDecodeError)


class ParquetRows:
    """Reads rows chunk by chunk; `broken_cells` fills up on the way (a Parquet file has no broken rows)."""

    def __init__(self, path: Path, columns: Sequence[str], *, date_format: str, limit: int) -> None:
        """Name what to read. Date columns are written with `date_format`; `limit` is the most characters per cell."""
        self.n_rows = 0
        self.broken_rows: list[RowProblem] = []
        self.broken_cells: list[RowProblem] = []
        self._path, self._columns, self._date_format, self._limit = path, columns, date_format, limit

    def chunks(self) -> Iterator[list[pa.Array]]:
        """Row numbers and then one text column per wanted column, for some thousands of rows at a time.

        Raises:
            InputFileError: the file is cut off, or a column holds lists or records.
        """
        try:
            with pq.ParquetFile(self._path) as file:
                self._check_types(file.schema_arrow)
                for batch in file.iter_batches(batch_size=CHUNK_ROWS, columns=list(self._columns)):
                    rows = range(self.n_rows + 1, self.n_rows + batch.num_rows + 1)
                    self.n_rows += batch.num_rows
                    texts = [self._texts(batch.column(name), name, rows) for name in self._columns]
                    yield [pa.array(rows, pa.int64()), *texts]
        except _BROKEN as error:
            raise _not_parquet(self._path, error) from error

    def _check_types(self, schema: pa.Schema) -> None:
        for name in self._columns:
            kind = schema.field(name).type
            if pa.types.is_nested(kind):
                raise InputFileError(
                    f"{self._path}: column {name} holds {kind}, expected text, numbers or dates. "
                    "Write one value per row before handing it in."
                )

    def _texts(self, array: pa.Array, name: str, rows: range) -> pa.Array:
        values = [
            self._checked(value, name, row)
            for value, row in zip(_as_texts(array, self._date_format), rows, strict=True)
        ]
        texts, problems = text_array(values, rows, name)
        self.broken_cells.extend(problems)
        return texts

    def _checked(self, value: str | None, name: str, row: int) -> str | None:
        if value is not None and len(value) > self._limit:
            self.broken_cells.append(too_long(row, name, value, self._limit))
            return None
        return value


def read_parquet_header(path: Path) -> list[str]:
    """Column names. Raises InputFileError when the file is no whole Parquet file."""
    try:
        return pq.read_schema(path).names
    except _BROKEN as error:
        raise _not_parquet(path, error) from error


def _as_texts(array: pa.Array, date_format: str) -> list[str | None]:
    kind = array.type.value_type if pa.types.is_dictionary(array.type) else array.type
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        return pc.call_function("strftime", [array], pc.StrftimeOptions(format=date_format)).to_pylist()
    if pa.types.is_floating(kind):
        return [None if value is None else _number_as_text(value) for value in array.to_pylist()]
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_binary(kind):
        try:
            return [_decoded(value) for value in array.to_pylist()]
        except UnicodeDecodeError:
            return [_decoded(value) for value in array.cast(pa.large_binary()).to_pylist()]
    if pa.types.is_decimal(kind):
        return [None if value is None else format(value, "f") for value in array.to_pylist()]
    return [None if value is None else str(value) for value in array.to_pylist()]


def _number_as_text(value: float) -> str:
    # Whole counts arrive as doubles wherever a column once held a null; 1000000.0 is to read as 1000000, not 1e+06.
    # Small shares arrive as 1e-05, which is the exponent of Python and not of a spreadsheet that broke an id.
    if not math.isfinite(value) or not 1e-15 < abs(value) < 1e15:
        return "0" if value == 0 else repr(value)
    return f"{value:.0f}" if value.is_integer() else format(Decimal(repr(value)), "f")


def _decoded(value: str | bytes | None) -> str | None:
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value


def _not_parquet(path: Path, error: Exception) -> InputFileError:
    return InputFileError(
        f"{path}: is not a whole Parquet file ({str(error).splitlines()[0]}). Nothing was taken from it. "
        "Copy or export it again."
    )
