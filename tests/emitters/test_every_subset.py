# SPDX-License-Identifier: Apache-2.0
"""However many emitters report a call, it is booked once, with the counts of the best of them.

Every subset of the emitters really runs. Those of several run twice: switched on one after the
other as listed, with Logfire suppressing what is beneath it, which is its default; and in reverse
order, with Logfire letting the others report, which gives the most witnesses. The order matters,
since each wraps the SDK as the one before has left it.
"""

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.emitters.books import Booked, Call, standing
from tests.emitters.expected import ANTHROPIC, CALLS, EMITTERS, MISSING, MODELS, OPENAI
from tests.emitters.running import Apps, decoded, run_zero_code
from tests.fakes.exporter import Exporter
from tests.instrumentation.collector import attributes

TIMES = 1 + 3
"""Each kind of call is made once by itself and three times at the same time."""

SCOPES = {
    "microdollar": "microdollar",
    "com.anthropic.sdk.python": "anthropic-sdk",
    "opentelemetry.instrumentation.genai.openai": "genai-openai",
    "opentelemetry.instrumentation.genai.anthropic": "genai-anthropic",
    "openinference.instrumentation.openai": "openinference-openai",
    "openinference.instrumentation.anthropic": "openinference-anthropic",
    "opentelemetry.instrumentation.openai.v1": "openllmetry-openai",
    "opentelemetry.instrumentation.anthropic": "openllmetry-anthropic",
    "logfire.openai": "logfire-openai",
    "logfire.anthropic": "logfire-anthropic",
}
MODEL = ("gen_ai.response.model", "gen_ai.request.model", "llm.model_name", "embedding.model_name")
USAGE = ("gen_ai.usage.input_tokens", "llm.token_count.prompt")


class Way(NamedTuple):
    """A subset of the emitters of one SDK, in the order in which they are switched on."""

    sdk: tuple[str, ...]
    emitters: tuple[str, ...]
    suppressing: bool

    @property
    def service(self) -> str:
        sdk = "openai" if self.sdk is OPENAI else "anthropic"
        return f"{sdk}{'' if self.suppressing else ' reversed'}: {' '.join(self.emitters)}"


WAYS = [
    Way(sdk, subset if suppressing else subset[::-1], suppressing)
    for sdk in (OPENAI, ANTHROPIC)
    for size in range(1, len(sdk) + 1)
    for subset in itertools.combinations(sdk, size)
    for suppressing in (True, False)
    if suppressing or size > 1
]
Sent = dict[str, ExportTraceServiceRequest]


@pytest.fixture(scope="module")
def sent(apps: Apps) -> Sent:
    """What the app of each way has sent."""
    return {
        way.service: decoded(
            apps.run(
                way.service,
                way.emitters,
                apart=CALLS[way.sdk],
                at_once=CALLS[way.sdk],
                suppressing=way.suppressing,
            )
        )
        for way in WAYS
    }


@pytest.fixture(scope="module")
def booked(sent: Sent, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Booked]:
    """What the ledger says of each way's calls."""
    db = tmp_path_factory.mktemp("emitters") / "meter.duckdb"
    with Exporter(db) as exporter:
        requests = list(sent.values())
        for start in range(0, len(requests), 16):
            merged = ExportTraceServiceRequest()
            for request in requests[start : start + 16]:
                merged.MergeFrom(request)
            assert not exporter.export(merged).HasField("partial_success")
        found = standing(db)
    yield found


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.service)
def test_each_call_is_booked_once_with_the_best_counts(
    sent: Sent, booked: Booked, way: Way
) -> None:
    """Streamed or not, one by one and at the same time, in a trace of the app's and without."""
    expected: Counter[Call] = Counter()
    reported = reporting(sent[way.service])
    for kind in CALLS[way.sdk]:
        usage = next(
            (EMITTERS[emitter][kind] for emitter in way.sdk if emitter in reported[kind]), MISSING
        )
        source = "missing" if usage == MISSING else "provider"
        expected[Call.of(MODELS[kind], usage, source)] = TIMES
    assert booked[way.service] == expected


def test_every_emitter_reports_as_its_table_says(sent: Sent) -> None:
    """Where it is the only one, so that the tests above cannot pass for want of spans."""
    for way in WAYS:
        if len(way.emitters) == 1:
            (emitter,) = way.emitters
            reported = reporting(sent[way.service])
            assert {kind for kind in CALLS[way.sdk] if emitter in reported[kind]} == {
                kind for kind in CALLS[way.sdk] if EMITTERS[emitter][kind] != MISSING
            }


@pytest.mark.usefixtures("apps")
def test_all_that_switches_itself_on_is_booked_once(tmp_path: Path) -> None:
    """Under `opentelemetry-instrument`, everything but Logfire, in the order it finds them."""
    request = decoded(run_zero_code("script"))
    found = {scope.scope.name for one in request.resource_spans for scope in one.scope_spans}
    assert found == {scope for scope in SCOPES if not scope.startswith("logfire")}
    with Exporter(tmp_path / "meter.duckdb") as exporter:
        exporter.export(request)
        booked = standing(exporter.db)
    assert booked["script"] == {
        Call.of(MODELS[kind], usage, "missing" if usage == MISSING else "provider"): 1
        for kind, usage in EMITTERS["microdollar"].items()
    }


def reporting(request: ExportTraceServiceRequest) -> dict[str, set[str]]:
    """Who has reported usage of each kind of call. An emitter does so of all of them or of none."""
    kinds = {model: kind for kind, model in MODELS.items()}
    counts: Counter[tuple[str, str]] = Counter()
    for resource in request.resource_spans:
        for scope in resource.scope_spans:
            for span in scope.spans:
                found = attributes(span)
                if any(name in found for name in USAGE):
                    model = next(found[name] for name in MODEL if name in found)
                    counts[kinds[model], SCOPES[scope.scope.name]] += 1
    assert set(counts.values()) <= {TIMES}
    reported: dict[str, set[str]] = defaultdict(set)
    for kind, emitter in counts:
        reported[kind].add(emitter)
    return reported
