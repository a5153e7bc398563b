"""The key stays out of every text, and the environment alone names the provider."""

from __future__ import annotations

import pytest

from flywheel_pipelines.llm.provider import Provider, ProviderError, provider_from_environment, redact

KEY = "sk-proj-abcdef123456"


def test_no_text_of_a_provider_shows_its_key() -> None:
    provider = Provider("https://example.test/v1", KEY, "example")
    assert KEY not in f"{provider!r} {provider} {vars(provider)}"


def test_a_key_of_any_shape_is_removed() -> None:
    assert "hunter22" not in Provider(None, "hunter22", "x").redact("wrong key hunter22!")


@pytest.mark.parametrize(
    "text", [f"key {KEY} is wrong", "Authorization: Bearer abc.def-ghi", "https://me:secret@host/v1", "api-key: secret"]
)
def test_what_looks_like_a_secret_is_removed(text: str) -> None:
    assert not {"abcdef", "abc.def", "secret"} & {
        part for part in ("abcdef", "abc.def", "secret") if part in redact(text)
    }


def test_other_words_stay() -> None:
    text = "The desk-top model risk-free costs 3 at https://host/v1"
    assert redact(text) == text


def test_nothing_set_is_no_provider() -> None:
    assert provider_from_environment({"OPENAI_API_KEY": " "}) is None


def test_a_key_alone_is_openai() -> None:
    found = provider_from_environment({"OPENAI_API_KEY": KEY})
    assert found is not None
    assert (found.url, found.key_text()) == ("https://api.openai.com/v1", KEY)


def test_a_local_server_needs_no_key() -> None:
    found = provider_from_environment({"OPENAI_BASE_URL": "http://localhost:11434/v1/"})
    assert found is not None
    assert (found.url, found.is_loopback, found.name) == ("http://localhost:11434/v1", True, "localhost:11434")


def test_an_address_that_is_none_is_refused_without_its_password() -> None:
    with pytest.raises(ProviderError, match="expected an address") as raised:
        provider_from_environment({"OPENAI_BASE_URL": "ftp://me:secret@host"})
    assert "secret" not in str(raised.value)
