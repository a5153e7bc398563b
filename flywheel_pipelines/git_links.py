"""Code references that lead to a git host instead of to files of the server, which nobody's browser can open.

Off until `FLYWHEEL_GIT_URL` is set. A setting that cannot be used is told of in the log and changes nothing: no link is
worth a flywheel that does not load. Here: that. Not here: where the references come from (Dagster's component loader,
and `with_source_code_references` in `components/`).
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import dagster as dg
from dagster._core.definitions.metadata.source_code import base_git_url

from flywheel_pipelines.paths import PROJECT_ROOT

URL, BRANCH, PLATFORM = "FLYWHEEL_GIT_URL", "FLYWHEEL_GIT_BRANCH", "FLYWHEEL_GIT_PLATFORM"
DEFAULT_BRANCH = "main"
PLATFORMS = ("github", "gitlab")
REFERENCES = "dagster/code_references"


@dataclass(frozen=True)
class GitHost:
    """Where the project's files can be read.

    Attributes:
        base: the URL of the project's folder at a branch, a tag or a commit.
        root: the folder here that it shows.
    """

    base: str
    root: Path = PROJECT_ROOT

    def url_of(self, path: Path, line: int | None) -> str | None:
        """The URL of a file, at a line; None for one outside the project, as of a package."""
        if not path.is_relative_to(self.root):
            return None
        return f"{self.base}/{path.relative_to(self.root).as_posix()}{f'#L{line}' if line else ''}"


def git_host(environment: Mapping[str, str]) -> GitHost | None:
    """The host that the environment names; None when it names none.

    Raises:
        ValueError: what it names cannot be used; says which variable, what was found and what is expected.
    """
    url, platform = environment.get(URL, "").rstrip("/").removesuffix(".git"), environment.get(PLATFORM)
    if not url:
        return None
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or not parts.path.strip("/"):
        raise ValueError(f"{URL}: expected https://HOST/OWNER/REPOSITORY, found another form")
    if parts.username or parts.password:
        # The UI would show it to everybody.
        raise ValueError(f"{URL}: it holds a user or a password. Write the address alone")
    if platform is None:
        platform = next((known for known in PLATFORMS if known in parts.hostname), None)
    if platform not in PLATFORMS:
        raise ValueError(f"{PLATFORM}: expected one of {', '.join(PLATFORMS)}, found {platform!r} for {parts.hostname}")
    return GitHost(base_git_url(url, environment.get(BRANCH) or DEFAULT_BRANCH, platform))


def linked(definitions: dg.Definitions, environment: Mapping[str, str]) -> dg.Definitions:
    """The same definitions; where the environment names a git host, their code references lead to it."""
    try:
        host = git_host(environment)
    except ValueError as error:
        logging.getLogger("dagster").warning("Code references stay those of files here. %s.", error)
        return definitions
    if host is None:
        return definitions
    with warnings.catch_warnings():
        # Whoever runs a command can do nothing about what this project uses of Dagster while it is a preview.
        warnings.simplefilter("ignore", dg.PreviewWarning)
        return definitions.map_asset_specs(func=lambda spec: _linked(spec, host))


def _linked(spec: dg.AssetSpec, host: GitHost) -> dg.AssetSpec:
    found = spec.metadata.get(REFERENCES)
    if not isinstance(found, dg.CodeReferencesMetadataValue):
        return spec
    references = [_link(reference, host) for reference in found.code_references]
    return spec.merge_attributes(metadata={REFERENCES: dg.CodeReferencesMetadataValue(code_references=references)})


def _link(
    reference: dg.LocalFileCodeReference | dg.UrlCodeReference, host: GitHost
) -> dg.LocalFileCodeReference | dg.UrlCodeReference:
    if not isinstance(reference, dg.LocalFileCodeReference):
        return reference
    url = host.url_of(Path(reference.file_path), reference.line_number)
    return dg.UrlCodeReference(url=url, label=reference.label) if url else reference
