"""Layer 1, pure: briefs, arms, requests, guardrails and publishing. Frames and specs in, frames out; no Dagster.

Only `outbox.write_outbox` writes files: what the world picks up.
"""
