"""The offline writer: an OpenAI-compatible server on loopback that writes from a grammar of choices, with no model.

Here: the grammar, reading prompts, filling schemas, and the server. Not here: the client, which is the same as for any
other endpoint (`llm`), and who likes what (`simulation`). What it writes is not the work of a language model; the model
is named `offline-writer` wherever one is named.
"""
