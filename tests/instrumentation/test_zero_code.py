# SPDX-License-Identifier: Apache-2.0
"""Whole processes: zero-code start, OTLP on the wire, no content in it, exit, fork."""

import os
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.collector.recording import recording_backend
from tests.fakes.provider import FakeProvider, Reply, error, sample
from tests.instrumentation.collector import Collector, attributes

APP = Path(__file__).with_name("zero_code_app.py")
SECRET = "canary-4711"
SCRIPTS = Path(sys.executable).parent


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as running:
        yield running


def environment(fake: FakeProvider, endpoint: str, **more: str) -> dict[str, str]:
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "MICRO"))
    }
    return kept | {
        "MICRODOLLAR_HOSTS": fake.hosts,
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_SERVICE_NAME": "shop",
        "OTEL_PYTHON_LOGGING_AUTO_INSTRUMENTATION_ENABLED": "true",
        **more,
    }


def run(
    command: list[str], env: dict[str, str], code: str | None = None
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command,
        env=env,
        input=code,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
    return done


def run_app(fake: FakeProvider, env: dict[str, str], *prefix: str) -> str:
    """Run the app against answers full of the secret; what it prints."""

    def secretive(name: str) -> Reply:
        reply = sample(name)
        body = reply.body
        for public in (b"made-up answer", b"A made-up", b" answer.", b"still one event"):
            body = body.replace(public, SECRET.encode())
        return replace(reply, body=body)

    failed = error("openai", 400, SECRET)
    fake.queue(
        "openai",
        secretive("openai.chat.json"),
        secretive("openai.chat.stream.sse"),
        failed,
        secretive("openai.chat.json"),
    )
    fake.queue("anthropic", secretive("anthropic.messages.stream.sse"))
    fake.queue("gemini", secretive("gemini.generate.stream.sse"))
    urls = [fake.url("openai") + "/v1", fake.url("anthropic"), fake.url("gemini")]
    done = run([*prefix, sys.executable, str(APP), *urls, SECRET], env)
    assert SECRET in done.stdout
    assert SECRET not in done.stderr
    return done.stdout


ZERO_CODE = str(SCRIPTS / "opentelemetry-instrument")


def test_an_app_is_metered_without_a_change_to_it(fake: FakeProvider, collector: Collector) -> None:
    """With the sampler at always_off all calls arrive, and no span of the app's own."""
    env = environment(fake, collector.url, OTEL_TRACES_SAMPLER="always_off")
    run_app(fake, env, ZERO_CODE)
    seen = [attributes(span) for span in collector.spans()]
    assert [one["gen_ai.provider.name"] for one in seen] == [
        *["openai"] * 3,
        "anthropic",
        "gcp.gemini",
        "openai",
    ]
    assert [one["microdollar.usage.source"] for one in seen] == [
        *["provider"] * 2,
        "none",
        *["provider"] * 3,
    ]
    assert [one["microdollar.call.sequence"] for one in seen] == [1, 2, 3, 4, 5, 6]
    assert sum(one.get("gen_ai.usage.output_tokens", 0) for one in seen) == (
        742 + 188 + 312 + 222 + 742
    )
    assert collector.spans(ours=False) == []
    assert collector.services() == {"shop"}
    assert SECRET.encode() not in collector.bytes


def test_an_app_that_samples_keeps_its_own_spans(fake: FakeProvider, collector: Collector) -> None:
    """Ours are beside the app's HTTP spans, not above them."""
    run_app(fake, environment(fake, collector.url), ZERO_CODE)
    ours = collector.spans()
    theirs = collector.spans(ours=False)
    assert len(ours) == 6
    assert len([span for span in theirs if span.name == "POST"]) == 6
    assert not {span.span_id for span in ours} & {span.parent_span_id for span in theirs}


def test_our_own_endpoint_and_protocol_come_first(fake: FakeProvider, collector: Collector) -> None:
    env = environment(fake, collector.url, OTEL_TRACES_EXPORTER="none", OTEL_LOGS_EXPORTER="none")
    del env["OTEL_EXPORTER_OTLP_PROTOCOL"], env["OTEL_EXPORTER_OTLP_ENDPOINT"]
    env |= {
        "MICRODOLLAR_OTLP_ENDPOINT": collector.url,
        "MICRODOLLAR_OTLP_PROTOCOL": "http/protobuf",
    }
    run_app(fake, env, ZERO_CODE)
    assert len(collector.spans()) == 6
    assert collector.paths() == {"/v1/traces"}


def test_the_grpc_exporter_is_used_where_it_is_installed_and_wanted(fake: FakeProvider) -> None:
    fake.queue("openai", sample("openai.chat.json"))
    with recording_backend() as backend:
        env = environment(fake, f"http://{backend.endpoint}", MICRODOLLAR_OTLP_PROTOCOL="grpc")
        run([sys.executable, "-c", script(fake, "call()")], env)
        (span,) = backend.spans
    assert attributes(span)["gen_ai.usage.input_tokens"] == 5012


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_without_a_collector_the_app_runs_as_without_us(fake: FakeProvider) -> None:
    quiet = {"OTEL_TRACES_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none"}
    nowhere = f"http://127.0.0.1:{closed_port()}"
    off = environment(fake, nowhere, MICRODOLLAR_ENABLED="false", **quiet)
    down = environment(fake, nowhere, MICRODOLLAR_EXIT_TIMEOUT="0.1", **quiet)
    assert run_app(fake, off, ZERO_CODE) == run_app(fake, down, ZERO_CODE)


def test_switched_off_nothing_is_sent(fake: FakeProvider, collector: Collector) -> None:
    env = environment(fake, collector.url, MICRODOLLAR_ENABLED="false")
    run_app(fake, env, ZERO_CODE)
    assert collector.spans() == []


SHORT = """
    import microdollar, httpx2, sys
    microdollar.instrument()
    client = httpx2.Client()
    def call():
        client.post(URL, json={"model": "m"}).raise_for_status()
    def stream():
        return client.send(client.build_request("POST", URL, json={"model": "m"}), stream=True)
"""


def script(fake: FakeProvider, code: str) -> str:
    """`code` in a process that meters itself, with `call()` and `stream()` at hand."""
    url = fake.url("openai") + "/v1/chat/completions"
    return f"URL = {url!r}\n" + textwrap.dedent(SHORT) + textwrap.dedent(code)


def test_a_short_process_loses_nothing_at_its_end(fake: FakeProvider, collector: Collector) -> None:
    """Also a stream that is still open then."""
    fake.queue("openai", sample("openai.chat.json"), sample("openai.chat.stream.sse"))
    code = """
        call()
        response = stream()
        next(response.iter_raw())
    """
    run([sys.executable, "-"], environment(fake, collector.url), script(fake, code))
    assert len(collector.spans()) == 2


def test_an_outage_is_outlived(fake: FakeProvider, collector: Collector) -> None:
    """The first exports fail; the process goes on, and the spans arrive with the Collector."""
    fake.queue("openai", *[sample("openai.chat.json")] * 2)
    collector.down = True
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            script(
                fake,
                """
                call()
                print(microdollar.flush(0.5), flush=True)
                input()
                call()
                print(microdollar.flush(30), flush=True)
                """,
            ),
        ],
        env=environment(fake, collector.url),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "False\n"
    collector.down = False
    out, _ = process.communicate("\n", timeout=60)
    assert out == "True\n"
    numbers = [attributes(span)["microdollar.call.sequence"] for span in collector.spans()]
    assert numbers == [1, 2]


def test_drops_are_told_on_later_spans(fake: FakeProvider, collector: Collector) -> None:
    fake.queue("openai", *[sample("openai.chat.json")] * 5)
    collector.down = True
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            script(
                fake,
                """
                for _ in range(4):
                    call()
                print(flush=True)
                input()
                print(microdollar.flush(30), flush=True)
                call()
                """,
            ),
        ],
        env=environment(fake, collector.url, MICRODOLLAR_QUEUE_SIZE="2"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.readline()
    collector.down = False
    out, _ = process.communicate("\n", timeout=60)
    assert out == "True\n"
    seen = [attributes(span) for span in collector.spans()]
    assert [one["microdollar.call.sequence"] for one in seen] == [1, 2, 5]
    assert [one["microdollar.boot.dropped_calls"] for one in seen] == [0, 0, 2]


def test_forked_children_report_their_own_calls_once(
    fake: FakeProvider, collector: Collector
) -> None:
    """The parent's open stream stays the parent's, and a child ends without losing its calls."""
    fake.queue("openai", sample("openai.chat.stream.sse"), *[sample("openai.chat.json")] * 4)
    code = """
        import multiprocessing, os
        response = stream()
        call()
        def work():
            global client
            response.stream._call.finish()
            client = httpx2.Client()
            call()
        children = [multiprocessing.get_context("fork").Process(target=work) for _ in range(2)]
        for child in children:
            child.start()
        for child in children:
            child.join()
        pid = os.fork()
        if pid == 0:
            work()
            sys.exit(0)
        os.waitpid(pid, 0)
        response.read()
    """
    env = environment(fake, collector.url)
    run([sys.executable, "-W", "ignore", "-c", script(fake, code)], env)
    boots: dict[str, list[int]] = {}
    for span in collector.spans():
        values = attributes(span)
        boots.setdefault(values["microdollar.boot.id"], []).append(
            values["microdollar.call.sequence"]
        )
    assert sorted(map(sorted, boots.values())) == [[1], [1], [1], [1, 2]]


def test_what_could_not_be_sent_by_the_end_is_said(fake: FakeProvider) -> None:
    fake.queue("openai", sample("openai.chat.json"))
    env = environment(fake, f"http://127.0.0.1:{closed_port()}", MICRODOLLAR_EXIT_TIMEOUT="0.2")
    done = run([sys.executable, "-c", script(fake, "call()")], env)
    assert "microdollar: 1 call was not delivered; it is in no ledger\n" in done.stderr


def test_dropped_calls_are_among_those_that_could_not_be_sent(fake: FakeProvider) -> None:
    fake.queue("openai", *[sample("openai.chat.json")] * 3)
    nowhere = f"http://user:secret@127.0.0.1:{closed_port()}"
    env = environment(fake, nowhere, MICRODOLLAR_QUEUE_SIZE="1")
    done = run([sys.executable, "-c", script(fake, "call(); call(); call()")], env)
    assert (
        "microdollar: 3 calls were not delivered (2 of them dropped when the queue was full); "
        "they are in no ledger\n" in done.stderr
    )
    ours = [line for line in done.stderr.splitlines() if line.startswith("microdollar:")]
    assert "secret" not in "".join(ours)


def test_a_dead_collector_does_not_hold_up_the_end(fake: FakeProvider) -> None:
    """One attempt is made; the time limit, here longer than the test may take, is not used up.

    The same goes for a forked child, which ends twice: by its finalizers and by its threads.
    """
    fake.queue("openai", *[sample("openai.chat.json")] * 2)
    code = """
        import multiprocessing
        child = multiprocessing.get_context("fork").Process(target=call)
        child.start()
        child.join()
        call()
    """
    nowhere = f"http://127.0.0.1:{closed_port()}"
    env = environment(fake, nowhere, MICRODOLLAR_EXIT_TIMEOUT="600")
    done = run([sys.executable, "-W", "ignore", "-c", script(fake, code)], env)
    assert done.stderr.count("1 call was not delivered") == 2


def test_a_fork_waits_for_an_exporter_that_is_being_loaded(
    fake: FakeProvider, collector: Collector
) -> None:
    """Else the child inherits an import that nobody finishes."""
    fake.queue("openai", *[sample("openai.chat.json")] * 2)
    code = """
        import os, time
        call()
        while "requests" not in sys.modules:
            time.sleep(0)
        pid = os.fork()
        if pid == 0:
            import requests.adapters
            client = httpx2.Client()
            call()
            sys.exit(0)
        assert os.waitpid(pid, 0)[1] == 0
    """
    run([sys.executable, "-c", script(fake, code)], environment(fake, collector.url))
    assert len(collector.spans()) == 2


def test_a_block_without_metering_is_said_once_with_the_way_out(fake: FakeProvider) -> None:
    code = """
        import microdollar
        for _ in range(2):
            with microdollar.customer("acme"):
                pass
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    env = environment(fake, "http://127.0.0.1:1")
    said = run(command, env).stderr
    assert said.count("metering was not started") == 1
    assert "microdollar.instrument()" in said
    assert run(command, env | {"MICRODOLLAR_ENABLED": "off"}).stderr == ""
    assert run([ZERO_CODE, *command], env | {"OTEL_TRACES_EXPORTER": "none"}).stderr == ""
