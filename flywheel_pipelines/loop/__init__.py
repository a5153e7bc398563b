"""The steps of a cycle on a lake: each reads partitions, calls a pure function of a layer, and writes partitions.

Here: what Dagster's assets do, without Dagster, so that simulations and benchmarks take the very same steps. Not here:
assets, checks and schedules (`components`), and the logic of a step (`production`, `feedback`, `learning`, `momentum`).
"""
