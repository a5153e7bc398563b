"""When a file's header is not the one a feed expects: saying so, with the `columns:` to write.

Here: the words and the guesses in them. Not here: finding columns (`rows`), or what presets know (`spec.presets`).

Guesses are printed for a person to confirm and never used: by name where one is near, else by place where a preset
knows the order of the columns, as for exports in the language of the account.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from flywheel_pipelines.errors import InputFileError
from flywheel_pipelines.feedback.files import shown
from flywheel_pipelines.feedback.files.cells import names_shown
from flywheel_pipelines.spec.feeds import FeedSpec
from flywheel_pipelines.spec.presets import CERTAINTIES, preset_named

NEAR = 0.6
PLACEHOLDER = "THEIR HEADER"


def check_fit(path: Path, feed: FeedSpec, found: Sequence[str], headers: Mapping[str, str]) -> None:
    """Check that a file has the columns of a feed.

    Args:
        path: the file.
        feed: the feed; its preset says how sure the expected header is.
        found: the header of the file.
        headers: the columns that are needed: our name, their header.

    Raises:
        InputFileError: some are not there; with the header found and the mapping to write, nearest matches filled in.
    """
    missing = [name for name, header in headers.items() if header not in found]
    if not missing:
        return
    unnamed = [name for name in missing if name not in feed.columns]
    named = [
        f"column {shown(headers[name], 60)} is missing{_did_you_mean(headers[name], found)}"
        for name in missing
        if name not in unnamed
    ]
    problems = [*named, *([f"no column for {', '.join(unnamed)}"] if unnamed else [])]
    raise InputFileError(
        f"{path}: {'; '.join(problems)}. The header found is: {names_shown(found)}. {_how_sure(feed)}"
        f"Say in the feed's columns which of them it is, e.g. columns: {{{missing[0]}: {PLACEHOLDER}}}. "
        f"The nearest are filled in here; look at them before you write them into the feed:\n"
        f"{mapping_to_write(feed, found, headers)}"
    )


def mapping_to_write(feed: FeedSpec, found: Sequence[str], headers: Mapping[str, str]) -> str:
    """The key `columns` in YAML: what fits stays, the nearest header for the rest, a placeholder where none is near."""
    expected = preset_named(feed.preset).header if feed.preset else []
    is_same_table = len(expected) == len(found)
    free = [header for header in found if header and header not in headers.values()]
    lines = ["columns:"]
    for name, header in headers.items():
        if header in found:
            lines.append(f"  {name}: {_quoted(header)}")
            continue
        guess, why = _near(header, name, free), "the nearest by name"
        if is_same_table and header in expected and (guess is None or not _is_near(header, guess)):
            at_place = found[expected.index(header)]
            guess, why = (at_place, f"where {header} stands in the preset") if at_place in free else (guess, why)
        if guess is None:
            lines.append(f"  {name}: {PLACEHOLDER}  # {header} is not there")
        else:
            free.remove(guess)
            lines.append(f"  {name}: {_quoted(guess)}  # {why}")
    return "\n".join(lines)


def _how_sure(feed: FeedSpec) -> str:
    if feed.preset is None:
        return ""
    preset = preset_named(feed.preset)
    return (
        f"The header of the preset {feed.preset} is {CERTAINTIES[preset.header_certainty]} "
        f"({preset.header_certainty}, {preset.checked}), and headers differ by account, language and year. "
    )


def _did_you_mean(header: str, found: Sequence[str]) -> str:
    guess = _near(header, header, [name for name in found if name])
    return f" (did you mean {shown(guess, 60)}?)" if guess else ""


def _near(header: str, name: str, free: Sequence[str]) -> str | None:
    by_plain_name = {_plain(candidate): candidate for candidate in reversed(free)}
    for wanted in (header, name):
        near = difflib.get_close_matches(_plain(wanted), list(by_plain_name), n=1, cutoff=NEAR)
        if near:
            return by_plain_name[near[0]]
    return None


def _is_near(header: str, guess: str) -> bool:
    return difflib.SequenceMatcher(None, _plain(header), _plain(guess)).ratio() > 0.85


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "_", name[:200].casefold()).strip("_")


def _quoted(header: str) -> str:
    """A header as YAML takes it: plain where it is a plain word, else in double quotes, which JSON writes alike."""
    is_plain = re.fullmatch(r"[A-Za-z][\w ().]*[\w).]", header) and header.casefold() not in {"yes", "no", "on", "off"}
    is_word = header.casefold() in {"true", "false", "null"}
    return header if is_plain and not is_word else json.dumps(header, ensure_ascii=False)
