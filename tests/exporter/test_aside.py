# SPDX-License-Identifier: Apache-2.0
"""Requests read in a process of their own are read as in this one, whatever befalls it."""

import os
import pickle
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path

import pytest

from microdollar_exporter import aside
from microdollar_exporter.aside import ReducesAside
from microdollar_exporter.errors import Busy, MalformedRequest
from microdollar_exporter.operate.pseudonyms import PseudonymReducer, Pseudonyms
from microdollar_exporter.reduce import Reduced, Reducer
from tests.fakes.exporter import Exporter
from tests.fakes.otlp import call, request

BODIES = [
    request(
        call("acme", microdollar__tag__feature=feature),
        call("globex", gen_ai__response__model="nebula-1", gen_ai__usage__output_tokens=n),
        call(None, microdollar__usage__units__web_search=n, gen_ai__response__id=7.5),
    ).SerializeToString()
    for n, feature in enumerate(("chat", "search", "chat"))
]


@pytest.fixture
def reducer() -> Iterator[ReducesAside]:
    """A reducer in a process of its own."""
    made = ReducesAside(partial(Reducer, ("tenant.id",)))
    yield made
    made.close()


def said(reduced: Reduced | None) -> tuple[object, ...]:
    """All that a reduced request says, with its profiles by what they say."""
    assert reduced is not None
    spans = [(asdict(item.profile), *item[1:]) for item in reduced.evidence]
    return spans, reduced.ignored, reduced.refused, reduced.values_dropped


def pid_of(reducer: ReducesAside) -> int:
    """The other process of a reducer."""
    assert reducer._process is not None
    return reducer._process.pid


def children(pid: int) -> list[int]:
    """The processes that a process has started and that still run."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def runs(pid: int) -> bool:
    """Whether a process has not ended; one that nobody has asked about since is still listed."""
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def test_it_says_what_a_reducer_here_says(reducer: ReducesAside) -> None:
    here = Reducer(("tenant.id",))
    for body in BODIES * 2:
        assert said(reducer.reduce(body)) == said(here.reduce(body))


def test_spans_alike_share_their_profile_from_request_to_request(reducer: ReducesAside) -> None:
    first, other, again = (reducer.reduce(body).evidence.profiles for body in BODIES)
    assert first[0] is again[0]
    assert first[0] is not other[0]


def test_profiles_are_named_anew_before_they_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their names come from senders, who may think up any number of them."""
    monkeypatch.setattr(aside, "_MAX_PROFILES", 3)
    answers, reads, here = aside._Answers(Reducer()), aside._Reads(), Reducer()
    for body in BODIES * 3:
        assert said(reads.reduced(answers.to(body))) == said(here.reduce(body))
        assert len(reads._profiles) <= 3 + 3


def test_a_malformed_request_is_refused_and_the_next_one_read(reducer: ReducesAside) -> None:
    with pytest.raises(MalformedRequest, match="is not an OTLP"):
        reducer.reduce(b"\xff\xff")
    assert len(reducer.reduce(BODIES[0]).evidence) == 3


def test_a_fault_there_is_met_here_where_it_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    def fault(_: bytes) -> Reduced:
        raise KeyError("content")

    monkeypatch.setattr(reducing := Reducer(), "reduce", fault)
    answer = aside._Answers(reducing).to(BODIES[0])
    assert aside._Reads().reduced(answer) is None
    assert b"content" not in answer


def test_pseudonyms_are_the_same_there(reducer: ReducesAside) -> None:
    hiding = partial(PseudonymReducer, Pseudonyms(b"k" * 32), ("tenant.id",))
    there = ReducesAside(hiding)
    try:
        assert said(there.reduce(BODIES[0])) == said(hiding().reduce(BODIES[0]))
    finally:
        there.close()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_when_it_ends_or_hangs_the_sender_comes_again_and_is_read_by_another(
    reducer: ReducesAside,
    how: signal.Signals,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It may have been for that request: it is not read in the process that has the ledger."""
    expected = said(reducer.reduce(BODIES[0]))
    monkeypatch.setattr(aside, "_ANSWER_SECONDS", 0.5)
    monkeypatch.setattr(aside, "_CLOSE_SECONDS", 0.1)
    child = pid_of(reducer)
    os.kill(child, how)
    with pytest.raises(Busy, match="send this again"):
        reducer.reduce(BODIES[0])
    assert "the process that reads requests is replaced" in caplog.text
    monkeypatch.setattr(aside, "_ANSWER_SECONDS", 60)
    assert said(reducer.reduce(BODIES[0])) == expected
    assert pid_of(reducer) != child


def test_where_none_can_be_started_requests_are_read_here(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    alone = ReducesAside(Reducer)
    assert said(alone.reduce(BODIES[0])) == said(Reducer().reduce(BODIES[0]))
    assert "no process to read requests in" in caplog.text
    alone.close()


def test_after_a_fault_in_reading_an_answer_none_is_taken_for_the_next(
    reducer: ReducesAside, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a call would have the model and the price of another."""

    def fault(*_: object) -> None:
        raise MemoryError

    with monkeypatch.context() as during, pytest.raises(MemoryError):
        during.setattr(pickle, "loads", fault)
        reducer.reduce(BODIES[0])
    for body in BODIES:
        assert said(reducer.reduce(body)) == said(Reducer(("tenant.id",)).reduce(body))


def test_an_answer_that_builds_on_one_never_read_is_not_believed() -> None:
    answers, reads = aside._Answers(Reducer()), aside._Reads()
    answers.to(BODIES[0])
    with pytest.raises(EOFError):
        reads.reduced(answers.to(BODIES[1]))


def test_it_imports_nothing_from_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "signal.py").write_text("raise SystemExit")
    monkeypatch.chdir(tmp_path)
    there = ReducesAside(Reducer)
    assert said(there.reduce(BODIES[0])) == said(Reducer().reduce(BODIES[0]))
    there.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_is_not_ended_by_what_tells_the_exporter_to_stop(
    reducer: ReducesAside, number: signal.Signals
) -> None:
    """A supervisor signals all processes at once, and what was accepted has to be read yet."""
    reducer.reduce(BODIES[0])
    child = pid_of(reducer)
    os.kill(child, number)
    reducer.reduce(BODIES[1])
    assert pid_of(reducer) == child
    assert runs(child)


@pytest.mark.parametrize("end", [Exporter.kill, Exporter.terminate])
def test_it_ends_with_the_exporter(tmp_path: Path, end: Callable[[Exporter], object]) -> None:
    with Exporter(tmp_path / "meter.duckdb") as exporter:
        [child] = children(exporter.pid)
        end(exporter)
        deadline = time.monotonic() + 10
        while runs(child):
            assert time.monotonic() < deadline
            time.sleep(0.05)
