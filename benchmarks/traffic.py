# SPDX-License-Identifier: Apache-2.0
"""Traffic to measure with: OTLP requests as a fleet of metered apps sends them, and their sums.

The spans have the attributes that our instrumentation gives them; a test holds them to it. What
differs in life differs here, drawn from a seed: ids, tokens, durations, customers, who streams and
who is refused. Requests are encoded once, into a file that `sender` reads.
"""

import random
import string
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from itertools import cycle, repeat
from pathlib import Path

from genai_prices import Usage, calc_price
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

from benchmarks.sender import LENGTH
from microdollar_semconv import SCOPE_NAME
from microdollar_semconv import attributes as md
from microdollar_semconv import gen_ai as ga
from tests.fakes.otlp import Value, key_values

__all__ = ["MODELS", "Model", "Sums", "Traffic", "generate", "seconds"]

APPS = 20
"""Processes that send, each a boot of its own."""
CALLS_PER_SECOND = 100
"""Of each app."""
BATCH = 256
"""Spans in an export of our instrumentation. A larger request is several of them in one, as a
Collector's batch is."""
CUSTOMERS = 500
"""With calls after Zipf's law."""
USERS = 200
"""Of each customer."""
SERVICES = ("assistant", "search", "mail")
FEATURES = ("chat", "summary", "search", "translate", "classify", "draft", "review", "extract")
REFUSED = 0.015
"""The part of the calls that meets a rate limit, and so uses nothing."""
CACHED = 0.5
"""The part of the calls whose prompt begins with what the provider has in its cache."""

_BASE62 = bytes((string.ascii_letters + string.digits).encode()[i % 62] for i in range(256))
_HEX = bytes(b"0123456789abcdef"[i % 16] for i in range(256))

_SUCCEEDED: bytes = Span(status=Status(), flags=256).SerializeToString()
_FAILED: bytes = Span(status=Status(code=Status.STATUS_CODE_ERROR), flags=256).SerializeToString()


@dataclass(frozen=True, kw_only=True)
class Model:
    """A model, and what our instrumentation says of every call to it.

    `share` is its part of the calls in percent, `streamed` the part of those that is streamed, and
    `priced_by` its provider's name in genai-prices. The random part of a response's id has
    `id_length` characters of `id_alphabet`. `counts` names the usage that is reported beside input
    and output.
    """

    name: str
    share: int
    provider: str
    priced_by: str
    server: str
    operation: str = "chat"
    streamed: float = 0.0
    api_type: str | None = None
    id_prefix: str = ""
    id_alphabet: bytes = _BASE62
    id_length: int = 0
    response: Mapping[str, Value] = field(default_factory=dict)
    counts: tuple[str, ...] = ()


_CACHE_WRITES = (
    ga.USAGE_CACHE_WRITE_INPUT_TOKENS,
    md.USAGE_CACHE_WRITE_5M_INPUT_TOKENS,
    md.USAGE_CACHE_WRITE_1H_INPUT_TOKENS,
)
_AUDIO = (ga.USAGE_AUDIO_INPUT_TOKENS, ga.USAGE_AUDIO_OUTPUT_TOKENS)
_IMAGES = (ga.USAGE_IMAGE_INPUT_TOKENS, ga.USAGE_IMAGE_OUTPUT_TOKENS)


def _openai_chat(name: str, share: int) -> Model:
    return Model(
        name=name,
        share=share,
        provider="openai",
        priced_by="openai",
        server="api.openai.com",
        streamed=0.5,
        api_type="chat_completions",
        id_prefix="chatcmpl-",
        id_length=29,
        response={
            ga.RESPONSE_FINISH_REASONS: ["stop"],
            ga.HTTP_RESPONSE_STATUS_CODE: 200,
            ga.OPENAI_RESPONSE_SERVICE_TIER: "default",
        },
        counts=(
            ga.USAGE_CACHE_READ_INPUT_TOKENS,
            *_CACHE_WRITES,
            ga.USAGE_REASONING_OUTPUT_TOKENS,
            *_AUDIO,
        ),
    )


def _openai_responses(name: str, share: int) -> Model:
    return Model(
        name=name,
        share=share,
        provider="openai",
        priced_by="openai",
        server="api.openai.com",
        streamed=0.5,
        api_type="responses",
        id_prefix="resp_",
        id_alphabet=_HEX,
        id_length=50,
        response={
            ga.RESPONSE_FINISH_REASONS: ["completed"],
            ga.HTTP_RESPONSE_STATUS_CODE: 200,
            ga.OPENAI_RESPONSE_SERVICE_TIER: "default",
        },
        counts=(
            ga.USAGE_CACHE_READ_INPUT_TOKENS,
            *_CACHE_WRITES,
            ga.USAGE_REASONING_OUTPUT_TOKENS,
        ),
    )


def _anthropic(name: str, share: int) -> Model:
    return Model(
        name=name,
        share=share,
        provider="anthropic",
        priced_by="anthropic",
        server="api.anthropic.com",
        streamed=0.5,
        id_prefix="msg_01",
        id_length=22,
        response={
            ga.RESPONSE_FINISH_REASONS: ["end_turn"],
            ga.HTTP_RESPONSE_STATUS_CODE: 200,
            md.RESPONSE_SERVICE_TIER: "standard",
            md.RESPONSE_SPEED: "standard",
            md.RESPONSE_INFERENCE_GEO: "global",
        },
        counts=(
            ga.USAGE_CACHE_READ_INPUT_TOKENS,
            *_CACHE_WRITES,
            ga.USAGE_REASONING_OUTPUT_TOKENS,
        ),
    )


MODELS = (
    _openai_chat("gpt-6-luna", 28),
    _openai_chat("gpt-6.1-terra", 16),
    _openai_responses("gpt-5.6-sol", 14),
    _anthropic("claude-haiku-5-5", 14),
    _anthropic("claude-sonnet-5-5", 12),
    Model(
        name="gemini-3.5-flash",
        share=10,
        provider="gcp.gemini",
        priced_by="google",
        server="generativelanguage.googleapis.com",
        operation="generate_content",
        id_length=23,
        response={
            ga.RESPONSE_FINISH_REASONS: ["STOP"],
            ga.HTTP_RESPONSE_STATUS_CODE: 200,
            md.RESPONSE_SERVICE_TIER: "standard",
        },
        counts=(
            ga.USAGE_CACHE_READ_INPUT_TOKENS,
            ga.USAGE_REASONING_OUTPUT_TOKENS,
            *_AUDIO,
            *_IMAGES,
        ),
    ),
    Model(
        name="text-embedding-3-small",
        share=6,
        provider="openai",
        priced_by="openai",
        server="api.openai.com",
        operation="embeddings",
        response={ga.HTTP_RESPONSE_STATUS_CODE: 200},
    ),
)


@dataclass(slots=True)
class Sums:
    """What the ledger must hold of one model: calls, tokens by bucket, and cost in picodollars."""

    calls: int = 0
    input_uncached: int = 0
    cache_read: int = 0
    cache_write_5m: int = 0
    output: int = 0
    reasoning: int = 0
    cost: int = 0


@dataclass(frozen=True)
class Traffic:
    """Requests in a file, how many spans each holds, and the sums of all by requested model."""

    path: Path
    requests: int
    per_request: int
    sums: Mapping[str, Sums]

    @property
    def spans(self) -> int:
        """The spans of all requests."""
        return self.requests * self.per_request


def generate(
    path: Path, *, spans: int, per_request: int, start: float | None = None, seed: int = 1
) -> Traffic:
    """Encode `spans` or a few less, in whole requests, of calls that end after `start` (unix time).

    Without `start` they are the calls of the last `seconds(spans)`.
    """
    if start is None:
        start = time.time() - seconds(spans)
    fleet = _Fleet(random.Random(seed), start)  # noqa: S311 - measures, and hides nothing
    requests = spans // per_request
    with path.open("wb") as file:
        for _ in range(requests):
            body = b"".join(map(fleet.export, _batches(per_request)))
            file.write(LENGTH.pack(len(body)) + body)
    return Traffic(path, requests, per_request, fleet.sums())


def seconds(spans: int) -> float:
    """How long the apps take to make so many calls."""
    return spans / CALLS_PER_SECOND / APPS


def _batches(spans: int) -> Iterator[int]:
    yield from repeat(BATCH, spans // BATCH)
    if spans % BATCH:
        yield spans % BATCH


class _App:
    """One process, which numbers its calls."""

    def __init__(self, rng: random.Random, number: int, start: float) -> None:
        self.boot = _attribute(md.BOOT_ID, rng.randbytes(16).hex())
        self.calls = 0
        self.now = start + number * BATCH / CALLS_PER_SECOND / APPS
        attributes: dict[str, Value] = {
            "telemetry.sdk.language": "python",
            "telemetry.sdk.name": "opentelemetry",
            "telemetry.sdk.version": "1.45.1",
            "service.instance.id": rng.randbytes(16).hex(),
            ga.SERVICE_NAME: SERVICES[number % len(SERVICES)],
            ga.DEPLOYMENT_ENVIRONMENT_NAME: "production",
        }
        resource = ResourceSpans(resource=Resource(attributes=key_values(attributes)))
        self.resource: bytes = resource.SerializeToString()
        scope = InstrumentationScope(name=SCOPE_NAME, version="0.1.0")
        self.scope: bytes = ScopeSpans(scope=scope).SerializeToString()


class _Kind:
    """What all calls to a model have in common that are streamed, or that are not, encoded."""

    def __init__(self, model: Model, *, streamed: bool) -> None:
        self.model = model
        self.streamed = streamed
        asked: dict[str, Value] = {
            ga.OPERATION_NAME: model.operation,
            ga.PROVIDER_NAME: model.provider,
            ga.REQUEST_MODEL: model.name,
        }
        if streamed:
            asked[ga.REQUEST_STREAM] = True
        if model.api_type:
            asked[ga.OPENAI_API_TYPE] = model.api_type
        asked |= {ga.SERVER_ADDRESS: model.server, ga.SERVER_PORT: 443}
        answered = {
            ga.RESPONSE_MODEL: model.name,
            **model.response,
            md.USAGE_SOURCE: md.USAGE_SOURCE_PROVIDER,
            md.BOOT_DROPPED_CALLS: 0,
        }
        refused: dict[str, Value] = {
            ga.HTTP_RESPONSE_STATUS_CODE: 429,
            md.USAGE_SOURCE: md.USAGE_SOURCE_NONE,
            md.BOOT_DROPPED_CALLS: 0,
            ga.ERROR_TYPE: "429",
        }
        name = f"{model.operation} {model.name}"
        self.name: bytes = Span(name=name, kind=Span.SPAN_KIND_CLIENT).SerializeToString()
        self.asked: bytes = Span(attributes=key_values(asked)).SerializeToString()
        self.answered: bytes = Span(attributes=key_values(answered)).SerializeToString()
        self.refused: bytes = Span(attributes=key_values(refused)).SerializeToString()


class _Fleet:
    """The apps, which export in turn.

    Joining the bytes of protobuf messages merges them, so what many spans share is encoded once.
    The parts are joined in the order in which a message as a whole would have been encoded.
    """

    def __init__(self, rng: random.Random, start: float) -> None:
        self._rng = rng
        self._start = start
        self._apps = cycle([_App(rng, number, start) for number in range(APPS)])
        self._kinds = [_Kind(model, streamed=it) for model in MODELS for it in (False, True)]
        self._kind_weights = [
            share * model.share
            for model in MODELS
            for share in (1 - model.streamed, model.streamed)
        ]
        self._customers = [f"cus_{_word(rng, _BASE62, 14)}" for _ in range(CUSTOMERS)]
        self._customer_weights = [1 / rank for rank in range(1, CUSTOMERS + 1)]
        self._sums = {model.name: Sums() for model in MODELS}

    def sums(self) -> dict[str, Sums]:
        """The sums of everything exported so far, with costs in exact arithmetic."""
        at = datetime.fromtimestamp(self._start, UTC)
        for model in MODELS:
            sums = self._sums[model.name]
            sums.cost = sum(getattr(sums, name) * rate for name, rate in _rates(model, at).items())
        return self._sums

    def export(self, count: int) -> bytes:
        """An ExportTraceServiceRequest of the app whose turn it is."""
        app = next(self._apps)
        spans = b"".join(
            _field(ScopeSpans.SPANS_FIELD_NUMBER, span) for span in self._spans(app, count)
        )
        scope_spans = _field(ResourceSpans.SCOPE_SPANS_FIELD_NUMBER, app.scope + spans)
        return _field(
            ExportTraceServiceRequest.RESOURCE_SPANS_FIELD_NUMBER, app.resource + scope_spans
        )

    def _spans(self, app: _App, count: int) -> Iterator[bytes]:
        """Calls in the order of their ends, in traces of one to four."""
        rng = self._rng
        until = app.now + count / CALLS_PER_SECOND
        ends = sorted(rng.uniform(app.now, until) for _ in range(count))
        app.now = until
        kinds = rng.choices(self._kinds, self._kind_weights, k=count)
        left = 0
        for ended, kind in zip(ends, kinds, strict=True):
            if not left:
                [left] = rng.choices((1, 2, 3, 4), (60, 20, 12, 8))
                trace_id = rng.randbytes(16)
                parent_span_id = rng.randbytes(8) if rng.random() < 0.9 else b""
                who = self._who()
            left -= 1
            app.calls += 1
            took = rng.lognormvariate(0.5, 0.8)
            ids = Span(
                trace_id=trace_id, span_id=rng.randbytes(8), parent_span_id=parent_span_id
            ).SerializeToString()
            times = Span(
                start_time_unix_nano=int((ended - took) * 1e9),
                end_time_unix_nano=int(ended * 1e9),
            ).SerializeToString()
            call = app.boot + _attribute(md.CALL_SEQUENCE, app.calls)
            yield ids + kind.name + times + kind.asked + who + call + self._outcome(kind, took)

    def _who(self) -> bytes:
        """Whom a trace is for: hardly ever nobody, mostly a user, always a feature."""
        rng = self._rng
        known = b""
        if rng.random() < 0.98:
            [customer] = rng.choices(range(CUSTOMERS), self._customer_weights)
            known = _attribute(md.CUSTOMER_ID, self._customers[customer])
            if rng.random() < 0.7:
                user = f"user_{customer * USERS + rng.randrange(USERS):06x}"
                known += _attribute(md.USER_ID, user)
        return known + _attribute(md.TAG_PREFIX + "feature", rng.choice(FEATURES))

    def _outcome(self, kind: _Kind, took: float) -> bytes:
        rng, model = self._rng, kind.model
        sums = self._sums[model.name]
        sums.calls += 1
        if rng.random() < REFUSED:
            return kind.refused + _FAILED
        parts = []
        if model.id_length:
            response_id = model.id_prefix + _word(rng, model.id_alphabet, model.id_length)
            parts.append(_fresh_attribute(ga.RESPONSE_ID, response_id))
        parts.append(kind.answered)
        if kind.streamed:
            parts.append(_fresh_attribute(ga.RESPONSE_TIME_TO_FIRST_CHUNK, took * rng.random()))
        parts += [_attribute(name, count) for name, count in self._usage(model, sums).items()]
        return b"".join(parts) + _SUCCEEDED

    def _usage(self, model: Model, sums: Sums) -> dict[str, int]:
        """Draw what a call used, as the attributes say it: input includes what is cached."""
        rng = self._rng
        given = min(1 + int(rng.lognormvariate(7, 1.1)), 60_000)
        made = 0 if model.operation == "embeddings" else 1 + int(rng.lognormvariate(5.5, 0.9))
        counts = dict.fromkeys(model.counts, 0)
        read = written = 0
        if model.counts and given > 1024 and rng.random() < CACHED:
            read = given // 2 // 128 * 128
            counts[ga.USAGE_CACHE_READ_INPUT_TOKENS] = read
            if model.provider == "anthropic":
                written = (given - read) // 2
                counts[ga.USAGE_CACHE_WRITE_INPUT_TOKENS] = written
                counts[md.USAGE_CACHE_WRITE_5M_INPUT_TOKENS] = written
        if model.counts and rng.random() < 0.3:
            counts[ga.USAGE_REASONING_OUTPUT_TOKENS] = made // 2
            sums.reasoning += made // 2
        sums.input_uncached += given - read - written
        sums.cache_read += read
        sums.cache_write_5m += written
        sums.output += made
        return {ga.USAGE_INPUT_TOKENS: given, ga.USAGE_OUTPUT_TOKENS: made, **counts}


def _word(rng: random.Random, alphabet: bytes, length: int) -> str:
    return rng.randbytes(length).translate(alphabet).decode()


def _fresh_attribute(name: str, value: Value) -> bytes:
    """The bytes that add an attribute to a span."""
    encoded: bytes = Span(attributes=key_values({name: value})).SerializeToString()
    return encoded


_attribute = lru_cache(200_000)(_fresh_attribute)


def _field(number: int, body: bytes) -> bytes:
    """A field of protobuf's wire type 2: its tag, its length as a varint, its bytes."""
    head, left = bytearray([number << 3 | 2]), len(body)
    while left > 0x7F:
        head.append(left & 0x7F | 0x80)
        left >>= 7
    head.append(left)
    return bytes(head) + body


def _rates(model: Model, at: datetime) -> dict[str, int]:
    """Picodollars per token, by genai-prices' own calculator and so independent of ours."""
    usages = {
        "input_uncached": Usage(input_tokens=1000),
        "cache_read": Usage(input_tokens=1000, cache_read_tokens=1000),
        "cache_write_5m": Usage(input_tokens=1000, cache_write_tokens=1000),
        "output": Usage(output_tokens=1000),
    }
    rates = {}
    for bucket, usage in usages.items():
        price: Decimal = calc_price(
            usage, model.name, provider_id=model.priced_by, genai_request_timestamp=at
        ).total_price
        rate = price * 10**9
        assert rate == int(rate), f"{model.name}: the costs of single calls would be rounded"
        rates[bucket] = int(rate)
    return rates
