# SPDX-License-Identifier: Apache-2.0
"""Names are matched exactly or said to be uncertain; no provider is ever guessed."""

import pytest
from genai_prices.data import providers

from microdollar_exporter.price import Book
from microdollar_exporter.price.book import Model, Provider
from microdollar_exporter.price.names import ALIASES, Match, Names
from microdollar_exporter.price.rules import Rule, without_version


@pytest.fixture(scope="module")
def names(book: Book) -> Names:
    return Names(book)


@pytest.mark.parametrize(
    ("name", "provider"),
    [
        ("anthropic", "anthropic"),
        ("aws.bedrock", "aws"),
        ("azure.ai.inference", "azure"),
        ("azure.ai.openai", "azure"),
        ("cohere", "cohere"),
        ("deepseek", "deepseek"),
        ("gcp.gemini", "google"),
        ("gcp.gen_ai", "google"),
        ("gcp.vertex_ai", "google"),
        ("groq", "groq"),
        ("ibm.watsonx.ai", None),
        ("mistral_ai", "mistral"),
        ("moonshot_ai", "moonshotai"),
        ("openai", "openai"),
        ("perplexity", "perplexity"),
        ("x_ai", "x-ai"),
    ],
)
def test_every_provider_of_the_opentelemetry_registry_is_itself(
    names: Names, name: str, provider: str | None
) -> None:
    assert names.provider(name) == provider


@pytest.mark.parametrize(
    "name",
    [
        "my-anthropic-proxy",
        "self-hosted-openai-compatible",
        "openai-compatible",
        "ollama",
        "litellm",
        "hugging_face",
        "",
        None,
    ],
)
def test_a_provider_that_only_resembles_one_is_unknown(names: Names, name: str | None) -> None:
    assert names.provider(name) is None


def test_case_and_outer_blanks_of_a_provider_do_not_matter(names: Names) -> None:
    assert names.provider(" OpenAI ") == "openai"


def test_every_alias_leads_to_a_provider_of_the_book_and_hides_none(book: Book) -> None:
    assert set(ALIASES.values()) <= book.providers.keys()
    assert not ALIASES.keys() & book.providers.keys()
    assert all(alias == alias.strip().lower() for alias in ALIASES)


@pytest.mark.parametrize(
    ("provider", "name", "model"),
    [
        ("openai", "gpt-5.6-sol", "gpt-5.6-sol"),
        ("openai", "GPT-5.6-Sol", "gpt-5.6-sol"),
        ("openai", "gpt-5.6", "gpt-5.6-sol"),  # spelt out by the source
        ("openai", "gpt-5.4-2026-03-05", "gpt-5.4"),
        ("openai", "gpt-5.4-20260305", "gpt-5.4"),
        ("openai", "gpt-6-luna-2026-10-11", "gpt-6-luna"),
        ("openai", "gpt-6-luna-20261011", "gpt-6-luna"),
        ("openai", "gpt-3.5-turbo-instruct:20230824-v2", "gpt-3.5-turbo-instruct"),
        ("openai", "gpt-4o-2024-05-13", "gpt-4o-2024-05-13"),  # a dated model of its own
        ("anthropic", "claude-sonnet-4-5-20250929", "claude-sonnet-4-5"),
        ("anthropic", "claude-sonnet-5-5@20260901", "claude-sonnet-5-5"),
        ("anthropic", "claude-3-5-haiku-20241022", "claude-3-5-haiku-latest"),
        ("google", "models/gemini-2.5-pro", "gemini-2.5-pro"),
        ("google", "publishers/google/models/gemini-3.6-flash", "gemini-3.6-flash"),
        ("google", "gemini-2.0-flash-001", "gemini-2.0-flash"),
        ("fireworks", "accounts/fireworks/models/glm-5p3", "glm-5p3"),
        ("fireworks", "glm-5p3", "glm-5p3"),  # its own rule does not match its id
        ("aws", "global.anthropic.claude-opus-5-5", "global.anthropic.claude-opus-5-5"),
        ("aws", "anthropic.claude-opus-5-5", "regional.anthropic.claude-opus-5-5"),
        ("aws", "eu.anthropic.claude-opus-5-5", "regional.anthropic.claude-opus-5-5"),
    ],
)
def test_an_exact_name_or_one_with_a_version_behind_it_is_certain(
    names: Names, provider: str, name: str, model: str
) -> None:
    assert names.model(provider, name) == Match(provider, model)


@pytest.mark.parametrize(
    ("provider", "name", "model"),
    [
        ("anthropic", "claude-2.1", "claude-2"),
        ("google", "gemini-3.6-flash-cyber", "gemini-3.6-flash"),
        ("aws", "eu.amazon.nova-lite-v1:0", "amazon.nova-lite-v1:0"),
        ("openai", "ft:gpt-4o-2024-08-06:acme::1", "ft:gpt-4o"),
    ],
)
def test_a_loose_match_says_so(names: Names, provider: str, name: str, model: str) -> None:
    assert names.model(provider, name) == Match(
        provider, model, f"model matched loosely as {model}"
    )


@pytest.mark.parametrize(
    ("provider", "name"),
    [
        ("openai", "gpt-5.4-2031-01-01"),  # a snapshot the source does not know
        ("openai", "openai/gpt-6-sol"),
        ("openai", "claude-sonnet-5-5"),
        ("openai", ""),
        ("openai", None),
        ("aws", "arn:aws:bedrock:eu-west-1:1:application-inference-profile/abc"),
    ],
)
def test_what_the_source_does_not_recognise_is_unknown(
    names: Names, provider: str, name: str | None
) -> None:
    assert names.model(provider, name) is None


def test_a_borrowed_price_names_its_lender(names: Names) -> None:
    doubt = "azure has no price of its own, that of openai gpt-5.4 used"
    assert names.model("azure", "gpt-5.4-2026-03-05") == Match(
        "openai", "gpt-5.4", doubt, lent=True
    )


def test_a_borrowed_price_that_is_matched_loosely_has_both_doubts(names: Names) -> None:
    doubt = (
        "model matched loosely as deepseek-v4-pro; "
        "azure has no price of its own, that of deepseek deepseek-v4-pro used"
    )
    assert names.model("azure", "deepseek-v4-pro-x") == Match(
        "deepseek", "deepseek-v4-pro", doubt, lent=True
    )


@pytest.mark.parametrize("behind", ["", "-2026-10-11", "-20261011", "@20261011", "-v1:0", "-x"])
def test_whatever_name_the_source_recognises_leads_to_its_model(
    book: Book, names: Names, behind: str
) -> None:
    """For every name spelt out by a rule, alone and with something behind it."""
    compared = 0
    for provider in providers:
        for model in book.providers[provider.id].models:
            for name in model.rule.names():
                theirs = provider.find_model(name + behind, all_providers=providers)
                ours = names.model(provider.id, name + behind)
                assert (ours and ours.model) == (theirs and theirs.id), name + behind
                compared += 1
    assert compared > 3000


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("gpt-5.4-2026-03-05", "gpt-5.4"),
        ("claude-sonnet-4-5-20250929-v1:0", "claude-sonnet-4-5"),
        ("gemini-2.0-flash-001", "gemini-2.0-flash"),
        ("gpt-4-0613", "gpt-4-0613"),  # month and day only: a model of its own
        ("magistral-medium-2509", "magistral-medium-2509"),
        ("gpt-5.4-mini", "gpt-5.4-mini"),
        ("claude-opus-4-1", "claude-opus-4-1"),
    ],
)
def test_only_a_full_date_or_version_is_taken_off_a_name(name: str, stem: str) -> None:
    assert without_version(name) == stem


def names_of(*models: Model) -> Names:
    """The names of a book whose provider `p` has these models, and lends them to `q`."""
    providers = [
        Provider(id="p", models=models),
        Provider(id="q", models=(), fallbacks=("gone", "p")),
    ]
    return Names(Book(source="test", source_version="1", providers=providers, rows=[]))


def test_a_name_that_is_spelt_out_goes_before_a_loose_rule_of_an_earlier_model() -> None:
    early = Model(id="early", rule=Rule("starts_with", "chat"))
    late = Model(id="late", rule=Rule("equals", "chat-large"))
    assert names_of(early, late).model("p", "chat-large") == Match("p", "late")


@pytest.mark.parametrize("name", ["Chat-X", "chat-x", " CHAT-X ", "chat-x-2026-01-01"])
def test_the_id_of_a_model_is_its_name_in_any_letters(name: str) -> None:
    """With a version behind it, too, where a rule has it."""
    names = names_of(Model(id="Chat-X", rule=Rule("contains", "t-x-20")))
    assert names.model("p", name) == Match("p", "Chat-X")


def test_a_version_behind_a_name_that_is_spelt_out_is_no_doubt() -> None:
    rule = Rule("or", rules=(Rule("equals", "chat"), Rule("regex", r"^chat-\d")))
    names = names_of(Model(id="m", rule=rule))
    assert names.model("p", "chat-2026-01-01") == Match("p", "m")
    assert names.model("p", "chat-2x") == Match("p", "m", "model matched loosely as m")


def test_a_lender_that_the_book_does_not_have_is_passed_over() -> None:
    names = names_of(Model(id="m", rule=Rule("equals", "m")))
    doubt = "q has no price of its own, that of p m used"
    assert names.model("q", "m") == Match("p", "m", doubt, lent=True)
