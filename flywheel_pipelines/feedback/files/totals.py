"""The row of totals that analytics exports end with, recognised by its sums and never by its looks alone.

Not here: any other row; what only looks like a total goes on as a row and is judged like one.
"""

from __future__ import annotations

import re
from decimal import Decimal

import pyarrow as pa

_NAMES = frozenset({"", "total", "totals", "grand total"})
_NUMBER = re.compile(r"[0-9.,:\u00a0\u202f ]+%?|N/A|-+")
_COUNT = re.compile(r"[0-9]{1,3}(?:[,.\u00a0\u202f ][0-9]{3})+|[0-9]{1,15}")


def without_total_row(rows: pa.Table, naming: str | None) -> tuple[pa.Table, str | None]:
    """The rows without a last one that holds the totals, and what to say of it; all rows when it holds none.

    It holds the totals when its naming cell is empty or says so, all others (two at least) have a name, at least one
    column of counts adds up to it while none does not, and its other cells are blank, shares, decimals or durations.

    Args:
        rows: row numbers and columns of text.
        naming: the column that names the rows.
    """
    if naming is None or rows.num_rows < 3:
        return rows, None
    last = rows.slice(rows.num_rows - 1).to_pylist()[0]
    if (last[naming] or "").strip().casefold() not in _NAMES:
        return rows, None
    others = rows.slice(0, rows.num_rows - 1)
    if any(not (name or "").strip() for name in others.column(naming).to_pylist()):
        return rows, None
    cells = [(cell or "").strip() for name, cell in last.items() if name in rows.column_names[1:] and name != naming]
    if not all(cell.casefold() in _NAMES or _NUMBER.fullmatch(cell) for cell in cells):
        return rows, None
    adds_up = [
        _adds_up(others.column(name).to_pylist(), last[name])
        for name in rows.column_names[1:]
        if name != naming and _COUNT.fullmatch((last[name] or "").strip())
    ]
    if not adds_up or not all(adds_up):
        return rows, None
    return others, f"its last row (row {last[rows.column_names[0]]}) holds the totals of the others and was left out"


def _adds_up(cells: list[str | None], total: str) -> bool:
    found = [(cell or "").strip() for cell in cells]
    return all(map(_COUNT.fullmatch, found)) and sum(map(_number, found)) == _number(total.strip())


def _number(text: str) -> Decimal:
    return Decimal(re.sub(r"[^0-9]", "", text))
