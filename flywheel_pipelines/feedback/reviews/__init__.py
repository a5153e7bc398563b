"""Reviews: what people made of drafts, and the sheets they do it in.

Here: how much of a draft is left, the latest-known review of an output, what reviews count as, and review sheets. Not
here: reading a row of a reviews feed (`feedback.feeds.reviews`), or when any of it is written (`loop.closing`).
"""
