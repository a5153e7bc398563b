"""What is measured, one module and one command each; `python -m benchmarks` runs them all and prints one table.

Here: comparisons, made side by side in one run, of this project with the plainest thing that could stand in its place.
Not here: tests. A timing depends on the machine and its neighbours, so no test fails on one.
"""
