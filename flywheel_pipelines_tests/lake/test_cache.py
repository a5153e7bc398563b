"""The cache never serves what a partition no longer holds, and stays within its bound."""

from pathlib import Path

import pyarrow as pa
import pytest

from flywheel_pipelines.lake.cache import PartitionCache
from flywheel_pipelines.lake.store import write_atomically


def numbers(*values: int) -> pa.Table:
    return pa.table({"number": pa.array(values, pa.int64())})


def test_an_unchanged_partition_is_read_once(tmp_path: Path) -> None:
    cache, path = PartitionCache(), tmp_path / "part.parquet"
    write_atomically(path, numbers(1))
    assert cache.read(path) is cache.read(path)


def test_a_replaced_partition_is_read_again_even_when_it_has_the_same_size(tmp_path: Path) -> None:
    cache, path = PartitionCache(), tmp_path / "part.parquet"
    for value in range(50):
        write_atomically(path, numbers(value))
        assert cache.read(path).column("number").to_pylist() == [value]


def test_a_removed_partition_is_not_served(tmp_path: Path) -> None:
    cache, path = PartitionCache(), tmp_path / "part.parquet"
    write_atomically(path, numbers(1))
    cache.read(path)
    path.unlink()
    with pytest.raises(FileNotFoundError):
        cache.read(path)


def test_the_least_recently_used_is_dropped_first(tmp_path: Path) -> None:
    paths = [tmp_path / f"{name}.parquet" for name in "abc"]
    for path in paths:
        write_atomically(path, numbers(*range(100)))
    size = PartitionCache().read(paths[0]).nbytes
    cache = PartitionCache(max_bytes=2 * size, largest_kept=size)
    first, second = cache.read(paths[0]), cache.read(paths[1])
    assert cache.read(paths[0]) is first
    cache.read(paths[2])
    assert cache.read(paths[0]) is first
    assert cache.read(paths[1]) is not second


def test_a_large_partition_is_not_kept(tmp_path: Path) -> None:
    large = numbers(*range(1000))
    cache, path = PartitionCache(largest_kept=large.nbytes - 1), tmp_path / "part.parquet"
    write_atomically(path, large)
    assert cache.read(path) is not cache.read(path)
