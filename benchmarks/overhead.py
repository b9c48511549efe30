# SPDX-License-Identifier: Apache-2.0
"""What metering adds to an app's calls, beside others that report the same calls.

The app is the openai SDK over a transport inside the process; each variant runs in a process of
its own, and all of them take short turns, so that what else happens on the machine meets them all.
Every variant makes spans of the calls and hands them in batches, when it likes, to an exporter that
discards them; contents are captured by none. Before anything is timed each variant has to give the
app the right answers and to report the right tokens.

What counts is CPU time of the whole process, its background threads included, also what they use
between its turns. Others on the machine can only add to that, so the figure of a variant is the
lower quartile of its turns; what it adds is that figure above the one of the SDK alone.

    .venv-emitters/bin/python -m benchmarks.overhead [--rounds N] [--growth N]
"""

import argparse
import gc
import importlib
import json
import math
import os
import statistics
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import httpx2
import openai
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

import microdollar
from microdollar import _exporter

ROOT = Path(__file__).parents[1]
BASELINE, OURS = "openai SDK alone", "microdollar"
PEERS = {
    "genai-openai": "opentelemetry.instrumentation.genai.openai:OpenAIInstrumentor",
    "OpenLLMetry": "opentelemetry.instrumentation.openai:OpenAIInstrumentor",
    "OpenInference": "openinference.instrumentation.openai:OpenAIInstrumentor",
    "Logfire": "logfire:instrument_openai",
}
VARIANTS = [BASELINE, OURS, *PEERS]
NO_CONTENT = {
    "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "NO_CONTENT",
    "TRACELOOP_TRACE_CONTENT": "false",
    "OPENINFERENCE_HIDE_INPUTS": "true",
    "OPENINFERENCE_HIDE_OUTPUTS": "true",
}
LENGTHS = (200, 2_000)
MESSAGES = [{"role": "user", "content": "Say something. " * 20}]
INPUT, OUTPUT = 101, 57
CALL_TARGET, CHUNK_TARGET, STREAM_LIMIT = 0.6, 0.1, 16 * 2**10
GROWTH_STEP, GROWTH_LIMIT = 1_000, 8.0
"""Calls between two flushes, and bytes a call may leave behind: less than any object takes."""


def main() -> None:
    """Run all variants and print the table, or serve as one variant."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=60, help="turns of each variant")
    parser.add_argument("--growth", type=int, default=100_000, help="calls of the growth test")
    parser.add_argument("--variant", choices=VARIANTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.variant:
        serve(options.variant)
    else:
        compare(options.rounds, options.growth)


# ---- One variant --------------------------------------------------------------------------------


class App:
    """An app that calls the openai SDK, whose answers come from inside the process."""

    def __init__(self) -> None:
        self.whole = json.dumps(completion()).encode()
        self.streams = {length: [*events(length)] for length in LENGTHS}
        self.client: Any = openai.OpenAI(
            api_key="none",
            max_retries=0,
            http_client=httpx2.Client(transport=httpx2.MockTransport(self._answer)),
        )

    def _answer(self, request: Any) -> Any:
        wanted = request.headers.get("x-chunks")
        if wanted is None:
            headers = {"content-type": "application/json"}
            return httpx2.Response(200, headers=headers, content=self.whole)
        chunks = self.streams[int(wanted)]
        kind = type("Chunks", (httpx2.SyncByteStream,), {"__iter__": lambda _: iter(chunks)})
        headers = {"content-type": "text/event-stream"}
        return httpx2.Response(200, headers=headers, stream=kind())

    def call(self) -> Any:
        """One call; returns its answer."""
        return self.client.chat.completions.create(model="gpt-5.6-sol", messages=MESSAGES)

    def open(self, length: int) -> Any:
        """Open a stream of so many chunks."""
        return self.client.chat.completions.create(
            model="gpt-5.6-sol",
            messages=MESSAGES,
            stream=True,
            stream_options={"include_usage": True},
            extra_headers={"x-chunks": str(length)},
        )

    def stream(self, length: int) -> int:
        """Read a stream to its end; returns the number of chunks."""
        return sum(1 for _ in self.open(length))


def completion() -> dict[str, Any]:
    """A whole answer."""
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_790_000_000,
        "model": "gpt-5.6-sol-2026-08-01",
        "choices": [
            {
                "index": 0,
                "finish_reason": "stop",
                "message": {"role": "assistant", "content": "Something or other. " * 20},
            }
        ],
        "usage": usage(),
    }


def usage() -> dict[str, int]:
    """The usage that every variant has to report."""
    return {"prompt_tokens": INPUT, "completion_tokens": OUTPUT, "total_tokens": INPUT + OUTPUT}


def events(length: int) -> Iterator[bytes]:
    """The events of a stream: its last two are the finish and the usage."""
    event: dict[str, Any] = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1_790_000_000,
        "model": "gpt-5.6-sol-2026-08-01",
    }
    for number in range(length - 2):
        choice = {"index": 0, "delta": {"content": f" word{number}"}, "finish_reason": None}
        yield sse(event | {"choices": [choice], "usage": None})
    yield sse(event | {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    yield sse(event | {"choices": [], "usage": usage()}) + b"data: [DONE]\n\n"


def sse(event: dict[str, Any]) -> bytes:
    """One event as it is on the wire."""
    return b"data: " + json.dumps(event).encode() + b"\n\n"


class Discard:
    """An exporter that keeps of a span only whether it has the right counts."""

    def __init__(self) -> None:
        self.spans = self.right = 0

    def export(self, spans: Sequence[Any]) -> Any:
        """Count."""
        for span in spans:
            values = set((span.attributes or {}).values())
            self.spans += 1
            self.right += {INPUT, OUTPUT} <= {value for value in values if type(value) is int}
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """Nothing is held."""

    def force_flush(self, timeout_millis: int = 30_000) -> bool:  # noqa: ARG002
        """Nothing is kept."""
        return True


def switch_on(variant: str, exporter: Discard) -> Callable[[], object]:
    """Instrument the SDK; returns what flushes the spans."""
    if variant == BASELINE:
        return lambda: None
    if variant == OURS:
        _exporter.load = lambda settings: cast("SpanExporter", exporter)  # noqa: ARG005
        microdollar.instrument()
        return microdollar.flush
    processor = BatchSpanProcessor(exporter, max_queue_size=2**16)  # type: ignore[arg-type]
    module, _, name = PEERS[variant].partition(":")
    if variant == "Logfire":
        logfire = importlib.import_module(module)
        logfire.configure(
            send_to_logfire=False,
            console=False,
            metrics=False,
            inspect_arguments=False,
            additional_span_processors=[processor],
        )
        logfire.instrument_openai()
        return processor.force_flush
    provider = TracerProvider()
    provider.add_span_processor(processor)
    trace.set_tracer_provider(provider)
    getattr(importlib.import_module(module), name)().instrument()
    return processor.force_flush


def serve(variant: str) -> None:
    """Answer commands on standard input until it closes."""
    exporter = Discard()
    flush = switch_on(variant, exporter)
    app = App()
    check(app, exporter, flush, reports=variant != BASELINE)
    work: dict[str, Callable[..., None]] = {"call": calls, "stream": streams}
    figures: dict[str, Callable[..., float]] = {"first": first_byte, "open": held, "grow": growth}
    used = time.process_time()
    print("ready", flush=True)
    for line in sys.stdin:
        name, *numbers = line.split()
        if name in work:
            work[name](app, *map(int, numbers))
            before, used = used, time.process_time()
            print(1e6 * (used - before) / math.prod(map(int, numbers)), flush=True)
        else:
            print(figures[name](app, flush, *map(int, numbers)), flush=True)
            used = time.process_time()


def check(app: App, exporter: Discard, flush: Callable[[], object], *, reports: bool) -> None:
    """The app gets its answers, and the calls are reported with their tokens."""
    for _ in range(3):
        assert app.call().usage.prompt_tokens == INPUT
        for length in LENGTHS:
            assert app.stream(length) == length
    flush()
    # Logfire makes a second span of a stream, without counts.
    assert exporter.right == (9 if reports else 0), vars(exporter)


def calls(app: App, number: int) -> None:
    """Make so many calls."""
    for _ in range(number):
        app.call()


def streams(app: App, number: int, length: int) -> None:
    """Read so many streams to their end."""
    for _ in range(number):
        app.stream(length)


def first_byte(app: App, flush: Callable[[], object], number: int) -> float:
    """Microseconds from the call to its first chunk, the median of so many."""
    taken = []
    for _ in range(number):
        start = time.perf_counter()
        stream = app.open(LENGTHS[0])
        next(iter(stream))
        taken.append(time.perf_counter() - start)
        stream.close()
    flush()
    return 1e6 * statistics.median(taken)


def held(app: App, _: Callable[[], object], number: int, read: int) -> float:
    """Bytes of memory per open stream, of which so many chunks have been read."""
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    opened = [app.open(LENGTHS[-1]) for _ in range(number)]
    for stream in opened:
        chunks = iter(stream)
        for _chunk in range(read):
            next(chunks)
    gc.collect()
    size = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    for stream in opened:
        stream.close()
    return size / number


def growth(app: App, flush: Callable[[], object], number: int) -> float:
    """Bytes of memory that stay of each of so many calls, after a tenth as many to begin with."""
    sizes = []
    for some in (number // 10, number):
        for _ in range(0, some, GROWTH_STEP):
            calls(app, GROWTH_STEP)
            flush()
        sizes.append(resident())
    return (sizes[1] - sizes[0]) / number


def resident() -> int:
    """Bytes of this process in memory."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


# ---- All of them --------------------------------------------------------------------------------


class Worker:
    """A variant in a process of its own."""

    def __init__(self, variant: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.overhead", "--variant", variant],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=os.environ | NO_CONTENT,
        )
        self.ask()

    def ask(self, *command: object) -> float:
        """Have a command done and return its figure."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        if command:
            print(*command, file=stdin, flush=True)
        answer = stdout.readline().strip()
        assert answer, "the variant has failed"
        return 0.0 if answer == "ready" else float(answer)

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


JOBS: dict[str, tuple[object, ...]] = {
    "call": ("call", 50),
    **{f"chunk of {length:,}": ("stream", 2_000 // length, length) for length in LENGTHS},
    "first byte": ("first", 50),
}
"""The commands of one turn."""


def compare(rounds: int, grown: int) -> None:
    """Measure in turns and print."""
    workers = {variant: Worker(variant) for variant in VARIANTS}
    for worker in workers.values():  # warm
        for job in JOBS.values():
            worker.ask(*job)
    turns: dict[str, dict[str, list[float]]] = {name: {v: [] for v in VARIANTS} for name in JOBS}
    for _ in range(rounds):
        for name, job in JOBS.items():
            for variant, worker in workers.items():
                turns[name][variant].append(worker.ask(*job))
    print(f"Microseconds of CPU above the SDK alone; lower quartile of {rounds} turns\n")
    show({name: {v: lower_quartile(turns[name][v]) for v in VARIANTS} for name in JOBS})
    memory(workers, grown)
    for worker in workers.values():
        worker.close()


def lower_quartile(values: Sequence[float]) -> float:
    """The value that a quarter of them do not exceed."""
    return sorted(values)[len(values) // 4]


def show(figures: dict[str, dict[str, float]]) -> None:
    """The table, and our ratio to the best peer."""
    print(f"{'':20}" + "".join(f"{name:>16}" for name in figures))
    print(f"{BASELINE:20}" + "".join(f"{each[BASELINE]:16.2f}" for each in figures.values()))
    added = {n: {v: each[v] - each[BASELINE] for v in VARIANTS} for n, each in figures.items()}
    for variant in VARIANTS[1:]:
        print(f"{'+ ' + variant:20}" + "".join(f"{each[variant]:16.2f}" for each in added.values()))
    print()
    for name, each in added.items():
        best = min(PEERS, key=lambda peer: each[peer])
        limit = CALL_TARGET if name == "call" else CHUNK_TARGET
        wanted = "" if name == "first byte" else f", at most {limit}"
        print(f"{name}: {each[OURS] / each[best]:.3f} of {best}, the best peer{wanted}")


def memory(workers: dict[str, Worker], grown: int) -> None:
    """Per open stream, short and long; and what a call leaves behind."""
    print()
    for read in (10, 1_900):
        sizes = {variant: worker.ask("open", 10, read) for variant, worker in workers.items()}
        text = ", ".join(f"{v} {sizes[v] - sizes[BASELINE]:+,.0f}" for v in VARIANTS[1:])
        print(f"bytes per open stream after {read:,} chunks: {text}")
        assert sizes[OURS] - sizes[BASELINE] <= STREAM_LIMIT
    if grown:
        left = {variant: workers[variant].ask("grow", grown) for variant in (BASELINE, OURS)}
        text = ", ".join(f"{variant} {size:.2f}" for variant, size in left.items())
        print(f"bytes that stay of a call, over {grown:,} calls: {text}")
        assert left[OURS] - left[BASELINE] <= GROWTH_LIMIT


if __name__ == "__main__":
    main()
