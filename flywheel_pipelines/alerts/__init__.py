"""Telling people what needs them: what is worth an alert, in words, and the channels it goes out by.

Here: messages, Slack's incoming webhooks, e-mail. Where to send comes from the environment alone. Not here: noticing
(`components/alerting.py`), or Dagster.
"""
