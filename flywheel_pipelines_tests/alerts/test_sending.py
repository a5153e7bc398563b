"""Alerts over real connections on loopback: what arrives, what is tried again, and what stays secret."""

from __future__ import annotations

import socket

import pytest

from flywheel_pipelines.alerts.messages import MOST_CHARACTERS, Alert
from flywheel_pipelines.alerts.sending import RECIPIENTS, SENDER, SLACK, SMTP, Channels
from flywheel_pipelines.errors import FlywheelError
from flywheel_pipelines_tests.alerts.receivers import mail_server, webhook

ALERT = Alert(
    "news__close failed, cycle 2026-01-12",
    "Step news__momentum: it broke.",
    ("team:growth", "eve@example.org"),
    "https://ui.example.org/runs/1",
)
PASSWORD = "p@ss-recognisable"


def send(environment: dict[str, str], alert: Alert = ALERT) -> tuple[list[str], list[float]]:
    waits: list[float] = []
    return Channels(environment).send(alert, waits.append), waits


def refused(environment: dict[str, str]) -> str:
    with pytest.raises(FlywheelError) as caught:
        send(environment)
    return str(caught.value)


def test_slack_gets_subject_text_owners_and_link() -> None:
    with webhook() as hook:
        assert send({SLACK: hook.url}) == (["slack"], [])
    [body] = hook.arrived
    lines = body["text"].splitlines()
    assert lines[0] == "*news__close failed, cycle 2026-01-12*"
    assert {"Step news__momentum: it broke.", "Owners: team:growth, eve@example.org"} <= set(lines)
    assert lines[-1] == "https://ui.example.org/runs/1"


@pytest.mark.parametrize(("answers", "n_waits"), [([503], 1), ([500, 429], 2)])
def test_slack_is_tried_again_where_that_helps(answers: list[int], n_waits: int) -> None:
    with webhook() as hook:
        hook.answers = answers
        assert len(send({SLACK: hook.url})[1]) == n_waits
    assert len(hook.arrived) == n_waits + 1


def test_a_webhook_that_is_gone_is_asked_once_and_its_address_stays_secret() -> None:
    with webhook() as hook:
        hook.answers = [404, 404, 404]
        said = refused({SLACK: hook.url})
    assert len(hook.arrived) == 1
    assert "slack (FLYWHEEL_SLACK_WEBHOOK): the server answered 404" in said
    assert "secret" not in said


def test_a_server_that_is_not_there_is_named_without_its_address() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    said = refused({SMTP: f"smtp://eve:{PASSWORD}@127.0.0.1:{port}", SENDER: "a@b.org", RECIPIENTS: "c@d.org"})
    assert "the server could not be used (ConnectionRefusedError)" in said
    assert PASSWORD not in said
    assert str(port) not in said


def test_mail_goes_to_the_recipients_and_to_owners_with_an_address() -> None:
    with mail_server() as server:
        environment = {
            SMTP: f"smtp://127.0.0.1:{server.port}",
            SENDER: "wheel@example.org",
            RECIPIENTS: "ops@example.org",
        }
        assert send(environment)[0] == ["e-mail"]
    [(sender, recipients)] = server.envelopes
    assert "wheel@example.org" in sender
    assert [one.split("<")[1].split(">")[0] for one in recipients] == ["ops@example.org", "eve@example.org"]
    [message] = server.messages
    assert message["Subject"] == "[flywheel] news__close failed, cycle 2026-01-12"
    assert "Step news__momentum: it broke." in message.get_payload()
    assert server.logins == []


def test_a_subject_of_two_lines_does_not_write_a_header_of_its_own() -> None:
    with mail_server() as server:
        environment = {SMTP: f"smtp://127.0.0.1:{server.port}", SENDER: "a@b.org", RECIPIENTS: "c@d.org"}
        send(environment, Alert("one\nBcc: everybody@example.org", "text"))
    assert server.messages[0]["Subject"] == "[flywheel] one Bcc: everybody@example.org"
    assert server.messages[0]["Bcc"] is None


def test_a_password_is_sent_to_this_machine() -> None:
    with mail_server() as server:
        url = f"smtp://eve:p%40ss-recognisable@127.0.0.1:{server.port}"
        send({SMTP: url, SENDER: "a@b.org", RECIPIENTS: "c@d.org"})
    assert server.logins == [f":eve:{PASSWORD}"]


def test_control_a_password_is_not_sent_elsewhere_without_encryption(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flywheel_pipelines.alerts.sending.LOCAL", ())
    with mail_server() as server:
        said = refused({SMTP: f"smtp://eve:x@127.0.0.1:{server.port}", SENDER: "a@b.org", RECIPIENTS: "c@d.org"})
    assert "no password is sent to it; use smtps://" in said
    assert (server.logins, server.messages) == ([], [])


def test_one_broken_channel_does_not_silence_the_other() -> None:
    with mail_server() as server:
        environment = {SMTP: f"smtp://127.0.0.1:{server.port}", SENDER: "a@b.org", RECIPIENTS: "c@d.org"}
        said = refused({**environment, SLACK: "ftp://somewhere"})
    assert "it is no https address" in said
    assert "e-mail" not in said
    assert len(server.messages) == 1


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({SMTP: "smtp://127.0.0.1:1"}, "nobody to write to, or no sender"),
        ({SMTP: "mail.example.org", SENDER: "a@b.org"}, "it is no address of a mail server"),
        ({SMTP: "smtp://[", SENDER: "a@b.org"}, "it is no address of a mail server"),
        ({SLACK: "http://example.org/hook"}, "it is no https address"),
    ],
)
def test_settings_that_cannot_work_are_said_at_once(environment: dict[str, str], words: str) -> None:
    assert words in refused(environment)


def test_without_a_channel_nothing_is_sent() -> None:
    assert not Channels({}).are_set
    assert send({}) == ([], [])


def test_a_long_text_is_cut() -> None:
    assert len(Alert("a", "x" * 10_000).body) == MOST_CHARACTERS
