# SPDX-License-Identifier: Apache-2.0
"""Every sample, cut at every byte: the parsers alone, fed without a network in between."""

from collections.abc import Iterator
from itertools import pairwise
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from microdollar._body import Body
from microdollar._facts import Facts
from microdollar._settings import _hosts
from microdollar.providers import Endpoint, provider_of
from tests.fakes.provider import sample
from tests.instrumentation.expected import CALLS, DECLARED, ENTRIES


def endpoint_of(name: str) -> Endpoint:
    request = ENTRIES[name]["request"]
    url = urlsplit(request["url"])
    port = url.port or {"https": 443, "http": 80}[url.scheme]
    provider = provider_of(url.hostname or "", port, _hosts(DECLARED))
    assert provider is not None
    found = provider.match(request["method"], unquote(url.path))
    assert found is not None
    return found[0]


def facts(name: str, *chunks: bytes) -> list[Facts]:
    """What the chunks of a body say: of a batch each result, else of the one answer."""
    body = Body(endpoint_of(name), sample(name).headers["content-type"], "")
    for chunk in chunks:
        body.feed(chunk)
    body.end(in_order=True)
    return body.results() or [body.facts]


def pieces(body: bytes, size: int) -> Iterator[bytes]:
    return (body[start : start + size] for start in range(0, len(body), size))


@pytest.mark.parametrize("name", CALLS)
def test_a_sample_cut_at_every_byte_says_the_same(name: str) -> None:
    body = sample(name).body
    whole = facts(name, body)
    for cut in range(1, len(body)):
        assert facts(name, body[:cut], body[cut:]) == whole
    for size in (1, 7, 1400):
        assert facts(name, *pieces(body, size)) == whole


STREAMS = [name for name in CALLS if not name.endswith(".json") or ".frames." in name]


@pytest.mark.parametrize("name", STREAMS)
def test_a_sample_that_ends_at_any_byte_never_says_more_than_the_whole(name: str) -> None:
    """What is missing is unknown or less, and complete only if it is what the whole says."""
    body = sample(name).body
    (whole, *_) = facts(name, body)
    for end in range(len(body)):
        for cut in facts(name, body[:end]):
            if cut.complete and not endpoint_of(name).complete_at_end:
                assert cut.usage == whole.usage
            assert (cut.usage.output or 0) <= (whole.usage.output or 0)


@given(st.sampled_from(CALLS), st.lists(st.integers(1, 4000), max_size=8))
def test_any_cuts_say_the_same(name: str, cuts: list[int]) -> None:
    body = sample(name).body
    borders = sorted({0, len(body), *(cut for cut in cuts if cut < len(body))})
    chunks = [body[start:end] for start, end in pairwise(borders)]
    assert facts(name, *chunks) == facts(name, body)


@given(st.sampled_from(CALLS), st.integers(0, 10**6), st.binary(max_size=12))
def test_no_bytes_break_a_reader(name: str, at: int, noise: bytes) -> None:
    body = sample(name).body
    at %= len(body) + 1
    for said in facts(name, body[:at] + noise + body[at:]):
        assert said.usage.output is None or said.usage.output >= 0
