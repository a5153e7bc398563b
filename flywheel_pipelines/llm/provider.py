"""Which endpoint is asked, and the key it wants.

Here: reading both from the environment, and keeping the key out of every text. Not here: requests (`sending`), or the
offline writer that stands in when there is no provider (`offline`).
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from pydantic import SecretStr

from flywheel_pipelines.errors import FlywheelError

DEFAULT_BASE_URL = "https://api.openai.com/v1"
BASE_URL_VARIABLE, KEY_VARIABLE = "OPENAI_BASE_URL", "OPENAI_API_KEY"
REMOVED = "[removed]"
VERSION = "api-version"
CONNECTIONS_PER_CLIENT, MOST_CLIENTS = 5, 32
LOOKS_LIKE_A_SECRET = re.compile(
    r"\bsk-[A-Za-z0-9_*.\-]{4,}"
    r"|(?<=[Bb]earer )[A-Za-z0-9._~+/=\-]{4,}"
    r"|(?<=api-key: )\S+"
    r"|(?<=//)[^/\s:@]+:[^/\s@]+(?=@)"
)


class ProviderError(FlywheelError):
    """The provider's settings cannot be used."""


@dataclass(frozen=True)
class Provider:
    """One OpenAI-compatible endpoint. A local server needs no key.

    `base_url` None is OpenAI itself. `is_offline` marks the project's own writer: what it answers is simulated.
    """

    base_url: str | None
    api_key: SecretStr | str | None
    name: str
    is_offline: bool = False

    def __post_init__(self) -> None:
        """Wrap a plain key, so that no repr, log or traceback shows it."""
        if isinstance(self.api_key, str):
            object.__setattr__(self, "api_key", SecretStr(self.api_key) if self.api_key else None)

    @property
    def url(self) -> str:
        """Where requests go, without what every one of them adds (`query`)."""
        parts = urlsplit(self.base_url or DEFAULT_BASE_URL)
        return urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/"), "", ""))

    @property
    def query(self) -> dict[str, str]:
        """What stands behind the ? of the address and goes with every request: Azure's `api-version`."""
        return dict(parse_qsl(urlsplit(self.base_url or "").query))

    @property
    def dialect_name(self) -> str:
        """By what the endpoint's habits are remembered. Of the query only the version: the rest may be secret."""
        version = self.query.get(VERSION)
        return f"{self.url}?{VERSION}={version}" if version else self.url

    @property
    def is_loopback(self) -> bool:
        """Whether the endpoint is on this machine, so that no proxy may come between."""
        return _is_loopback(urlsplit(self.url).hostname or "")

    def key_text(self) -> str:
        """The key itself, for the client alone. The client insists on one; servers without keys ignore it."""
        return self.api_key.get_secret_value() if isinstance(self.api_key, SecretStr) else "none"

    def client(self, *, is_async: bool, **settings: Any) -> Any:
        """An `openai` client of this endpoint that does not retry; `settings` are those of its class.

        An address with an `api-version` is one of Azure's: there the key goes by another header, and a request goes to
        the deployment that has the model's name unless the address names one.
        """
        import openai

        query = self.query
        known = {"base_url": self.url, "api_key": self.key_text(), "max_retries": 0, **settings}
        if version := query.pop(VERSION, None):
            azure = openai.AsyncAzureOpenAI if is_async else openai.AzureOpenAI
            return azure(api_version=version, default_query=query, **known)
        plain = openai.AsyncOpenAI if is_async else openai.OpenAI
        return plain(default_query=query, **known)

    def redact(self, text: str) -> str:
        """The text without the key and without anything that looks like one."""
        key = self.api_key.get_secret_value() if isinstance(self.api_key, SecretStr) else ""
        return redact(text.replace(key, REMOVED) if len(key) >= 4 else text)

    def clients(self, concurrency: int, on_request: Callable[[Any], Awaitable[None]]) -> list[Any]:
        """`AsyncOpenAI` clients for so many requests under way, which neither retry nor time out: that is done here.

        Several, since each looks through all of its connections for every request. They share what is costly to make.
        Proxies of the environment are used, but not to reach this machine. `on_request` is awaited once a request is
        made and before it goes out.
        """
        import httpx2
        from openai import DefaultAsyncHttpxClient

        n = max(1, min(MOST_CLIENTS, concurrency // CONNECTIONS_PER_CLIENT))
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None)
        # Reading the machine's certificates takes longer than making all clients, and plain http has no use for them.
        is_plain = urlsplit(self.url).scheme == "http"
        certificates = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if is_plain else httpx2.create_ssl_context()
        return [
            self.client(
                is_async=True,
                timeout=None,
                http_client=DefaultAsyncHttpxClient(
                    limits=limits,
                    timeout=None,
                    verify=certificates,
                    trust_env=not self.is_loopback,
                    event_hooks={"request": [on_request]},
                ),
            )
            for _ in range(n)
        ]


def provider_from_environment(environ: Mapping[str, str]) -> Provider | None:
    """The provider that `OPENAI_BASE_URL` and `OPENAI_API_KEY` name; None when neither is set.

    Raises:
        ProviderError: the address is not an http address.
    """
    base_url = environ.get(BASE_URL_VARIABLE, "").strip() or None
    key = environ.get(KEY_VARIABLE, "").strip() or None
    if base_url is None and key is None:
        return None
    if base_url is None:
        return Provider(None, key, "OpenAI")
    parts = urlsplit(base_url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ProviderError(
            f"{BASE_URL_VARIABLE}: found {redact(base_url)!r}, expected an address such as "
            "https://api.openai.com/v1 or http://localhost:11434/v1. Correct it, or unset it to work offline."
        )
    return Provider(base_url, key, parts.netloc.rpartition("@")[2])


def redact(text: str) -> str:
    """The text without anything that looks like a key, a bearer token or a password in an address."""
    return LOOKS_LIKE_A_SECRET.sub(REMOVED, text)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
