# SPDX-License-Identifier: Apache-2.0
"""How much may be under way at once: the gate by itself, and a flood of a real exporter."""

import asyncio
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from microdollar_exporter import connect
from microdollar_exporter.errors import Busy, RateLimited
from microdollar_exporter.receive.limits import Bounds, Gate
from tests.fakes.exporter import Exporter
from tests.fakes.otlp import call, request

PROTOBUF = {"content-type": "application/x-protobuf"}
EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


async def refused(entering: Any) -> bool:
    """Whether a request finds no room."""
    try:
        async with entering:
            return False
    except Busy:
        return True


def test_as_much_is_let_in_as_there_is_room_for() -> None:
    """To the byte; what leaves makes room."""

    async def scene() -> None:
        gate = Gate(Bounds(bytes=10, patience=0))
        async with gate.enter("a", 6):
            assert not await refused(gate.enter("b", 4))
            assert await refused(gate.enter("b", 5))
            assert (gate.bytes, gate.requests) == (6, 1)
        assert (gate.bytes, gate.requests) == (0, 0)
        assert not await refused(gate.enter("b", 5))

    asyncio.run(scene())


def test_a_request_that_is_alone_is_let_in_whatever_its_size() -> None:
    """Or it would be refused for ever."""

    async def scene() -> None:
        gate = Gate(Bounds(bytes=10, patience=0))
        async with gate.enter("a", 11) as held:
            held.resize(12)
            assert gate.bytes == 12
            assert await refused(gate.enter("b", 0))
        assert gate.bytes == 0

    asyncio.run(scene())


def test_a_request_that_grows_needs_room_and_one_that_shrinks_gives_it() -> None:
    """What gRPC brings is known once it is there, what is packed once it is unpacked."""

    async def scene() -> None:
        gate = Gate(Bounds(bytes=10, patience=0))
        async with gate.enter("a", 4) as held, gate.enter("b", 4) as other:
            held.resize(6)
            with pytest.raises(Busy, match="10 bytes"):
                other.resize(5)
            assert gate.bytes == 10
            held.resize(1)
            other.resize(9)
            assert gate.bytes == 10
        assert gate.bytes == 0

    asyncio.run(scene())


def test_who_waits_is_let_in_in_order_once_there_is_room() -> None:
    """A small one does not overtake a large one for ever."""

    async def scene() -> None:
        gate = Gate(Bounds(bytes=10, patience=60))
        order: list[str] = []
        leave = asyncio.Event()

        async def go(who: str, size: int) -> None:
            async with gate.enter(who, size):
                order.append(who)
                if who == "first":
                    await leave.wait()

        tasks = [
            asyncio.create_task(go(*who)) for who in (("first", 8), ("large", 9), ("small", 1))
        ]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert (order, gate.bytes, gate.requests) == (["first"], 8, 3)
        leave.set()
        await asyncio.gather(*tasks)
        assert order == ["first", "large", "small"]
        assert (gate.bytes, gate.requests, gate.full) == (0, 0, False)

    asyncio.run(scene())


def test_who_stops_waiting_leaves_nothing_behind() -> None:
    """Also when its turn comes at that very moment, and for those behind it."""

    async def scene(turn_comes: bool) -> None:
        gate = Gate(Bounds(bytes=10, patience=60))
        entered: list[str] = []

        async def go(who: str, size: int) -> None:
            async with gate.enter(who, size):
                entered.append(who)

        async with gate.enter("first", 8):
            leaver = asyncio.create_task(go("leaver", 9))
            behind = asyncio.create_task(go("behind", 2))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            if not turn_comes:
                leaver.cancel()
                await behind
        leaver.cancel()
        await asyncio.gather(leaver, behind, return_exceptions=True)
        assert entered == ["behind"]
        assert (gate.bytes, gate.requests, gate.full) == (0, 0, False)

    asyncio.run(scene(turn_comes=False))
    asyncio.run(scene(turn_comes=True))


def test_beyond_the_number_of_requests_nobody_waits() -> None:
    """The line before the door is bounded too."""

    async def scene() -> None:
        gate = Gate(Bounds(requests=2, patience=60))
        async with gate.enter("a", 0), gate.enter("a", 0):
            assert gate.full
            assert await refused(gate.enter("a", 0))
        assert not await refused(gate.enter("a", 0))

    asyncio.run(scene())


def test_a_token_that_sends_too_much_waits_until_it_is_paid_for() -> None:
    """A request is taken whole; the next one has to wait, and others do not."""
    now = 100.0

    async def scene() -> None:
        nonlocal now
        gate = Gate(Bounds(spans_per_second=10), lambda: now)
        for _ in range(2):
            async with gate.enter("a", 0):
                gate.sent("a", 25)
            with pytest.raises(RateLimited, match="10 spans a second") as caught:
                await gate.enter("a", 0).__aenter__()
            assert caught.value.retry_after == 3
            assert not await refused(gate.enter("b", 0))
            now += 2.4
            assert await refused(gate.enter("a", 0))
            now += 0.1

    asyncio.run(scene())


SPANS = 35


def made() -> ExportTraceServiceRequest:
    """A request of 35 spans and 3.5 MB."""
    return request(*(call(gen_ai__input__messages="x" * 100_000) for _ in range(SPANS)))


def flood(exporter: Exporter, *, over_http: bool, senders: int) -> Counter[str]:
    """As many requests at once, over one connection where it can hold them; what they were told."""
    bodies = [made().SerializeToString() for _ in range(senders)]
    if over_http:

        def post(body: bytes) -> str:
            answer = exporter.send("POST", "/v1/traces", body, PROTOBUF)
            assert answer.status == 200 or answer.headers["retry-after"] == "1"
            return str(answer.status)

        with ThreadPoolExecutor(senders) as pool:
            return Counter(pool.map(post, bodies))
    told: Counter[str] = Counter()
    with exporter.channel() as channel:
        export = channel.unary_unary(EXPORT)
        for answer in [export.future(body, timeout=60) for body in bodies]:
            error = answer.exception()
            assert error is None or retry_seconds(error) == 1
            told["OK" if error is None else error.code().name] += 1
    return told


def retry_seconds(error: grpc.RpcError) -> int:
    """When a refused sender is told to send again."""
    [detail] = Status.FromString(dict(error.trailing_metadata())["grpc-status-details-bin"]).details
    info = RetryInfo()
    assert detail.Unpack(info)
    return int(info.retry_delay.seconds)


def memory(exporter: Exporter) -> int:
    """The most that the process has ever had, in MiB."""
    status = Path(f"/proc/{exporter.pid}/status").read_text("ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) // 1024


@pytest.mark.parametrize("over_http", [False, True])
def test_a_flood_is_turned_away_and_nothing_of_it_is_kept_in_memory(
    tmp_path: Path, over_http: bool
) -> None:
    """210 MB before a door of 8 MiB, all of which two slow senders hold at first."""
    options = ["--max-waiting-mib", "8", "--max-request-mib", "4"]
    with Exporter(tmp_path / "meter.duckdb", options=options) as exporter:
        exporter.export(made())
        before = memory(exporter)
        slow = [exporter.connection() for _ in range(2)]
        for connection in slow:
            connection.putrequest("POST", "/v1/traces")
            connection.putheader("content-type", PROTOBUF["content-type"])
            connection.putheader("content-length", str(4 * 1024 * 1024))
            connection.endheaders()
        while exporter.status()["bytes_under_way"] < 8 * 1024 * 1024:
            time.sleep(0.01)
        assert exporter.send("GET", "/readyz").status == 503
        ok, busy = ("200", "429") if over_http else ("OK", "RESOURCE_EXHAUSTED")
        assert flood(exporter, over_http=over_http, senders=20) == {busy: 20}
        for connection in slow:
            connection.close()
        while exporter.status()["bytes_under_way"]:
            time.sleep(0.01)
        told = flood(exporter, over_http=over_http, senders=60)
        assert told[ok] + told[busy] == told.total() == 60
        status = exporter.status()
        assert status["requests"] == 1 + 2 + 20 + 60
        assert status["requests_refused_by_reason"] == {"broken_off": 2, "busy": 20 + told[busy]}
        assert memory(exporter) - before < 80
        exporter.kill()
    [row] = connect(exporter.db).sql("SELECT count(*) AS n FROM spans").to_pylist()
    assert row["n"] == SPANS * (1 + told[ok])


def test_the_rate_of_a_token_is_limited_by_its_spans(tmp_path: Path) -> None:
    """The answer says when to come back; what was taken stays taken."""
    with Exporter(tmp_path / "meter.duckdb", options=["--max-spans-per-second", "1"]) as exporter:
        exporter.export(request(*(call() for _ in range(1000))))
        with pytest.raises(grpc.RpcError) as caught:
            exporter.export(request(call()))
        assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert 900 < retry_seconds(caught.value) <= 1000
        answer = exporter.send("POST", "/v1/traces", request(call()).SerializeToString(), PROTOBUF)
        assert answer.status == 429
        assert 900 < int(answer.headers["retry-after"]) <= 1000
        assert exporter.status()["requests_refused_by_reason"] == {"rate_limited": 2}
        assert exporter.status()["spans_stored"] == 1000
