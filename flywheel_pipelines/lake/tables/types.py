"""The column types that the tables use, by what they hold."""

import pyarrow as pa

TEXT = pa.string()
REAL = pa.float64()
WHOLE = pa.int64()
FLAG = pa.bool_()
DAY = pa.date32()
INSTANT = pa.timestamp("us", tz="UTC")
SMALL_REAL = pa.float32()
