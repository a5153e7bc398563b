"""`python -m flywheel_pipelines.cli`."""

from flywheel_pipelines.cli import main

main()
