"""`python -m flywheel_pipelines.cli`."""

from flywheel_pipelines.cli import main

if __name__ == "__main__":
    main()
