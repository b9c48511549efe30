# SPDX-License-Identifier: Apache-2.0
"""The exporter's own metrics, by the OpenTelemetry SDK: what came, what became of it, how fast.

The parts count what they do anyway, once per request or commit; their counts are read when
somebody asks. No metric names a customer or a user.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import version
from typing import NamedTuple

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader
from opentelemetry.sdk.metrics.view import ExplicitBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from opentelemetry.semconv.attributes.error_attributes import ERROR_TYPE
from prometheus_client import CollectorRegistry, generate_latest

from microdollar_exporter.receive.ingest import Door, Ingest
from microdollar_exporter.receive.limits import Gate
from microdollar_exporter.store import Writer

__all__ = ["METRICS", "Metrics", "Sources"]

_DOOR = "microdollar.exporter.door"
_ATTRIBUTE = "microdollar.exporter.attribute"
_PREFIX = "microdollar.exporter."

Counts = Iterable[tuple[float, Mapping[str, str]]]


class Sources(NamedTuple):
    """The parts that count, and how many queries run."""

    ingest: Ingest
    gate: Gate
    writer: Writer
    queries: Callable[[], int]


class Instrument(NamedTuple):
    """A metric: its unit, what it says, and where its counts are; a gauge goes up and down."""

    unit: str
    description: str
    read: Callable[[Sources], Counts]
    is_gauge: bool = False


def _one(value: float) -> Counts:
    return [(value, {})]


def _each(counts: Mapping[str, int], attribute: str) -> Counts:
    return [(count, {attribute: str(key)}) for key, count in list(counts.items())]


def _received_spans(of: Sources) -> Counts:
    return _one(of.ingest.spans.total() + of.ingest.spans_refused.total())


METRICS: Mapping[str, Instrument] = {
    "request.received": Instrument(
        "{request}", "Export requests that came.", lambda of: _each(of.ingest.requests, _DOOR)
    ),
    "request.refused": Instrument(
        "{request}",
        "Export requests that were refused, by reason.",
        lambda of: _each(of.ingest.refused, ERROR_TYPE),
    ),
    "request.abandoned": Instrument(
        "{request}",
        "Export requests whose sender did not wait for the answer.",
        lambda of: _one(of.ingest.abandoned),
    ),
    "span.received": Instrument("{span}", "Spans in requests that were read.", _received_spans),
    "span.ignored": Instrument(
        "{span}", "Spans that are not GenAI.", lambda of: _one(of.ingest.spans["ignored"])
    ),
    "span.refused": Instrument(
        "{span}",
        "Spans that can never be stored, by reason.",
        lambda of: _each(of.ingest.spans_refused, ERROR_TYPE),
    ),
    "span.stored": Instrument(
        "{span}", "Spans that were new.", lambda of: _one(of.writer.tally.stored)
    ),
    "span.deduplicated": Instrument(
        "{span}", "Spans that were known already.", lambda of: _one(of.writer.tally.duplicates)
    ),
    "span.contradictory": Instrument(
        "{span}",
        "Known spans that say something else now; what came first stands.",
        lambda of: _one(of.writer.tally.contradictory),
    ),
    "span.held": Instrument(
        "{span}",
        "Spans kept that cannot be booked yet.",
        lambda of: _one(of.writer.tally.held),
    ),
    "span.expired": Instrument(
        "{span}",
        "Spans from before the time that is kept; they are among the refused ones.",
        lambda of: _one(of.writer.tally.expired),
    ),
    "span.ahead": Instrument(
        "{span}",
        "Spans that begin a day from now or later, and are booked for that time.",
        lambda of: _one(of.ingest.spans_ahead),
    ),
    "value.dropped": Instrument(
        "{value}",
        "Attribute values that are too long, unprintable or not of their type, by attribute.",
        lambda of: _each(of.ingest.values_dropped, _ATTRIBUTE),
    ),
    "entry.superseded": Instrument(
        "{entry}",
        "Ledger entries taken back for a better witness of the same call.",
        lambda of: _one(of.writer.tally.superseded),
    ),
    "call.unpriced": Instrument(
        "{call}", "Calls booked without a cost.", lambda of: _one(of.writer.tally.unpriced)
    ),
    "call.unassigned": Instrument(
        "{call}", "Calls booked for no customer.", lambda of: _one(of.writer.tally.unassigned)
    ),
    "commit.count": Instrument(
        "{commit}", "Durable writes.", lambda of: _one(of.writer.tally.commits)
    ),
    "commit.time": Instrument(
        "s", "Time spent in durable writes.", lambda of: _one(of.writer.tally.commit_seconds)
    ),
    "queue.requests": Instrument(
        "{request}", "Export requests under way.", lambda of: _one(of.gate.requests), is_gauge=True
    ),
    "queue.size": Instrument(
        "By", "Bytes of export requests under way.", lambda of: _one(of.gate.bytes), is_gauge=True
    ),
    "queue.spans": Instrument(
        "{span}",
        "Spans that wait for the next durable write.",
        lambda of: _one(of.writer.waiting_spans),
        is_gauge=True,
    ),
    "query.active": Instrument(
        "{query}", "Queries that are being answered.", lambda of: _one(of.queries()), is_gauge=True
    ),
}
"""The metrics by their names without `microdollar.exporter.`; two histograms join them."""

_LAST_MILLIS = 2000
_DURATION = "request.duration"
_LAG = "lag"
_BOUNDS = {
    _DURATION: [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30],
    _LAG: [0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 300, 900, 3600, 6 * 3600, 86400, 864000],
}


class Metrics:
    """The metrics of one run; `readers` send them on, and `text` has them for Prometheus."""

    def __init__(self, readers: Sequence[MetricReader] = ()) -> None:
        self._registry = CollectorRegistry()
        self._provider = MeterProvider(
            metric_readers=[PrometheusMetricReader(registry=self._registry), *readers],
            resource=Resource.create({"service.name": "microdollar-exporter"}),
            views=[
                View(
                    instrument_name=_PREFIX + name,
                    aggregation=ExplicitBucketHistogramAggregation(bounds),
                )
                for name, bounds in _BOUNDS.items()
            ],
            shutdown_on_exit=False,
        )
        self._meter = self._provider.get_meter(
            "microdollar_exporter", version("microdollar-exporter")
        )
        self._duration = self._meter.create_histogram(
            _PREFIX + _DURATION, "s", "From a request's arrival to its acknowledgement."
        )
        self._lag = self._meter.create_histogram(
            _PREFIX + _LAG, "s", "From the end of a request's oldest span to its acknowledgement."
        )

    def observe(self, door: Door, seconds: float, lag: float) -> None:
        """Record an acknowledged request."""
        self._duration.record(seconds, {_DOOR: door})
        self._lag.record(max(0.0, lag))

    def watch(self, sources: Sources) -> None:
        """Read these counts from now on."""
        for name, metric in METRICS.items():
            create = (
                self._meter.create_observable_up_down_counter
                if metric.is_gauge
                else self._meter.create_observable_counter
            )
            create(_PREFIX + name, [_callback(metric, sources)], metric.unit, metric.description)

    def text(self) -> bytes:
        """All of them, in Prometheus's text format."""
        return generate_latest(self._registry)

    def close(self) -> None:
        """Send the last figures, unless that takes long."""
        self._provider.shutdown(_LAST_MILLIS)


def _callback(
    metric: Instrument, sources: Sources
) -> Callable[[CallbackOptions], Iterable[Observation]]:
    def observe(_: CallbackOptions) -> Iterable[Observation]:
        return [Observation(value, attributes) for value, attributes in metric.read(sources)]

    return observe
