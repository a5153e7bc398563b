"""Talking to language models: the client, the ledger of what was asked, the budget, batches, the offline writer."""
