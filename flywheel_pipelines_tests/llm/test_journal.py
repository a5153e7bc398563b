"""The journal: durable before it says so, one run at a time, and landed once whatever happens."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from flywheel_pipelines.chat import ChatRequest, Message
from flywheel_pipelines.lake.store import Lake
from flywheel_pipelines.llm.journal import Journal, JournalError
from flywheel_pipelines.llm.journal_entries import (
    MOST_KNOWN,
    Asked,
    Ended,
    Outcome,
    Returned,
    Sent,
    Withdrawn,
    Writing,
    describe,
)
from flywheel_pipelines.llm.ledger import INTERRUPTED_WORDS, known_answers, land, spent
from flywheel_pipelines_tests.llm.asking_samples import CYCLE, FLYWHEEL, now, requests, rows

REQUEST = requests(1)[0]
ANSWERED = Outcome("answered", prompt_tokens=100, completion_tokens=10, cost=0.5)


def opened(folder: Path) -> Journal:
    return Journal.open(folder / "journal", FLYWHEEL, CYCLE)


def answer(journal: Journal) -> None:
    journal.write(Asked(REQUEST), Sent(REQUEST.key, 1, "json_schema", now()))
    journal.write(Returned(REQUEST.key, 1, ANSWERED), Ended(REQUEST.key, "answered", answer='{"title": "ä"}'))


def test_what_is_written_is_on_disk_when_it_says_so(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        answer(journal)
        other = sqlite3.connect(journal.path)
        assert "json_schema" in other.execute("select group_concat(entries) from groups").fetchone()[0]
        other.close()


def test_many_writes_share_a_flush(tmp_path: Path) -> None:
    async def write_all(journal: Journal) -> None:
        await asyncio.gather(*(journal.store(Asked(request)) for request in requests(500)))

    with opened(tmp_path) as journal:
        asyncio.run(write_all(journal))
        assert len(journal.requests()) == 500
        assert journal.n_flushes < 100


RULES = "A rule that all prompts share. " * 100


def with_rules(n: int) -> list[ChatRequest]:
    return [
        replace(request, messages=(Message("system", RULES + tail), *request.messages))
        for request, tail in zip(requests(n), "\"'\n😀é" * n, strict=False)
    ]


def described(journal: Journal) -> dict[str, dict[str, object]]:
    return {entry.key: entry.asked for entry in journal.requests()}


def test_what_prompts_share_is_written_once_and_read_back_whole(tmp_path: Path) -> None:
    asked = with_rules(50)
    with opened(tmp_path) as journal:
        for request in asked:
            journal.write(Asked(request))
        assert described(journal) == {request.key: describe(request) for request in asked}
        # Five endings, so five texts; the control is what fifty would take.
        size = sum(len(group) for (group,) in journal._connection.execute("select entries from groups"))
        assert 5 * len(RULES) < size < 10 * len(RULES) + 50 * 1_000 < 50 * len(RULES)


def test_a_text_is_written_anew_after_clearing_after_opening_and_after_a_failed_write(tmp_path: Path) -> None:
    first, second, third, fourth = with_rules(4)
    alike = [replace(request, messages=first.messages) for request in (first, second, third, fourth)]
    with opened(tmp_path) as journal:
        journal.write(Asked(alike[0]))
        journal.clear()
        journal.write(Asked(alike[1]))
    with opened(tmp_path) as journal:
        journal.write(Asked(alike[2]))
        journal._connection.execute("alter table groups rename to away")
        with pytest.raises(JournalError, match="cannot be written"):
            journal.write(Asked(alike[3]))
        journal._connection.execute("alter table away rename to groups")
        journal.write(Asked(alike[3]))
        assert described(journal) == {request.key: describe(request) for request in alike[1:]}


def test_reading_ahead_changes_nothing_of_what_is_read(tmp_path: Path) -> None:
    asked = with_rules(60)
    with opened(tmp_path) as journal:
        for number, request in enumerate(asked):
            journal.write(Asked(request), Sent(request.key, 1, "prompt", now()))
            if number % 7 == 0:
                journal.read_ahead()
        for request in asked:
            journal.write(Ended(request.key, "answered", answer="{}"))
        ahead = journal.requests()
    with opened(tmp_path) as journal:
        assert ahead == journal.requests()
        assert [(len(one.tries), one.ended is not None) for one in ahead] == [(1, True)] * 60
        journal.read_ahead()
        journal.clear()
        answer(journal)
        assert [one.key for one in journal.requests()] == [REQUEST.key]


def test_a_journal_that_an_earlier_version_left_is_read(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        entry = json.dumps([["asked", {"key": REQUEST.key, "asked": describe(REQUEST)}]])
        journal._connection.execute("insert into groups (entries) values (?)", (entry,))
        assert described(journal) == {REQUEST.key: describe(REQUEST)}


def test_an_entry_that_cannot_be_written_down_is_an_error_of_whoever_said_it(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        with pytest.raises(UnicodeEncodeError):
            journal.write(Asked(replace(REQUEST, messages=(Message("user", "\ud800"),))))
        answer(journal)
        assert len(journal.requests()) == 1


def test_a_text_that_never_comes_again_is_forgotten(tmp_path: Path) -> None:
    writing = Writing()
    for number in range(1_000):
        message = Message("user", f"{number}" * 1_000)
        writing.group([Asked(replace(REQUEST, messages=(message,)))])
    assert len(writing._names) <= MOST_KNOWN


def test_a_second_run_on_the_cycle_is_refused_in_words(tmp_path: Path) -> None:
    with opened(tmp_path), pytest.raises(JournalError, match=r"being asked for by another run.*Wait until it ends"):
        opened(tmp_path)


def test_another_cycle_is_free(tmp_path: Path) -> None:
    with opened(tmp_path), Journal.open(tmp_path / "journal", "other", CYCLE) as other:
        assert other.requests() == []


def test_a_killed_run_frees_the_cycle_and_leaves_its_entries(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys; from pathlib import Path\n"
        "from flywheel_pipelines_tests.llm.test_journal import answer, opened\n"
        "answer(opened(Path(sys.argv[1]))); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)
    assert done.returncode == -9
    with opened(tmp_path) as journal:
        assert [entry.ended.answer for entry in journal.requests() if entry.ended] == ['{"title": "ä"}']


def test_an_empty_journal_leaves_no_file(tmp_path: Path) -> None:
    with opened(tmp_path):
        pass
    assert [path for path in (tmp_path / "journal").rglob("*") if path.is_file()] == []


def test_a_file_that_is_no_journal_is_refused_in_words(tmp_path: Path) -> None:
    path = tmp_path / "journal" / f"flywheel={FLYWHEEL}" / f"{CYCLE}.sqlite"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"not a database, but long enough to be taken for one" * 100)
    with pytest.raises(JournalError, match="put the file aside"):
        opened(tmp_path)


def test_landing_twice_lands_once(tmp_path: Path) -> None:
    """A kill between landing and clearing: the next run finds both the rows and the journal."""
    lake = Lake(tmp_path / "lake")
    with opened(tmp_path) as journal:
        answer(journal)
        journal.clear = lambda: None
        land(journal, lake, FLYWHEEL, CYCLE, now())
    with opened(tmp_path) as journal:
        land(journal, lake, FLYWHEEL, CYCLE, now())
        assert journal.requests() == []
    assert len(rows(tmp_path)) == 1


def test_the_same_said_in_another_run_is_another_batch(tmp_path: Path) -> None:
    """Two killed runs that got equally far sent two tries, not one."""
    lake, frozen = Lake(tmp_path / "lake"), now()
    for _ in range(2):
        with opened(tmp_path) as journal:
            journal.write(Asked(REQUEST), Sent(REQUEST.key, 1, "prompt", frozen))
            land(journal, lake, FLYWHEEL, CYCLE, now())
    assert sum(row["n_tries"] for row in rows(tmp_path)) == 2


def test_an_interrupted_try_is_kept_and_is_no_answer(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake")
    with opened(tmp_path) as journal:
        journal.write(Asked(REQUEST), Sent(REQUEST.key, 1, "prompt", now()))
        land(journal, lake, FLYWHEEL, CYCLE, now())
    assert [(row["status"], row["error"], row["n_tries"]) for row in rows(tmp_path)] == [
        ("failed", INTERRUPTED_WORDS, 1)
    ]
    assert known_answers(lake, FLYWHEEL, CYCLE) == {}


def test_a_try_that_was_not_sent_after_all_is_not_counted(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        journal.write(Asked(REQUEST), Sent(REQUEST.key, 1, "prompt", now()), Withdrawn(REQUEST.key, 1))
        assert land(journal, Lake(tmp_path / "lake"), FLYWHEEL, CYCLE, now()) == 0


def test_a_landed_answer_is_known_with_its_cost(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake")
    with opened(tmp_path) as journal:
        answer(journal)
        land(journal, lake, FLYWHEEL, CYCLE, now())
    assert known_answers(lake, FLYWHEEL, CYCLE)[REQUEST.key].content == {"title": "ä"}
    assert spent(lake, FLYWHEEL, CYCLE) == 0.5


def test_an_error_on_disk_reaches_who_waits(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        journal._connection.execute("drop table groups")
        with pytest.raises(JournalError, match="cannot be written"):
            answer(journal)
        journal._connection.execute("create table groups (number integer primary key, entries text not null)")
