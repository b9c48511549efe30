# SPDX-License-Identifier: Apache-2.0
"""The scenarios, decided all at once."""

import itertools
from collections.abc import Sequence

import pytest

from microdollar_exporter.customer import Customers
from microdollar_exporter.evidence import Evidence, Identity
from microdollar_exporter.normalise import normalise
from microdollar_exporter.reduce import reduce
from microdollar_exporter.usage import UsageRow
from microdollar_exporter.witness import Verdict, choose, claim
from tests.exporter.scenarios import SCENARIOS, Booked, Scenario


@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
def test_each_call_is_billed_once_with_the_counts_of_its_best_witness(scenario: Scenario) -> None:
    """And with the customer that any of its witnesses names, in whatever order they come."""
    for evidence in itertools.permutations(received(scenario)):
        assert booked(scenario, evidence) == sorted(scenario.booked, key=lambda one: one.label)


def test_no_two_scenarios_share_a_name() -> None:
    """Their ids are made from it."""
    assert len({scenario.name for scenario in SCENARIOS}) == len(SCENARIOS)


def test_scenarios_do_not_touch_each_other() -> None:
    """A store that holds all of them books each as if it were alone."""
    everything = [item for scenario in SCENARIOS for item in received(scenario)]
    together = decided(everything)
    for scenario in SCENARIOS:
        for identity, verdict in decided(received(scenario)).items():
            assert together[identity] == verdict, scenario.name


def received(scenario: Scenario) -> list[Evidence]:
    """The evidence of a scenario; what is delivered again changes nothing."""
    found: dict[Identity, Evidence] = {}
    for request in scenario.requests():
        (item,) = reduce(request.SerializeToString()).evidence
        found[item.identity] = item
    return list(found.values())


def rows_of(item: Evidence) -> list[UsageRow]:
    return [] if item.profile.role == "other" else normalise(item)


def decided(evidence: Sequence[Evidence]) -> dict[Identity, Verdict]:
    return choose([claim(item, rows_of(item)) for item in evidence])


def booked(scenario: Scenario, evidence: Sequence[Evidence]) -> list[Booked]:
    """What is billed, by the labels of the spans."""
    labels = {scenario.identity(sketch.label): sketch.label for sketch in scenario.spans}
    known = {item.identity: item for item in evidence}
    found = []
    for identity, verdict in decided(evidence).items():
        if verdict.billed:
            (row, *_) = rows_of(known[identity])
            named = [
                Customers().named(known[i]).customer_id for i in (identity, *verdict.stands_for)
            ]
            found.append(
                Booked(
                    labels[identity],
                    next((customer for customer in named if customer), None),
                    row.usage.input_uncached,
                    row.usage.cache_read,
                    row.usage.output,
                    row.source,
                )
            )
    return sorted(found, key=lambda one: one.label)
