"""Layer 3, pure: scoring, the scoring model, the corpus, prompt refresh. Imports neither dagster nor other layers."""
