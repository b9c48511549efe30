# SPDX-License-Identifier: Apache-2.0
"""Which calls are missing: what processes numbered, and what has arrived of it."""

import csv
import io
import itertools
import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from microdollar_exporter import connect
from microdollar_exporter.ask.completeness import Completeness, Gap, completeness_on
from microdollar_exporter.ask.report import report_on
from microdollar_exporter.cli import main
from microdollar_exporter.store import Booking, Store
from tests.exporter.ledgers import DAY, entries, evidence_of
from tests.fakes.otlp import STARTED_AT, call, request

SECOND = 1_000_000
HOUR = 3600


def numbered(
    sequence: int, *, boot: str = "a", day: float = 0, dropped: int = 0, **changes: Any
) -> Span:
    """A call as a process numbers it, a second after the one before, for an hour."""
    return call(
        started_at=STARTED_AT + int(day * DAY) + min(sequence, HOUR) * SECOND,
        microdollar__boot__id=boot,
        microdollar__call__sequence=sequence,
        microdollar__boot__dropped_calls=dropped,
        **changes,
    )


def at(sequence: int, day: float = 0) -> datetime:
    """When such a call begins, UTC."""
    started = STARTED_AT + int(day * DAY) + sequence * SECOND
    return datetime.fromtimestamp(started / 1e6, UTC).replace(tzinfo=None)


class Ledger:
    """A ledger to fill and then to ask."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, *spans: Span, service: str = "shop", scope: str | None = None) -> None:
        """Append spans of a service."""
        of_scope = {"scope": scope} if scope else {}
        store = Store(self.path)
        sent = request(*spans, resource={"service.name": service}, **of_scope)
        store.append(evidence_of(sent), entries)
        store.close()

    def completeness(self, **asked: Any) -> Completeness:
        """What is found."""
        return completeness_on(connect(self.path), **asked)

    def gaps(self, **asked: Any) -> list[tuple[str, int, int | None, int]]:
        """The gaps, by process and numbers."""
        found = self.completeness(**asked).gaps
        return [(gap.boot_id, gap.first, gap.last, gap.calls) for gap in found]


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """An empty one."""
    return Ledger(tmp_path / "meter.duckdb")


def test_a_gap_names_process_numbers_times_and_likely_cost(ledger: Ledger) -> None:
    """At the mean cost of the calls around it, which here are 100 and 50 microdollars."""
    ledger.add(numbered(1), numbered(2), numbered(5, gen_ai__usage__output_tokens=25), numbered(6))
    [gap] = ledger.completeness().gaps
    mean = (3 * Decimal("100.000050") + Decimal("50.000025")) / 4
    assert gap == Gap(
        service="shop",
        environment=None,
        boot_id="a",
        first=3,
        last=4,
        calls=2,
        after=at(2),
        before=at(5),
        likely_cost=(2 * mean).quantize(Decimal("0.000001")),
    )


def test_nothing_is_missing_where_no_number_is(ledger: Ledger) -> None:
    """And that is said, with what cannot be known."""
    ledger.add(*(numbered(n) for n in range(1, 201)), numbered(1, boot="b"))
    found = ledger.completeness()
    assert (found.gaps, found.missing, found.likely_cost) == ([], 0, None)
    assert found.summary == (
        "Of 2 processes no call is missing between the first and the last. What a process did "
        "after its last call that arrived cannot be known."
    )


def test_a_process_begins_with_one(ledger: Ledger) -> None:
    """So what is before its first call that arrived is missing, since nobody knows when."""
    ledger.add(numbered(4), numbered(2, boot="b"))
    assert ledger.gaps() == [("b", 1, 1, 1), ("a", 1, 3, 3)]
    assert {gap.after for gap in ledger.completeness().gaps} == {None}


class _Open:
    """Answers from a store that is open."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def sql(self, query: str, parameters: Sequence[Any] = ()) -> pa.Table:
        """The answer of one query."""
        return self._store.cursor().sql(query, params=list(parameters)).to_arrow_table()


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A ledger for many examples."""
    store = Store(tmp_path_factory.mktemp("completeness") / "meter.duckdb")
    yield store
    store.close()


@settings(max_examples=50, deadline=None)
@given(
    arrived=st.sets(
        st.one_of(
            st.integers(1, 300), st.sampled_from([63, 64, 65, 127, 128, 129, 191, 192, 2**52])
        ),
        min_size=1,
        max_size=60,
    ),
    dense=st.integers(0, 260),
)
def test_the_gaps_are_the_numbers_that_are_not_there(
    arrived: set[int], dense: int, opened: Store
) -> None:
    """Each of them once, whatever there is."""
    arrived |= set(range(1, dense + 1))
    with opened.change() as change:
        change.con.execute("DELETE FROM span")
    evidence = evidence_of(request(*(numbered(n) for n in sorted(arrived))))
    opened.append(evidence, lambda _, __: Booking(()))
    known = sorted({0, *arrived})
    expected = [
        (one + 1, other - 1, other - one - 1)
        for one, other in itertools.pairwise(known)
        if other - one > 1
    ]
    found = completeness_on(_Open(opened))
    assert sorted((gap.first, gap.last, gap.calls) for gap in found.gaps) == expected
    assert found.missing == sum(calls for _, _, calls in expected)


def test_a_call_that_came_twice_or_late_is_there(ledger: Ledger) -> None:
    """Whatever the order, and under whatever span."""
    ledger.add(numbered(5), numbered(1))
    ledger.add(numbered(3), numbered(3), numbered(2))
    assert ledger.gaps() == [("a", 4, 4, 1)]
    ledger.add(numbered(4))
    assert ledger.gaps() == []


PERIODS: Sequence[tuple[dict[str, str], list[tuple[str, int, int, int]]]] = [
    ({}, [("a", 1, 1, 1), ("a", 3, 4, 2), ("b", 1, 1, 1), ("a", 6, 6, 1)]),
    ({"to": "2026-11-22"}, [("a", 1, 1, 1), ("a", 3, 4, 2)]),
    ({"from_": "2026-11-22"}, [("b", 1, 1, 1), ("a", 6, 6, 1)]),
    ({"from_": "2026-11-21T00:00:05", "to": "2026-11-22"}, [("a", 3, 4, 2)]),
    ({"from_": "2026-11-21T00:00:05.000001", "to": "2026-11-22"}, []),
    ({"from_": "2026-11-23"}, []),
]


@pytest.mark.parametrize(("asked", "gaps"), PERIODS)
def test_a_gap_is_in_the_period_in_which_the_call_after_it_began(
    ledger: Ledger, asked: dict[str, Any], gaps: list[tuple[str, int, int, int]]
) -> None:
    """So that the days of a month add up to it, and none is said to lack what another has."""
    ledger.add(numbered(2), numbered(5), numbered(7, day=1), numbered(2, boot="b", day=1))
    assert ledger.gaps(**asked) == gaps
    assert report_on(connect(ledger.path), **asked).completeness == ledger.completeness(**asked)


def test_calls_that_began_in_another_order_than_they_were_numbered_are_there(
    ledger: Ledger,
) -> None:
    """A period that ends between the two lacks neither."""
    ledger.add(numbered(1), numbered(3), numbered(2, day=1), numbered(4, day=1))
    assert ledger.gaps(to="2026-11-22") == ledger.gaps(from_="2026-11-22") == []


def test_one_service_can_be_asked_for(ledger: Ledger) -> None:
    """Its gaps, its processes and what they dropped."""
    ledger.add(numbered(2, dropped=1))
    ledger.add(numbered(3, boot="b", dropped=2), service="lab")
    assert ledger.gaps(service="lab") == [("b", 1, 2, 2)]
    found = ledger.completeness(service="lab")
    assert (found.dropped, found.processes) == (2, 1)
    assert ledger.completeness().dropped == 3
    assert ledger.gaps(service="nowhere") == []


def test_what_a_process_says_it_dropped_is_counted_once(ledger: Ledger) -> None:
    """Its counter only grows; what it dropped is among what is missing."""
    ledger.add(numbered(1), numbered(4, dropped=1), numbered(6, dropped=2), numbered(7, dropped=2))
    found = ledger.completeness()
    assert (found.missing, found.dropped) == (3, 2)
    assert "2 of them said to be dropped." in found.summary


def test_what_was_dropped_beyond_the_gaps_came_after_the_last_call(ledger: Ledger) -> None:
    """So much of an open end is known."""
    ledger.add(numbered(1), numbered(3, dropped=3))
    inside, beyond = ledger.completeness().gaps
    assert (inside.first, inside.last, inside.calls) == (2, 2, 1)
    assert (beyond.first, beyond.last, beyond.calls) == (4, None, 2)
    assert (beyond.after, beyond.before) == (at(3), None)
    assert beyond.likely_cost == Decimal("200.000100")
    assert ledger.completeness().missing == 3


def test_dropped_calls_are_counted_in_the_period_in_which_they_were_told(ledger: Ledger) -> None:
    """Periods add up here too."""
    ledger.add(
        numbered(1, dropped=1), numbered(2, dropped=4), numbered(3, day=1, dropped=4),
        numbered(4, day=1, dropped=9),
    )  # fmt: skip
    assert ledger.completeness(to="2026-11-22").dropped == 4
    assert ledger.completeness(from_="2026-11-22").dropped == 5
    assert ledger.completeness(from_="2026-11-22", to="2026-11-23").dropped == 5
    assert ledger.completeness().dropped == 9


def test_the_likely_cost_is_that_of_the_same_service_around_the_gap(ledger: Ledger) -> None:
    """Not of another service, nor of another time, nor of calls without a price."""
    ledger.add(numbered(1), numbered(3))
    ledger.add(numbered(1, boot="b", gen_ai__usage__output_tokens=999), service="lab")
    ledger.add(numbered(2, boot="c", gen_ai__usage__output_tokens=999, day=-0.5))
    ledger.add(numbered(1, boot="d", gen_ai__response__model="nebula-1"))
    gaps = {gap.boot_id: gap.likely_cost for gap in ledger.completeness().gaps}
    assert gaps["a"] == Decimal("100.000050")


def test_without_priced_calls_nearby_those_around_the_other_gaps_count(ledger: Ledger) -> None:
    """And without any the cost is unknown, which is said."""
    ledger.add(
        numbered(1, gen_ai__response__model="nebula-1"),
        numbered(3, gen_ai__response__model="nebula-1"),
    )
    unknown = ledger.completeness()
    assert (unknown.gaps[0].likely_cost, unknown.unestimated) == (None, 1)
    assert "Their likely cost is not known." in unknown.summary
    ledger.add(numbered(2, boot="b", day=3))
    known = ledger.completeness()
    assert [gap.likely_cost for gap in known.gaps] == [Decimal("100.000050")] * 2
    ledger.add(numbered(2, boot="c"), service="lab")
    ledger.add(numbered(2, boot="d", gen_ai__response__model="nebula-1"), service="quiet")
    mixed = ledger.completeness()
    assert mixed.likely_cost == Decimal("300.000150")
    assert "for all but 1 of them" in mixed.summary


def test_an_estimate_is_rounded_once_and_exactly(ledger: Ledger) -> None:
    """A third of a call's cost, times a million."""
    ledger.add(
        numbered(1), numbered(2, gen_ai__usage__output_tokens=0),
        numbered(1_000_003, gen_ai__usage__output_tokens=0),
    )  # fmt: skip
    assert ledger.completeness().likely_cost == Decimal("33333350.000000")


def test_calls_without_numbers_are_said_to_be_beyond_knowing(ledger: Ledger) -> None:
    """Other emitters have none."""
    ledger.add(numbered(1))
    ledger.add(call(started_at=STARTED_AT + DAY), scope="com.anthropic.sdk.python")
    found = ledger.completeness()
    assert found.unnumbered == 1
    assert found.summary.endswith(
        "1 call of emitters that do not number theirs: nothing can be known."
    )
    assert ledger.completeness(to="2026-11-22").unnumbered == 0


def test_the_honesty_line_of_every_report_has_the_figure(ledger: Ledger) -> None:
    """Of all customers together: whose the missing calls were, nobody knows."""
    ledger.add(numbered(1), numbered(4, dropped=1))
    made = report_on(connect(ledger.path))
    assert made.honesty.endswith(
        "2 further calls not arrived, or still running; 1 said to be dropped; "
        "likely $0.000200, an estimate."
    )
    assert report_on(connect(ledger.path), customer="acme").completeness is None
    assert "not arrived" not in report_on(connect(ledger.path), customer="acme").honesty


@pytest.fixture
def gappy(ledger: Ledger) -> Iterator[Ledger]:
    """A ledger with two gaps."""
    ledger.add(numbered(1), numbered(3), numbered(1003))
    yield ledger


def run(*arguments: str) -> tuple[int, str, str]:
    """The `microdollar` command: exit status, stdout, stderr."""
    result = CliRunner().invoke(main, list(arguments))
    return result.exit_code, result.stdout, result.stderr


def test_completeness_as_a_table(gappy: Ledger) -> None:
    """The summary closes it."""
    status, out, _ = run("completeness", "--db", str(gappy.path))
    assert status == 0
    head, _, _, first, second, _, summary = out.splitlines()
    assert head.split() == [
        *("service", "environment", "boot_id", "first", "last", "calls", "after", "before"),
        *("likely", "cost"),
    ]
    assert first.split() == [
        *("shop", "a", "2", "2", "1", "2026-11-21", "00:00:01", "2026-11-21", "00:00:03"),
        "100.00005",
    ]
    assert second.split()[2:5] == ["4", "1002", "999"]
    assert second.split()[-1] == "99,900.04995"
    assert summary.startswith("1,000 calls of 1 process not arrived, or still running.")


def test_completeness_as_csv(gappy: Ledger) -> None:
    """Exact, with the summary on stderr."""
    status, out, err = run("completeness", "--db", str(gappy.path), "--format", "csv")
    assert status == 0
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [(row["first"], row["last"], row["likely_cost"]) for row in rows] == [
        ("2", "2", "100.000050"),
        ("4", "1002", "99900.049950"),
    ]
    assert err.startswith(
        "1,000 calls of 1 process not arrived, or still running. Likely cost $0.1"
    )


def test_completeness_as_json(gappy: Ledger) -> None:
    """Money and times are text."""
    status, out, _ = run(
        "completeness", "--db", str(gappy.path), "--format", "json", "--from", "2026-11-21",
        "--to", "2026-11-21T00:01",
    )  # fmt: skip
    assert status == 0
    document = json.loads(out)
    assert document["gaps"] == [
        {
            "service": "shop", "environment": None, "boot_id": "a", "first": 2, "last": 2,
            "calls": 1, "after": "2026-11-21 00:00:01", "before": "2026-11-21 00:00:03",
            "likely_cost": "100.000050",
        }
    ]  # fmt: skip
    assert (document["missing_calls"], document["likely_cost"]) == (1, "100.000050")


def test_a_ledger_without_gaps_says_so(tmp_path: Path) -> None:
    """An empty one too."""
    Store(tmp_path / "meter.duckdb").close()
    status, out, _ = run("completeness", "--db", str(tmp_path / "meter.duckdb"))
    assert (status, out.splitlines()[0]) == (0, "No gaps.")
    assert run("completeness", "--db", str(tmp_path / "meter.duckdb"), "--format", "csv")[1] == (
        "service,environment,boot_id,first,last,calls,after,before,likely_cost\n"
    )
