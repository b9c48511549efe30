# SPDX-License-Identifier: Apache-2.0
"""Traffic whose truth is known: a few calls, all that is reported of them, and what they come to.

The truth is told by this file alone, from what was reported: whoever is trusted most is believed,
and every call counts once. Only situations are made in which nobody could differ about that.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from random import Random
from typing import Final, NamedTuple

from tests.simulation import reports as by
from tests.simulation.reports import SECOND, Emitter, Report, Tokens

__all__ = ["CACHED", "KINDS", "OUTPUT", "UNCACHED", "Bill", "Episode", "make_episode"]

UNCACHED, CACHED, OUTPUT = 100_000, 10_000, 500_000
"""What a token of each bucket costs, in picodollars: the list price of gpt-6-luna."""

HOUR: Final = 3600 * SECOND
DAY: Final = 24 * HOUR
CUSTOMERS: Final = ("acme", "globex", "initech", None)
MODEL: Final = "gpt-6-luna"


class Bill(NamedTuple):
    """One call as the books have to show it."""

    customer: str | None
    model: str
    response_id: str | None
    calls: int
    uncached: int | None
    cached: int | None
    output: int | None
    cost: Decimal | None


@dataclass(frozen=True, slots=True)
class Episode:
    """`calls` hold the reports of each call, the most trusted first.

    `sums` are reports that repeat several calls, and count only where `sums_count` and none of the
    calls is known. `around` are reports of no call. `whole` says that the truth is only known
    once everything has arrived.
    """

    kind: str
    calls: tuple[tuple[Report, ...], ...]
    sums: tuple[Report, ...] = ()
    sums_count: bool = False
    around: tuple[Report, ...] = ()
    whole: bool = False

    @property
    def reports(self) -> list[Report]:
        """Everything that is reported."""
        return [*(report for call in self.calls for report in call), *self.sums, *self.around]

    @property
    def worst_first(self) -> list[Report]:
        """The same, so that the books have to change their mind as often as they can."""
        return [
            *self.sums,
            *(report for call in self.calls for report in reversed(call)),
            *self.around,
        ]

    def truth(self, stored: Collection[str]) -> list[Bill] | None:
        """What the books have to show once the reports of these names have arrived.

        None where that is not known yet.
        """
        there = [report for report in self.reports if report.name in stored]
        if self.whole and len(there) < len(self.reports):
            return None
        known = [[report for report in call if report.name in stored] for call in self.calls]
        bills = [_bill(views, there) for views in known if views]
        if not bills and self.sums_count:
            bills = [_bill([report], there) for report in self.sums if report.name in stored]
        return sorted(bills, key=repr)


def _bill(views: Sequence[Report], there: Sequence[Report]) -> Bill:
    """A call by those who report it, the most trusted first, among all that is known."""
    witness = views[0]
    customer = next((view.customer for view in views if view.customer), None)
    if customer is None and not witness.emitter.is_ours:
        named = [other for other in there if other.trace_id == witness.trace_id and other.customer]
        customer = named[0].customer if named else None
    response_id = next((view.response_id for view in views if view.response_id), None)
    tokens = witness.tokens
    if tokens is None:
        return Bill(customer, witness.model, response_id, 1, None, None, None, None)
    picodollars = tokens.uncached * UNCACHED + tokens.cached * CACHED + tokens.output * OUTPUT
    cost = Decimal(picodollars).scaleb(-6)
    return Bill(customer, witness.model, response_id, 1, *tokens, cost)


@dataclass(slots=True)
class _Maker:
    """Makes the reports of one episode; `random` decides all that may vary."""

    name: str
    random: Random
    began: int
    customer: str | None = None
    place: str = ""
    only_ours: bool = False
    _made: int = 0
    _skews: dict[str, int] = field(default_factory=dict)

    def any_of(self, *emitters: Emitter) -> Emitter:
        """One of these, or ours where there is no other."""
        chosen = self.random.choice(emitters)
        return by.OURS if self.only_ours else chosen

    def trace(self) -> bytes:
        """A new trace id."""
        return self.random.randbytes(16)

    def tokens(self) -> Tokens:
        """What a call consumed: enough output to tell it from others."""
        random = self.random
        cached = random.choice((0, random.randint(1, 900)))
        return Tokens(random.randint(1, 2000), cached, random.randint(40, 900))

    def response_id(self, prefix: str = "chatcmpl-") -> str:
        """An id that no other response has."""
        # As with providers' ids, hardly any of which has no digit, but never without one.
        letters = self.random.choices("abcdefghjkmnpqrstuvwxyz23456789", k=24)
        return prefix + "".join(letters) + "7"

    def report(
        self,
        emitter: Emitter,
        process: str,
        trace_id: bytes,
        tokens: Tokens | None,
        *,
        response_id: str | None = None,
        parent: Report | None = None,
        at: int = 0,
        lasts: int = SECOND,
        customer: str | None = None,
        late: bool = False,
    ) -> Report:
        """A report by a process, whose clock may be wrong, of something `at` µs into the episode."""
        random = self.random
        if process not in self._skews:
            skew = random.choice((0, 0, random.randint(-5 * HOUR, 5 * HOUR)))
            self._skews[process] = skew
        started_at = self.began + at + self._skews[process]
        self._made += 1
        return Report(
            name=f"{self.name}/{self._made}",
            emitter=emitter,
            process=process + self.place,
            trace_id=trace_id,
            span_id=random.randbytes(8),
            parent=None if parent is None else parent.span_id,
            started_at=started_at,
            ended_at=started_at + lasts,
            model=MODEL,
            tokens=tokens,
            response_id=response_id,
            customer=customer,
            delay=self.delay(late=late),
        )

    def delay(self, *, late: bool = False) -> int:
        """How long a report waits before it is sent: most not at all, some up to ten days."""
        random = self.random
        if late:
            return random.choice((0, 0, random.randint(0, HOUR), random.randint(0, 10 * DAY)))
        return random.choice((0, 0, 0, 0, 0, random.randint(0, HOUR)))


def _ours_alone(make: _Maker) -> Episode:
    """Calls that only our instrumentation sees, in one trace or in several."""
    trace, calls = make.trace(), []
    for _ in range(make.random.randint(1, 6)):
        if make.random.random() < 0.5:
            trace = make.trace()
        calls.append(
            (
                make.report(
                    make.any_of(by.OURS, by.OURS, by.OURS_BEFORE_A_GATEWAY),
                    "app",
                    trace,
                    make.tokens(),
                    response_id=make.response_id(),
                    customer=make.customer,
                    at=make.random.randint(0, 60 * SECOND),
                ),
            )
        )
    return Episode("ours alone", tuple(calls))


def _sdk_and_ours(make: _Maker) -> Episode:
    """The SDK's own span is around ours, counts a little more, and may arrive first or last."""
    trace, tokens, answer = make.trace(), make.tokens(), make.response_id("msg_")
    wrong = tokens._replace(output=tokens.output + make.random.randint(0, 3))
    theirs = make.report(
        make.random.choice((by.ANTHROPIC_SDK, by.OTEL, by.OPENLLMETRY)),
        "app",
        trace,
        wrong,
        response_id=answer,
        lasts=2 * SECOND,
        late=True,
    )
    ours = make.report(
        by.OURS, "app", trace, tokens, response_id=answer, parent=theirs, customer=make.customer,
        at=SECOND // 10,
    )  # fmt: skip
    return Episode("sdk and ours", ((ours, theirs),))


def _client_and_gateway(make: _Maker) -> Episode:
    """Two processes with clocks of their own, and no trace in common."""
    tokens, answer = make.tokens(), make.response_id()
    ours = make.report(
        make.random.choice((by.OURS, by.OURS_BEFORE_A_GATEWAY)),
        "app",
        make.trace(),
        tokens,
        response_id=answer,
        customer=make.customer,
    )
    wrong = tokens._replace(uncached=tokens.uncached + make.random.randint(0, 9))
    gateway = make.report(by.LITELLM, "gateway", make.trace(), wrong, response_id=answer, late=True)
    return Episode("client and gateway", ((ours, gateway),))


def _two_instrumentations(make: _Maker) -> Episode:
    """Two wrappers of one client, of whom one does not know the response id."""
    trace, calls, at = make.trace(), [], 0
    for _ in range(make.random.randint(1, 3)):
        tokens, answer = make.tokens(), make.response_id()
        believed = make.report(
            by.OPENINFERENCE, "app", trace, tokens, at=at, lasts=3 * SECOND, late=True
        )
        other = make.report(
            by.OPENLLMETRY, "app", trace, tokens, response_id=answer, at=at + SECOND // 5,
            lasts=2 * SECOND, customer=make.customer, late=True,
        )  # fmt: skip
        calls.append((believed, other))
        # Apart, so that each is beside its own double and no other.
        at += 60 * SECOND
    return Episode("two instrumentations", tuple(calls))


def _three_witnesses(make: _Maker) -> Episode:
    """Everybody at once, each arriving whenever it likes: the books change their mind twice."""
    trace, tokens, answer = make.trace(), make.tokens(), make.response_id()
    more = make.random.randint(1, 3)
    gateway = make.report(
        by.LITELLM, "gateway", make.trace(), tokens._replace(output=tokens.output + more),
        response_id=answer, late=True,
    )  # fmt: skip
    instrumented = make.report(
        by.OPENLLMETRY, "app", trace, tokens._replace(output=tokens.output + more + 1),
        response_id=answer, lasts=2 * SECOND, late=True,
    )  # fmt: skip
    ours = make.report(
        by.OURS, "app", trace, tokens, response_id=answer, parent=instrumented,
        customer=make.customer, at=SECOND // 10, late=True,
    )  # fmt: skip
    return Episode("three witnesses", ((ours, instrumented, gateway),))


def _usage_known_elsewhere(make: _Maker) -> Episode:
    """We saw a stream without usage; another knows what it came to."""
    trace, tokens, answer = make.trace(), make.tokens(), make.response_id()
    theirs = make.report(
        by.OTEL, "app", trace, tokens, response_id=answer, lasts=2 * SECOND, late=True
    )
    ours = make.report(
        by.OURS, "app", trace, None, response_id=answer, parent=theirs, customer=make.customer,
        at=SECOND // 10,
    )  # fmt: skip
    return Episode("usage known elsewhere", ((theirs, ours),))


def _loop_and_calls(make: _Maker) -> Episode:
    """An agent loop repeats the sums of its calls, and is never billed."""
    trace = make.trace()
    answers = [make.tokens() for _ in range(make.random.randint(1, 4))]
    total = answers[0]
    for tokens in answers[1:]:
        total += tokens
    loop = make.report(by.LOOP, "app", trace, total, lasts=HOUR, customer=make.customer, late=True)
    calls = [
        (
            make.report(
                by.OTEL, "app", trace, tokens, response_id=make.response_id(), parent=loop,
                at=60 * SECOND * number, late=True,
            ),
        )
        for number, tokens in enumerate(answers)
    ]  # fmt: skip
    return Episode("loop and calls", tuple(calls), sums=(loop,))


def _agent_elsewhere(make: _Maker) -> Episode:
    """An agent's sum is billed until, and only until, one of its calls is known."""
    trace = make.trace()
    answers = [make.tokens() for _ in range(make.random.randint(0, 3))]
    total = make.tokens() if not answers else answers[0]
    for tokens in answers[1:]:
        total += tokens
    agent = make.report(
        by.AGENT, "app", trace, total, lasts=HOUR, customer=make.customer, late=True
    )
    calls = [
        (
            make.report(
                by.OTEL, "helper", trace, tokens, response_id=make.response_id(), parent=agent,
                at=60 * SECOND * number, late=True,
            ),
        )
        for number, tokens in enumerate(answers)
    ]  # fmt: skip
    return Episode("agent elsewhere", tuple(calls), sums=(agent,), sums_count=True)


def _customer_named_late(make: _Maker) -> Episode:
    """The root of the trace ends last, and says whom all of it was for."""
    trace = make.trace()
    root = make.report(
        by.APP, "app", trace, None, lasts=HOUR, customer=make.customer or "hooli", late=True
    )
    calls = [
        (
            make.report(
                make.random.choice((by.OTEL, by.OPENLLMETRY)),
                "app",
                trace,
                make.tokens(),
                response_id=make.response_id(),
                parent=root,
                at=60 * SECOND * number,
            ),
        )
        for number in range(make.random.randint(1, 4))
    ]
    return Episode("customer named late", tuple(calls), around=(root,))


def _alike_and_parallel(make: _Maker) -> Episode:
    """Calls that are the same in everything but their span: none is taken for another."""
    trace, tokens = make.trace(), make.tokens()
    emitter = make.any_of(by.OURS, by.OPENINFERENCE, by.OTEL)
    customer = make.customer
    calls = [
        (make.report(emitter, "app", trace, tokens, customer=customer),)
        for _ in range(make.random.randint(2, 5))
    ]
    return Episode("alike and parallel", tuple(calls))


def _ids_that_repeat(make: _Maker) -> Episode:
    """A server that counts its answers from 0 again and again: its ids tell nothing."""
    answer = f"chatcmpl-{make.random.randint(0, 998)}"
    calls = [
        (
            make.report(
                make.random.choice((by.OTEL, by.OURS_BEFORE_A_GATEWAY)),
                "app",
                make.trace(),
                make.tokens(),
                response_id=answer,
                customer=make.customer,
            ),
        )
        for _ in range(make.random.randint(2, 4))
    ]
    return Episode("ids that repeat", tuple(calls))


def _poison(make: _Maker) -> Episode:
    """A span that meets a fault of the receiver, among its like: it is refused for itself."""
    calls = []
    for _ in range(make.random.randint(1, 3)):
        report = make.report(
            by.OURS, "app", make.trace(), make.tokens(), response_id=make.response_id(),
            customer=make.customer,
        )  # fmt: skip
        calls.append((replace(report, poisonous=not calls),))
    return Episode("poison", tuple(calls))


KINDS: Final[Sequence[Callable[[_Maker], Episode]]] = (
    _ours_alone,
    _ours_alone,
    _sdk_and_ours,
    _client_and_gateway,
    _two_instrumentations,
    _three_witnesses,
    _usage_known_elsewhere,
    _loop_and_calls,
    _agent_elsewhere,
    _customer_named_late,
    _alike_and_parallel,
    _ids_that_repeat,
    _poison,
)
"""The kinds of episodes; ours alone are the most frequent, as in life."""


OF_OURS_ALONE: Final = (_ours_alone, _ours_alone, _alike_and_parallel, _poison)
"""Those that can happen where nobody else reports anything."""


def make_episode(
    name: str, random: Random, began: int, place: str = "", *, only_ours: bool = False
) -> Episode:
    """An episode of any kind, with everything in it named after `name`.

    `place` sets the processes it happens in apart from others. With `only_ours` nobody reports
    anything but our own instrumentation, at the providers' own hosts.
    """
    make = _Maker(name, random, began, place=place, only_ours=only_ours)
    make.customer = random.choice(CUSTOMERS)
    return random.choice(OF_OURS_ALONE if only_ours else KINDS)(make)
