"""Sending an alert: Slack's incoming webhook, and e-mail by SMTP.

| variable | holds |
|---|---|
| `FLYWHEEL_SLACK_WEBHOOK` | the URL of an incoming webhook |
| `FLYWHEEL_SMTP` | `smtp://[user:password@]host[:port]`, or `smtps://` for TLS from the start |
| `FLYWHEEL_ALERT_FROM` | the sender's address; needed with FLYWHEEL_SMTP |
| `FLYWHEEL_ALERT_TO` | addresses that get every alert, with commas between; owners with an address get theirs besides |
| `FLYWHEEL_UI` | address of the Dagster UI, for links |

The first two are secrets, and stand in no error and no log. A password goes over an encrypted connection only, or to
this machine. Each channel is tried three times; when one fails, the other has its turn all the same.
"""

from __future__ import annotations

import contextlib
import json
import smtplib
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from email.message import EmailMessage

from flywheel_pipelines.alerts.messages import Alert
from flywheel_pipelines.errors import FlywheelError

SLACK, SMTP, SENDER, RECIPIENTS, UI = (
    "FLYWHEEL_SLACK_WEBHOOK", "FLYWHEEL_SMTP", "FLYWHEEL_ALERT_FROM", "FLYWHEEL_ALERT_TO", "FLYWHEEL_UI",
)  # fmt: skip
TIMEOUT = 10.0
WAITS = (1.0, 4.0)
"""Seconds between the tries."""
LOCAL = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Channels:
    """Where alerts go, as the environment says."""

    environment: Mapping[str, str]

    @property
    def are_set(self) -> bool:
        """Whether there is any."""
        return bool(self.environment.get(SLACK) or self.environment.get(SMTP))

    def link(self, path: str) -> str | None:
        """A page of the UI; None where its address is not known."""
        base = self.environment.get(UI, "").rstrip("/")
        return f"{base}/{path}" if base else None

    def send(self, alert: Alert, wait: Callable[[float], None] = time.sleep) -> list[str]:
        """Send by every channel that is set; returns their names.

        Raises:
            FlywheelError: one of them could not be used, after three tries; the others have been.
        """
        sent, failed = [], []
        for name, variable, send in (("slack", SLACK, _to_slack), ("e-mail", SMTP, _by_mail)):
            if not self.environment.get(variable):
                continue
            problem = _tried(lambda send=send: send(alert, self.environment), wait)
            if problem is None:
                sent.append(name)
            else:
                failed.append(f"{name} ({variable}): {problem}")
        if failed:
            raise FlywheelError(f"The alert {alert.subject!r} was not sent by {'; '.join(failed)}.")
        return sent


def _tried(send: Callable[[], None], wait: Callable[[float], None]) -> str | None:
    """What went wrong at the last of three tries; None when one went well. Trying again does not help a bad address."""
    problem = ""
    for pause in (*WAITS, None):
        try:
            send()
        except FlywheelError as error:
            return str(error)
        except urllib.error.HTTPError as error:
            problem = f"the server answered {error.code}"
            if error.code < 500 and error.code != 429:
                return problem
        except (OSError, smtplib.SMTPException) as error:
            # Its own words may hold the address, which is a secret.
            problem = f"the server could not be used ({type(error).__name__})"
        else:
            return None
        if pause is not None:
            wait(pause)
    return problem


def _to_slack(alert: Alert, environment: Mapping[str, str]) -> None:
    url = environment[SLACK]
    parts = urllib.parse.urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOCAL):
        raise FlywheelError("it is no https address. Copy the URL of the incoming webhook from Slack.")
    body = json.dumps({"text": f"*{alert.subject}*\n{alert.body}"}).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=TIMEOUT):
        pass


def _by_mail(alert: Alert, environment: Mapping[str, str]) -> None:
    recipients = [one.strip() for one in environment.get(RECIPIENTS, "").split(",") if one.strip()]
    recipients = list(dict.fromkeys([*recipients, *alert.addresses]))
    if not environment.get(SENDER) or not recipients:
        raise FlywheelError(f"nobody to write to, or no sender. Set {SENDER}, and {RECIPIENTS} or an owner's address.")
    message = EmailMessage()
    # What a failed step says may hold line breaks; a subject must not.
    message["Subject"] = " ".join(f"[flywheel] {alert.subject}".split())
    message["From"], message["To"] = environment[SENDER], ", ".join(recipients)
    message.set_content(alert.body)
    with _mail_server(environment[SMTP]) as server:
        server.send_message(message)


@contextlib.contextmanager
def _mail_server(url: str) -> Iterator[smtplib.SMTP]:
    try:
        parts = urllib.parse.urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
        parts = urllib.parse.urlsplit("")
    if parts.scheme not in ("smtp", "smtps") or not host:
        raise FlywheelError("it is no address of a mail server; expected smtp://user:password@host:587.")
    context = ssl.create_default_context()
    if parts.scheme == "smtps":
        opened: smtplib.SMTP = smtplib.SMTP_SSL(host, port or 465, timeout=TIMEOUT, context=context)
    else:
        opened = smtplib.SMTP(host, port or 587, timeout=TIMEOUT)
    with opened as server:
        is_encrypted = parts.scheme == "smtps"
        server.ehlo()
        if not is_encrypted and server.has_extn("starttls"):
            server.starttls(context=context)
            is_encrypted = True
        if parts.username:
            if not is_encrypted and host not in LOCAL:
                raise FlywheelError("the server offers no encryption, so that no password is sent to it; use smtps://.")
            server.login(urllib.parse.unquote(parts.username), urllib.parse.unquote(parts.password or ""))
        yield server
