# SPDX-License-Identifier: Apache-2.0
"""Each emitter on its own: what it really sends is recognised, and its counts are taken apart."""

from typing import Any

import pytest

from microdollar_exporter.evidence import Evidence
from microdollar_exporter.normalise import normalise
from microdollar_exporter.reduce import reduce
from microdollar_exporter.usage import Usage
from tests.emitters.expected import CALLS, EMITTERS, MISSING, MODELS, RULES
from tests.emitters.running import Apps


def evidence(bodies: list[bytes]) -> list[Evidence]:
    """What is kept of requests, in the order in which the spans began; nothing is refused."""
    found: list[Evidence] = []
    for body in bodies:
        reduced = reduce(body)
        assert not reduced.refused
        found += reduced.evidence
    return sorted(found, key=lambda one: one.started_at)


def calls(found: list[Evidence]) -> list[Evidence]:
    return [one for one in found if one.profile.role == "call"]


@pytest.mark.parametrize("emitter", EMITTERS)
def test_an_emitter_alone_is_read_rightly(apps: Apps, emitter: str) -> None:
    """One witness for each call, under its rule, with what it knows in disjoint buckets."""
    kinds = list(EMITTERS[emitter])
    found = calls(evidence(apps.run(emitter, [emitter], apart=kinds)))
    assert [one.profile.rule for one in found] == [RULES[emitter]] * len(kinds)
    rows = [normalise(one)[0] for one in found]
    assert [row.response_model or row.request_model for row in rows] == [
        MODELS[kind] for kind in kinds
    ]
    assert [row.usage for row in rows] == [EMITTERS[emitter][kind] for kind in kinds]
    assert [row.source for row in rows] == [
        "missing" if EMITTERS[emitter][kind] == MISSING else "provider" for kind in kinds
    ]
    assert [row.provider for row in rows] == [
        "anthropic" if kind.startswith("messages") else "openai" for kind in kinds
    ]
    assert {
        row.operation for row, kind in zip(rows, kinds, strict=True) if kind != "embeddings"
    } == {"chat"}


def test_the_kinds_of_calls_are_all_asked_for() -> None:
    """The table of expectations leaves none out."""
    for emitters, kinds in CALLS.items():
        for emitter in emitters[1:]:
            assert list(EMITTERS[emitter]) == list(kinds)
    assert list(EMITTERS["microdollar"]) == list(MODELS)


def test_a_further_model_inside_a_response_is_ours_to_see(apps: Apps) -> None:
    """An image drawn by a tool has a row of its own."""
    (found,) = evidence(apps.run("image", ["microdollar"], apart=["responses"]))
    _, image = normalise(found)
    assert (image.calls, image.response_model) == (0, "gpt-image-2")
    assert image.usage == Usage(input_uncached=112, output=1568, image_in=0, image_out=1568)


Expected = list[tuple[str, str | None, Usage]]
"""Role, model and usage of a framework's spans that can stand for something."""

CHAT = Usage(input_uncached=276, cache_read=3840, cache_write=896, output=742)
CHAT_STREAM = Usage(input_uncached=256, cache_read=2048, output=188)
RESPONSES = Usage(input_uncached=832, cache_read=15360, cache_write=2048, output=1310)
EMBEDDINGS = Usage(input_uncached=26)

FRAMEWORKS: dict[str, tuple[str, int, Expected]] = {
    # Name: rule, number of its spans that are agents, tools and chains, and the others.
    "pydantic-ai": (
        "pydantic-ai/1",
        4,
        [
            ("call", "gpt-5.6-sol", CHAT._replace(reasoning=512)),
            ("call", "gpt-5.6-sol", CHAT._replace(reasoning=512)),
            ("call", "gpt-5.6-terra", RESPONSES._replace(reasoning=960)),
            (
                "call",
                "claude-opus-5-5",
                Usage(input_uncached=41, cache_read=8000, cache_write=1500, output=312),
            ),
            ("call", "text-embedding-3-small", EMBEDDINGS),
        ],
    ),
    "langfuse": (
        "langfuse/1",
        1,
        [
            ("call", "gpt-5.6-sol", CHAT._replace(reasoning=512, audio_in=0, audio_out=0)),
            (
                "call",
                "gpt-6-luna",
                CHAT_STREAM._replace(cache_write=0, reasoning=128, audio_in=0, audio_out=0),
            ),
            ("call", "gpt-5.6-terra", RESPONSES._replace(reasoning=960)),
            ("call", "text-embedding-3-small", EMBEDDINGS),
        ],
    ),
    "langsmith": (
        "langsmith/1",
        1,
        [
            # It loses what OpenAI writes to a cache.
            (
                "call",
                "gpt-5.6-sol",
                Usage(
                    input_uncached=276 + 896,
                    cache_read=3840,
                    output=742,
                    reasoning=512,
                    audio_in=0,
                    audio_out=0,
                ),
            ),
            (
                "call",
                "gpt-6-luna",
                CHAT_STREAM._replace(reasoning=128, audio_in=0, audio_out=0),
            ),
            (
                "call",
                "gpt-5.6-terra",
                Usage(input_uncached=832 + 2048, cache_read=15360, output=1310, reasoning=960),
            ),
            (
                "call",
                "claude-sonnet-5-5",
                Usage(
                    input_uncached=96,
                    cache_read=11000,
                    cache_write_5m=1200,
                    cache_write_1h=2000,
                    output=845,
                ),
            ),
        ],
    ),
    "mistral": (
        "mistral-sdk/1",
        0,
        [
            ("call", "mistral-medium-3-5", Usage(input_uncached=60, cache_read=640, output=90)),
            ("call", "magistral-medium-2509", Usage(input_uncached=64, cache_read=448, output=300)),
            ("agent", "mistral-medium-3-5", Usage(input_uncached=60, cache_read=640, output=90)),
        ],
    ),
    "agent-framework": (
        "agent-framework/1",
        4,
        [
            ("call", "gpt-5.6-sol", CHAT._replace(reasoning=512)),
            ("call", "gpt-5.6-sol", CHAT._replace(reasoning=512)),
            ("call", "gpt-5.6-terra", RESPONSES._replace(reasoning=960)),
            ("call", "gpt-6-luna", CHAT_STREAM._replace(cache_write=0, reasoning=128)),
        ],
    ),
}


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_frameworks_calls_are_told_from_its_agents_and_chains(apps: Apps, framework: str) -> None:
    """The sums that an agent repeats are nobody's usage, unless nothing else reports it."""
    rule, others, expected = FRAMEWORKS[framework]
    found = evidence(apps.run(framework, framework=framework))
    assert sum(one.profile.role == "other" for one in found) == others
    stand: list[Any] = []
    for one in found:
        if one.profile.role != "other":
            assert one.profile.rule == rule
            (row,) = normalise(one)
            stand.append((one.profile.role, row.response_model or row.request_model, row.usage))
    assert stand == expected
