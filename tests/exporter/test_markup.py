# SPDX-License-Identifier: Apache-2.0
"""What customers pay: rates first, then what is included, then what is missing to a minimum."""

from datetime import datetime
from fractions import Fraction
from typing import Any

import pytest

from microdollar_exporter.markup import Bill, Key, Part, Piece, Span, bill, parse
from microdollar_exporter.usage import BUCKETS

USD = 10**12
NOVEMBER = datetime(2026, 11, 1)
ALL = Span(None, None, datetime(2026, 11, 21))


def piece(customer: str | None = "acme", **facts: Any) -> Piece:
    """Ten calls of a customer in November, with 900 tokens of input and 100 of output for $2."""
    made: dict[str, Any] = {
        "names": (customer,),
        "customer": customer,
        "provider": "openai",
        "model": "m",
        "since": NOVEMBER,
        "period": "2026-11",
        "measured": True,
        "accepted": True,
        "calls": 10,
        "tokens": (900, 0, 0, 0, 0, 0, 100),
        "units": {},
        "cost": 2 * USD,
    }
    return Piece(**(made | facts))


def billed(rules: str, *pieces: Piece, by: tuple[str, ...] = ("customer",), **span: Any) -> Bill:
    """The bill by the rules of a file."""
    return bill(parse(f"schema = 1\n{rules}"), pieces, by, ALL._replace(**span))


def amounts(made: Bill) -> dict[tuple[str | None, ...], dict[str, Fraction]]:
    """The parts of each row in dollars, by its names, and its kind when it is no row of calls."""
    return {
        (*key.names, *([] if key.line is Part.CHARGE else [key.line.value])): {
            part.name.lower(): amount / USD for part, amount in line.parts.items()
        }
        for (_, key), line in made.lines.items()
        if line.parts
    }


def rate(prices: str) -> str:
    """A file with one rate."""
    return f'[[markup]]\nname = "r"\n{prices}\n'


@pytest.mark.parametrize(
    ("prices", "facts", "charge"),
    [
        ("percent = 20", {}, "2.4"),
        ("percent = 0", {}, "2"),
        ("percent = -100", {}, "0"),
        ("percent = 33.333333333333333333", {}, "2.66666666666666666666"),
        ("per_mtok = { input = 1.5, output = 9 }", {}, "0.00225"),
        ("per_mtok = { input = 1, cache_read = 0.5, output = 0 }",
         {"tokens": (1, 2, 3, 4, 5, 6, 7)}, "0.00002"),
        ("per_mtok = { input = 0, cache_write = 1, cache_write_1h = 2, output = 0 }",
         {"tokens": (1, 2, 3, 4, 5, 6, 7)}, "0.000016"),
        ("per_call = 0.001", {}, "0.01"),
        ("per_unit = { web_search = 0.02 }", {"units": {"web_search": 3, "pages": 9}}, "0.06"),
        ("per_unit = { web_search = 0.02 }", {}, "0"),
        ("percent = 10\nper_call = 0.001\nper_mtok = { input = 1, output = 1 }", {}, "2.211"),
    ],
)  # fmt: skip
def test_a_rate_is_a_share_of_the_cost_or_prices_or_both(
    prices: str, facts: dict[str, Any], charge: str
) -> None:
    """Exactly; a bucket without a price of its own has that of what it is a kind of."""
    made = billed(rate(prices), piece(**facts))
    assert amounts(made) == {("acme",): {"charge": Fraction(charge)}}
    assert made.lines["acme", Key(("acme",), Part.CHARGE)].rules == {"r"}


UNPRICED: dict[str, Any] = {"cost": None}
MISSING: dict[str, Any] = {"cost": None, "measured": False, "tokens": (0,) * len(BUCKETS)}
REFUSED: dict[str, Any] = {"cost": 0, "accepted": False, "tokens": (0,) * len(BUCKETS)}


@pytest.mark.parametrize(
    ("prices", "facts", "charge"),
    [
        ("percent = 20", UNPRICED, None),
        ("percent = 20\nper_call = 1", UNPRICED, None),
        ("per_call = 1", UNPRICED, "10"),
        ("per_mtok = { input = 1, output = 1 }", UNPRICED, "0.001"),
        ("per_mtok = { input = 1, output = 1 }", MISSING, None),
        ("per_unit = { web_search = 1 }", MISSING, None),
        ("per_call = 1", MISSING, "10"),
        ("percent = 20\nper_call = 1", REFUSED, "0"),
        ("per_mtok = { input = 1, output = 1 }", REFUSED, "0"),
    ],
)
def test_what_a_rate_needs_and_nobody_knows_makes_the_amount_unknown(
    prices: str, facts: dict[str, Any], charge: str | None
) -> None:
    """Never zero, and counted; a call that the provider refused costs the customer nothing."""
    made = billed(rate(prices), piece(**facts))
    found = amounts(made).get(("acme",))
    assert found == (None if charge is None else {"charge": Fraction(charge)})
    unknown = 10 if charge is None else 0
    line = made.lines["acme", Key(("acme",), Part.CHARGE)]
    assert (made.unknown, line.unbilled, made.uncovered) == (unknown, unknown, 0)


def test_calls_that_no_rate_is_about_have_no_amount() -> None:
    """They are counted apart from those whose amount is not known."""
    rules = rate('percent = 20\ncustomer = "acme"')
    made = billed(rules, piece(), piece("globex"), piece(None), piece(cost=None))
    assert amounts(made) == {("acme",): {"charge": Fraction("2.4")}}
    assert (made.uncovered, made.uncovered_tokens) == (20, 2000)
    assert (made.unknown, made.unknown_tokens) == (10, 1000)


def test_what_was_taken_back_is_in_no_count() -> None:
    """Sums of nothing are not calls without an amount, and nobody owes a minimum for them."""
    nothing: dict[str, Any] = {"calls": 0, "tokens": (0,) * len(BUCKETS), "cost": None}
    made = billed('[[minimum]]\nname = "m"\nusd = 1', piece(**nothing))
    assert (made.uncovered, made.uncovered_tokens, amounts(made)) == (0, 0, {})


def allowance(what: str, **more: str) -> str:
    """One dollar for a call, and something included."""
    rest = "".join(f"\n{name} = {value}" for name, value in more.items())
    return f'{rate("per_call = 1")}[[allowance]]\nname = "free"\n{what}{rest}\n'


@pytest.mark.parametrize(
    ("what", "included"),
    [
        ("tokens = 0", 0),
        ("tokens = 300", 3),
        ("tokens = 999", "9.99"),
        ("tokens = 1000", 10),
        ("tokens = 1001", 10),
        ("calls = 3", 3),
        ("calls = 10", 10),
        ("calls = 11", 10),
        ("usd = 2.5", "2.5"),
        ("usd = 10", 10),
        ("usd = 10.01", 10),
    ],
)
def test_an_allowance_includes_its_share_of_the_charge(what: str, included: str | int) -> None:
    """Three of ten calls are three tenths of what they all come to; and never more than all."""
    expected = {"charge": Fraction(10)}
    if included:
        expected["allowance"] = -Fraction(included)
    assert amounts(billed(allowance(what), piece())) == {("acme",): expected}


def test_an_allowance_is_of_each_customer_and_each_period() -> None:
    """What is left of it does not pass on."""
    pieces = [
        piece(names=("acme", "2026-11")),
        piece(names=("acme", "2026-12"), period="2026-12"),
        piece("globex", names=("globex", "2026-11"), calls=1),
    ]
    made = billed(allowance("calls = 4"), *pieces, by=("customer", "month"))
    assert amounts(made) == {
        ("acme", "2026-11"): {"charge": 10, "allowance": -4},
        ("acme", "2026-12"): {"charge": 10, "allowance": -4},
        ("globex", "2026-11"): {"charge": 1, "allowance": -1},
    }


def test_calls_of_several_prices_share_an_allowance_by_its_share() -> None:
    """Half of the tokens are included, hence half of the bill, whichever calls came first."""
    rules = rate('percent = 0\nmodel = "m"') + (
        '[[markup]]\nname = "n"\nmodel = "n"\npercent = 100\n'
        '[[allowance]]\nname = "free"\ntokens = 1000\n'
    )
    made = billed(rules, piece(), piece(model="n"))
    assert amounts(made) == {("acme",): {"charge": 6, "allowance": -3}}


def test_an_allowance_for_a_model_leaves_the_others_alone() -> None:
    """And takes the place of the one for all models, of which it says more."""
    rules = allowance("calls = 1") + '[[allowance]]\nname = "n"\nmodel = "n"\ncalls = 5\n'
    made = billed(rules, piece(), piece(model="n"))
    assert amounts(made) == {("acme",): {"charge": 20, "allowance": -6}}


def test_calls_without_an_amount_use_up_an_allowance_too() -> None:
    """Their tokens and calls are known; a refused call does not count."""
    pieces = [piece(), piece(cost=None), piece(**REFUSED)]
    rules = rate("percent = 400") + '[[allowance]]\nname = "free"\ncalls = 5\n'
    assert amounts(billed(rules, *pieces)) == {
        ("acme",): {"charge": 10, "allowance": -Fraction(10) * 5 / 20}
    }


@pytest.mark.parametrize("what", ["usd = 1", "calls = 5", "tokens = 500"])
def test_nothing_is_included_in_a_credit(what: str) -> None:
    """It would be taken back."""
    rules = rate("percent = 0") + f'[[allowance]]\nname = "free"\n{what}'
    assert amounts(billed(rules, piece(cost=-USD))) == {("acme",): {"charge": -1}}


def minimum(usd: str) -> str:
    """One dollar for a call, three calls included, and a minimum."""
    return f'{allowance("calls = 3")}[[minimum]]\nname = "least"\nusd = {usd}\n'


@pytest.mark.parametrize(
    ("usd", "added"), [("6.99", None), ("7", None), ("7.000001", "0.000001"), ("100", "93")]
)
def test_a_minimum_adds_what_is_missing_after_the_allowance(usd: str, added: str | None) -> None:
    """Ten dollars of calls less three included are seven."""
    expected = {"charge": Fraction(10), "allowance": Fraction(-3)}
    if added is not None:
        expected["minimum"] = Fraction(added)
    assert amounts(billed(minimum(usd), piece())) == {("acme",): expected}


def test_a_minimum_for_whoever_calls_is_owed_by_whoever_called() -> None:
    """In that period; nobody's calls owe nothing, and unknown amounts are owed at the least."""
    rules = rate("percent = 0") + '[[minimum]]\nname = "least"\nusd = 5'
    pieces = [piece(), piece("globex", cost=None), piece(None), piece("late", period="2026-12")]
    assert amounts(billed(rules, *pieces)) == {
        ("acme",): {"charge": 2, "minimum": 3},
        ("globex",): {"minimum": 5},
        ("late",): {"charge": 2, "minimum": 3},
    }


LEAST = '[[minimum]]\nname = "least"\ncustomer = "acme"\nusd = 5\nfrom = 2026-09-01\n'


def test_a_minimum_of_a_named_customer_is_owed_without_any_call() -> None:
    """From its first period to the one in which the report is made."""
    made = billed(LEAST, by=("customer", "month"))
    assert amounts(made) == {
        ("acme", month): {"minimum": 5} for month in ("2026-09", "2026-10", "2026-11")
    }
    begun = billed(LEAST, by=("customer", "month"), now=datetime(2026, 10, 1))
    assert amounts(begun).keys() == {("acme", "2026-09"), ("acme", "2026-10")}
    before = billed(LEAST, now=datetime(2026, 8, 31, 23, 59))
    assert amounts(before) == {}


def test_a_minimum_ends_with_its_rule_and_with_the_report() -> None:
    """The first moment after is not of it."""
    ended = billed(f"{LEAST}to = 2026-10-01", by=("month",))
    assert amounts(ended).keys() == {("2026-09",)}
    asked = billed(LEAST, by=("month",), first=datetime(2026, 10, 1), end=datetime(2026, 11, 1))
    assert amounts(asked).keys() == {("2026-10",)}
    assert asked.cut == set()


def test_a_minimum_of_a_customer_takes_the_place_of_the_one_for_all() -> None:
    """Also where it is less, and where its period is longer."""
    general = '[[minimum]]\nname = "all"\nusd = 50\n'
    assert amounts(billed(LEAST + general, piece())) == {("acme",): {"minimum": 15}}
    yearly = '[[minimum]]\nname = "y"\ncustomer = "acme"\nusd = 60\nper = "year"\nfrom = 2026-01-01'
    made = billed(f"{general}{yearly}", piece(), piece("globex"))
    assert amounts(made) == {("acme",): {"minimum": 60}, ("globex",): {"minimum": 50}}


@pytest.mark.parametrize("facts", [{"calls": 1}, {"tokens": (1, 0, 0, 0, 0, 0, 0)}, {"cost": -1}])
def test_whatever_is_booked_in_a_period_lets_its_minimum_be_owed(facts: dict[str, Any]) -> None:
    """A call without usage, a further model inside a call of the day before, a correction."""
    nothing: dict[str, Any] = {"calls": 0, "tokens": (0,) * len(BUCKETS), "cost": None}
    made = billed('[[minimum]]\nname = "m"\nusd = 1', piece(**(nothing | facts)))
    assert amounts(made) == {("acme",): {"minimum": 1}}


def test_a_minimum_of_unassigned_calls_is_added_to_what_they_are_charged() -> None:
    """They have no customer, whatever the file calls it."""
    rules = rate('customer = "unassigned"\nper_call = 0.2')
    rules += LEAST.replace("acme", "unassigned").replace("09-01", "11-01")
    assert amounts(billed(rules, piece(None))) == {(None,): {"charge": 2, "minimum": 3}}


def test_calls_of_no_tokens_use_up_no_tokens() -> None:
    """Nor do those of which tokens were taken back; each call is charged in full."""
    for tokens in ((0,) * len(BUCKETS), (-1, 0, 0, 0, 0, 0, 0)):
        made = billed(allowance("tokens = 5"), piece(tokens=tokens))
        assert amounts(made) == {("acme",): {"charge": 10}}


@pytest.mark.parametrize(
    ("rules", "unknown", "incomplete"),
    [
        ('[[allowance]]\nname = "free"\ncalls = 5\n', UNPRICED, {("acme", "2026-11")}),
        ('[[minimum]]\nname = "least"\nusd = 5\n', UNPRICED, {("acme", "2026-11")}),
        ('[[minimum]]\nname = "least"\nusd = 5\nper = "year"\n', UNPRICED, {("acme", "2026")}),
        # The charge comes to as much in any case.
        ('[[minimum]]\nname = "least"\nusd = 2\n', UNPRICED, set()),
        # Nothing is included of a charge that is not known.
        ('[[allowance]]\nname = "free"\ncalls = 5\nmodel = "n"', UNPRICED | {"model": "n"}, set()),
        # By the file it has no amount, and will never have one.
        ('[[minimum]]\nname = "least"\nusd = 5\n', UNPRICED | {"provider": "other"}, set()),
        # It was taken back.
        (
            '[[minimum]]\nname = "least"\nusd = 5\n',
            UNPRICED | {"calls": 0, "tokens": (0,) * len(BUCKETS)},
            set(),
        ),
        # A further model inside a call.
        ('[[minimum]]\nname = "m"\nusd = 5\n', UNPRICED | {"calls": 0}, {("acme", "2026-11")}),
    ],
)
def test_what_is_worked_out_without_unknown_amounts_is_said(
    rules: str, unknown: dict[str, Any], incomplete: set[tuple[str, str]]
) -> None:
    """Of which customer, and of which period: it may be another once they are known."""
    rules = rate('percent = 0\nprovider = "openai"') + rules
    period = "2026" if "year" in rules else "2026-11"
    pieces = [piece(period=period), piece(period=period, **unknown), piece("b", period=period)]
    assert billed(rules, *pieces).incomplete == incomplete
    assert billed(rules, *pieces, first=datetime(2026, 11, 2)).incomplete == set()


def test_the_unknown_amounts_of_one_period_leave_the_others_complete() -> None:
    rules = rate("percent = 0") + '[[minimum]]\nname = "least"\nusd = 5'
    made = billed(rules, piece(cost=None), piece(period="2026-12"), piece("b", period="2026-12"))
    assert made.incomplete == {("acme", "2026-11")}


def test_a_report_about_one_customer_has_only_its_minimum() -> None:
    """The others owe theirs in a report of their own."""
    assert amounts(billed(LEAST, customer="globex")) == {}
    assert amounts(billed(LEAST, customer="acme", first=datetime(2026, 11, 1))) == {
        ("acme",): {"minimum": 5}
    }


def test_of_a_period_that_the_report_cuts_nothing_is_included_and_nothing_added() -> None:
    """It is said of which; a report that begins and ends with it has them."""
    rules = minimum("8")
    cut = billed(rules, piece(), first=datetime(2026, 11, 2))
    assert amounts(cut) == {("acme",): {"charge": 10}}
    assert cut.cut == {"2026-11"}
    for alone in (allowance("calls = 3"), LEAST):
        assert billed(alone, piece(), end=datetime(2026, 11, 30)).cut == {"2026-11"}
    whole = billed(rules, piece(), first=NOVEMBER, end=datetime(2026, 12, 1))
    assert amounts(whole) == {("acme",): {"charge": 10, "allowance": -3, "minimum": 1}}
    assert whole.cut == set()


DAILY = 'customer = "acme"\nper = "day"\nfrom = 2026-11-20\n'


@pytest.mark.parametrize(
    ("by", "names", "row"),
    [
        (("customer",), ("acme",), ("acme",)),
        (("month", "customer"), ("2026-11", "acme"), ("2026-11", "acme")),
        (("month",), ("2026-11",), ("2026-11",)),
        (("customer", "model"), ("acme", "m"), ("acme", None, "allowance")),
        (("customer", "day"), ("acme", "2026-11-20"), ("acme", None, "allowance")),
        (("model", "month"), ("m", "2026-11"), (None, "2026-11", "allowance")),
        (("tag:x",), (None,), (None, "allowance")),
    ],
)
def test_what_is_of_a_customer_and_month_has_a_row_of_its_own_beside_finer_rows(
    by: tuple[str, ...], names: tuple[str, ...], row: tuple[str | None, ...]
) -> None:
    """Else it is in the row of the customer, or of the month."""
    made = amounts(billed(allowance("calls = 3"), piece(names=names), by=by))
    assert made[row]["allowance"] == -3
    assert made[names]["charge"] == 10


def test_what_is_of_a_day_is_in_the_row_of_the_day() -> None:
    """And in no other of a report by days."""
    rules = rate("per_call = 1") + f'[[minimum]]\nname = "least"\nusd = 15\n{DAILY}'
    pieces = [piece(names=("acme", day), period=day) for day in ("2026-11-19", "2026-11-20")]
    assert amounts(billed(rules, *pieces, by=("customer", "day"))) == {
        ("acme", "2026-11-19"): {"charge": 10},
        ("acme", "2026-11-20"): {"charge": 10, "minimum": 5},
        ("acme", "2026-11-21"): {"minimum": 15},
    }
    monthly = billed(rules, *pieces, by=("customer", "month"))
    assert monthly.lines["acme", Key(("acme", "2026-11"), Part.CHARGE)].parts[Part.MINIMUM] == (
        20 * USD
    )


def test_what_is_of_a_year_is_of_no_month() -> None:
    """A report by months has a row for it."""
    rules = allowance("calls = 3", per='"year"')
    made = billed(rules, piece(names=("2026-11",), period="2026"), by=("month",))
    assert amounts(made) == {("2026-11",): {"charge": 10}, (None, "allowance"): {"allowance": -3}}


def test_calls_whose_cost_is_not_known_are_not_in_the_margin() -> None:
    """Allowance and minimum are, for which no call was made."""
    rules = rate("per_call = 1") + LEAST.replace("usd = 5", "usd = 50")
    made = billed(rules, piece(), piece(cost=None), first=NOVEMBER)
    line = made.lines["acme", Key(("acme",), Part.CHARGE)]
    assert line.parts == {Part.CHARGE: 20 * USD, Part.MINIMUM: 30 * USD}
    assert line.costed_parts == {Part.CHARGE: 10 * USD, Part.MINIMUM: 30 * USD}
    assert line.cost == 2 * USD
