"""Asking language models, through any OpenAI-compatible endpoint, and paying for each answer once.

Here: the client, its ledger, budget and batches, and the offline writer. Not here: what is asked (`production`).
"""
