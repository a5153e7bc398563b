"""flywheel-pipelines: every AI output fed back, scored against a floor, and measured against a control arm."""
