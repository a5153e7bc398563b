"""The lake: typed tables as Hive-partitioned Parquet, and the DuckDB file that is published from them."""
