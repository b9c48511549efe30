# SPDX-License-Identifier: Apache-2.0
"""Every error of an overrides file names the line, the field, the value and the way out."""

from pathlib import Path

import pytest

from microdollar_exporter.errors import UsageError
from microdollar_exporter.price.overrides import layer, parse, read

from .overriding import listed

RATE = '[[rate]]\nprovider = "maker"\nmodel = "large"\n'
PRICED = RATE + "per_mtok = { input = 1 }\n"
ADJUST = '[[adjust]]\nname = "a"\nmultiply = 2\n'

REFUSED = [
    (
        "rates = 1",
        2,
        "rates is not known in the file: do you mean rate? choose from schema, providers, ",
    ),
    (
        "[[rates]]",
        2,
        "rates is not known in the file: do you mean rate? choose from schema, providers, ",
    ),
    ("schema = 2", 1, "schema of the file is 2: write schema = 1"),
    ('schema = "1"', 1, 'schema of the file is "1": write schema = 1'),
    (
        RATE + "per_mtok = { input = 1.0000000000001, output = 1 }",
        5,
        "input of rate.per_mtok is 1.0000000000001: write at most 12 decimals",
    ),
    (
        RATE + "per_mtok = { input = 1e-3 }",
        5,
        "input of rate.per_mtok is 0.001: write it in plain digits, like 0.25, and not with an ",
    ),
    (
        RATE + "per_mtok = { input = inf }",
        5,
        "input of rate.per_mtok is Infinity: write it in plain digits, like 0.25",
    ),
    (
        RATE + "per_mtok = { input = nan }",
        5,
        "input of rate.per_mtok is NaN: write it in plain digits, like 0.25",
    ),
    (
        RATE + 'per_mtok = { input = "1" }',
        5,
        'input of rate.per_mtok is "1": write it in plain digits, like 0.25',
    ),
    (
        RATE + "per_mtok = { input = -1 }",
        5,
        "input of rate.per_mtok is -1: write a price in USD from 0 to 1000000",
    ),
    (
        RATE + "per_mtok = { input = true }",
        5,
        "input of rate.per_mtok is true: write it in plain digits, like 0.25",
    ),
    (
        RATE + "per_mtok = { input = 1000001 }",
        5,
        "input of rate.per_mtok is 1000001: write a price in USD from 0 to 1000000",
    ),
    (
        RATE + "per_mtok = { imput = 1 }",
        5,
        "imput is not known in rate.per_mtok: do you mean input? choose from input, cache_read, ",
    ),
    (
        RATE + "per_mtok = {}",
        2,
        "[[rate]] has no rates: write per_mtok = { input = …, output = … }, or per = { … }",
    ),
    (RATE, 2, "[[rate]] has no rates: write per_mtok = { input = …, output = … }, or per = { … }"),
    (
        RATE + "per_mtok = { input = 0 }",
        2,
        "[[rate]] has only rates of 0: what costs nothing belongs under [[free]]",
    ),
    (RATE + "per_mtok = 3", 5, "per_mtok of [[rate]] is 3: write a table: per_mtok = { … }"),
    (
        RATE + "per = { audio_seconds = 1 }",
        5,
        "audio_seconds of rate.per is 1: write audio_hours, the price of an hour",
    ),
    (
        RATE + "per = { web_search = 1, google_search = 1 }",
        5,
        "google_search of rate.per is 1: it is another name for web_search, which is there already",
    ),
    (
        RATE + 'per = { "Web Search" = 1 }',
        5,
        "Web Search of rate.per is 1: write the name of a unit, like web_search, file_search, ",
    ),
    (
        PRICED + "from = 2026-02-01\nto = 2026-02-01",
        7,
        "to of [[rate]] is 2026-02-01: write a time after from, which is the first moment that ",
    ),
    (
        PRICED + 'from = "2026-02-01"',
        6,
        'from of [[rate]] is "2026-02-01": write a day like 2026-10-01 or a time like ',
    ),
    (
        PRICED + "from = 09:00:00",
        6,
        "from of [[rate]] is 09:00:00: write a day like 2026-10-01 or a time like ",
    ),
    (
        PRICED + "thresholds = [{ above = 1, at_least = 2, per_mtok = { input = 1 }}]",
        6,
        "[[rate.thresholds]] needs above = N or at_least = N input tokens, one of both",
    ),
    (
        PRICED + "thresholds = [{ above = 1}]",
        6,
        "[[rate.thresholds]] has no rates: write per_mtok = { input = …, output = … }",
    ),
    (
        PRICED + "[[rate.thresholds]]\nabove = 10\nper_mtok.input = 1\n"
        "[[rate.thresholds]]\nat_least = 11\nper_mtok.input = 2",
        9,
        "[[rate.thresholds]] begins above 10 input tokens, as another one does: keep one",
    ),
    (
        PRICED + "thresholds = [{ at_least = 1, per_mtok = {input=1}}]",
        6,
        "at_least of [[rate.thresholds]] is 1: write a number of tokens like 200000",
    ),
    (
        PRICED + 'context = { tier = "flex" }',
        6,
        "tier is not known in rate.context: choose from processing, service_tier, ",
    ),
    (
        PRICED + 'context = { service_tier = "batch" }',
        6,
        'service_tier of rate.context is "batch": write processing = "batch" instead, the ',
    ),
    (
        PRICED + "context = { }",
        2,
        '[[rate]] has an empty context: write a fact like service_tier = "flex"',
    ),
    (
        PRICED + "window = { from = 10:00:00, to = 09:00:00 }",
        6,
        "to of rate.window is 09:00:00: write a time after from; a window over midnight is two ",
    ),
    (
        PRICED + 'window = { from = "10:00", to = 09:00:00 }',
        6,
        'from of rate.window is "10:00": write a time of day like 09:00:00, without quotes',
    ),
    (
        PRICED + 'window = { from = 10:00:00, to = 11:00:00, weekdays = ["Mon"] }',
        6,
        "weekdays of rate.window is an array: choose from mon, tue, ",
    ),
    (
        PRICED + 'window = { from = 10:00:00, to = 11:00:00, utc_offset = "8" }',
        6,
        'utc_offset of rate.window is "8": write it like "+08:00"',
    ),
    (
        PRICED + '[[rate]]\nprovider = "maker"\nmodel = "large"\nper_mtok = { input = 2 }',
        6,
        "[[rate]] is about maker large at a time for which [[rate]] of line 2 is: end one with ",
    ),
    (
        PRICED + '[[free]]\nprovider="maker"\nmodel="Large"',
        6,
        "[[free]] is about maker large at a time for which [[rate]] of line 2 is: end one with ",
    ),
    (
        RATE + 'same_as = { model = "large" }',
        5,
        'model of rate.same_as is "large": write another model than the rule is about',
    ),
    (
        RATE + 'same_as = { model = "large-x" }',
        5,
        'model of rate.same_as is "large-x": model matched loosely as large: write large if ',
    ),
    (
        RATE + 'same_as = { provider="othe", model = "tiny" }',
        5,
        'provider of rate.same_as is "othe": write a provider; do you mean other?',
    ),
    (
        RATE + 'same_as = { provider="other", model = "tinny" }',
        5,
        'model of rate.same_as is "tinny": write a model with a price; do you mean tiny?',
    ),
    (
        RATE + 'same_as = { provider="other", model = "tiny" }\nper_mtok = {input=1}',
        6,
        "per_mtok of [[rate]] is a table: same_as takes all rates of the other model: leave ",
    ),
    (RATE + 'same_as = "tiny"', 5, 'same_as of [[rate]] is "tiny": write a table: same_as = { … }'),
    (
        '[[rate]]\nmodel="m"\nper_mtok={input=1}',
        2,
        "provider of [[rate]] is missing: write whose model it is",
    ),
    (
        '[[rate]]\nprovider="makr"\nmodel="m"\nper_mtok={input=1}',
        3,
        'provider of [[rate]] is "makr": do you mean maker? If it is another one, say "makr" = ',
    ),
    (
        '[[adjust]]\nname="a"\nmultiply=0',
        4,
        "multiply of [[adjust]] is 0: write a number above 0; what costs nothing belongs under ",
    ),
    (
        '[[adjust]]\nname="a"\nmultiply=1',
        4,
        "multiply of [[adjust]] is 1: leave the rule out: a factor of 1 changes nothing",
    ),
    (
        '[[adjust]]\nname="a"\nmultiply=1001',
        4,
        "multiply of [[adjust]] is 1001: write a number up to 1000: 1.1 is 10 percent more",
    ),
    (
        '[[adjust]]\nname="a"',
        2,
        "multiply of [[adjust]] is missing: write a number like 0.88 for 12 percent off",
    ),
    (
        "[[adjust]]\nmultiply=2",
        2,
        "name of [[adjust]] is missing: write a name, by which the ledger knows the rule",
    ),
    (ADJUST + 'model="large"', 2, "provider of [[adjust]] is missing: write whose model it is"),
    (
        ADJUST + 'provider="makr"',
        5,
        'provider of [[adjust]] is "makr": write a provider of the book; do you mean maker?',
    ),
    (
        ADJUST + 'provider="maker"\nmodel="larg"',
        6,
        'model of [[adjust]] is "larg": write a model with a price; do you mean large?',
    ),
    (
        ADJUST + 'provider="cloudy"',
        5,
        'provider of [[adjust]] is "cloudy": write a provider of the book',
    ),
    (
        ADJUST + '[[adjust]]\nname="a"\nmultiply=3',
        6,
        'name of [[adjust]] is "a": the rule of line 2 has it: give each a name of its own',
    ),
    (
        '[[adjust]]\nname="a"\nmultiply=0.1234567\n[[adjust]]\nname="b"\nmultiply=0.123456789012',
        7,
        "multiply of [[adjust]] is 0.123456789012: a, b multiply to a number of more than 18 ",
    ),
    (ADJUST + 'of="fees"', 5, 'of of [[adjust]] is "fees": choose from all, tokens'),
    (
        ADJUST + 'when={geo="us"}',
        5,
        "geo is not known in adjust.when: choose from processing, service_tier, ",
    ),
    (
        '[[alias]]\nprovider="cloud"\nmodel="x"',
        2,
        'is of [[alias]] is missing: write is = { provider = "…", model = "…" }',
    ),
    (
        '[[alias]]\nprovider="cloud"\nmodel="x"\nis={model="larg"}',
        5,
        'model of alias.is is "larg": write a model with a price',
    ),
    (
        '[[alias]]\nprovider="cloud"\nmodel="x"\nis={provider="maker",model="large-x"}',
        5,
        'model of alias.is is "large-x": model matched loosely as large: write large if that ',
    ),
    (
        '[providers]\nx="makr"',
        3,
        'x of [providers] is "makr": write a provider of the book; do you mean maker?',
    ),
    (
        '[providers]\nx="maker"\nX="maker"',
        4,
        'X of [providers] is "maker": it is there already, in other letters',
    ),
    ("[providers]\nx=3", 3, "x of [providers] is 3: write a text in quotes"),
    ('[providers]\n"a"="zzz"', 3, 'a of [providers] is "zzz": write a provider of the book'),
    (
        "[default]\nper_mtok={input=0}",
        2,
        "[default] has only rates of 0: what costs nothing belongs under [[free]]",
    ),
    (
        "[default]",
        2,
        "[default] has no rates: write per_mtok = { input = …, output = … }, or per = { … }",
    ),
    ("[free]\nx=1", 2, "free of the file is a table: write a table under [[free]]"),
    ('[[free]]\nprovider="maker"\nmodel=""', 4, 'model of [[free]] is "": write a text in quotes'),
    (
        '[[free]]\nprovider="maker"\nmodel="large"\nreson="x"',
        5,
        "reson is not known in [[free]]: do you mean reason? choose from provider, model, ",
    ),
    (
        '[[adjust]]\nname="late"\nmultiply=2\nprovider="maker"\nwhen={service_tier=3}',
        6,
        "service_tier of adjust.when is 3: write a text in quotes",
    ),
]


@pytest.mark.parametrize(("rules", "line", "complaint"), REFUSED)
def test_what_is_not_sure_to_be_meant_is_refused_with_its_line_and_the_way_out(
    rules: str, line: int, complaint: str
) -> None:
    """Line 1 says which schema it is, unless the rules do."""
    text = rules if rules.startswith("schema") else f"schema = 1\n{rules}"
    with pytest.raises(UsageError) as refused:
        parse(text, "prices.toml").over(listed())
    assert str(refused.value).startswith(f"prices.toml:{line}: {complaint}")


@pytest.mark.parametrize("text", ["", "[providers]", "schema = true"])
def test_a_file_says_which_schema_it_is(text: str) -> None:
    with pytest.raises(UsageError, match=r"^prices.toml:1: schema of the file is .*schema = 1$"):
        parse(text, "prices.toml")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("schema=1\nschema=1", "not TOML: Cannot overwrite a value"),
        ("schema = 1\n[[rate", "not TOML: "),
    ],
)
def test_what_is_no_toml_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(UsageError, match=f"^prices.toml: {complaint}"):
        parse(text, "prices.toml")


def test_a_file_is_read_from_disk_or_said_not_to_be_there(tmp_path: Path) -> None:
    path = tmp_path / "prices.toml"
    with pytest.raises(UsageError, match=r"cannot read .*prices.toml: No such file"):
        read(path)
    path.write_text(f"schema = 1\n{RATE}per_mtok = {{ input = 3 }}\n")
    [row] = [r for r in read(path).over(listed()).lookup("maker", "large") if r.layer == "rate"]
    assert row.rates == {"input_uncached": 3 * 10**12}


# Overlaps

FROM, TO = "from = 2026-03-01\n", "to = 2026-03-01\n"
PEAK = 'window = { from = 01:00:00, to = 04:00:00, weekdays = ["mon"] }\n'


@pytest.mark.parametrize(
    ("first", "second", "overlap"),
    [
        (TO, FROM, False),
        (TO, "from = 2026-02-28T23:59:59.999999Z\n", True),
        (FROM, TO, False),
        ("", 'context = { processing = "batch" }\n', False),
        ('context = { speed = "fast" }\n', 'context = { speed = "Fast" }\n', True),
        ("", PEAK, False),
        (PEAK, PEAK.replace("mon", "tue"), False),
        (PEAK, PEAK.replace("01:00", "04:00").replace("to = 04:00", "to = 05:00"), False),
        (PEAK, PEAK.replace("01:00", "03:59"), True),
        (PEAK, PEAK.replace(', weekdays = ["mon"]', ""), True),
    ],
)
def test_two_rates_for_one_price_are_an_error_that_names_both_lines(
    first: str, second: str, *, overlap: bool
) -> None:
    rules = f"schema = 1\n{PRICED}{first}{PRICED}{second}"
    line = 7 if first else 6
    if not overlap:
        parse(rules, "prices.toml").over(listed())
        return
    with pytest.raises(
        UsageError, match=rf"^prices.toml:{line}: .* \[\[rate\]\] of line 2 is: end one"
    ):
        parse(rules, "prices.toml")


@pytest.mark.parametrize("head", ["[[free]]", "[[alias]]", "[[rate]]"])
def test_a_rule_for_all_contexts_overlaps_with_one_for_a_single_context(head: str) -> None:
    of = {"[[alias]]": 'is = { model = "small" }', "[[rate]]": 'same_as = { model = "small" }'}
    rules = f"""schema = 1
{PRICED}context = {{ speed = "fast" }}
{head}
provider = " Maker"
model = "LARGE"
{of.get(head, "")}
"""
    with pytest.raises(UsageError, match=r"^prices.toml:7: .* of line 2 is: end one"):
        parse(rules, "prices.toml")


@pytest.mark.parametrize("first", ["small", "SMALL"])
def test_models_that_have_their_rates_of_each_other_are_refused(first: str) -> None:
    """Also by way of a third one, and by any name that the book knows them by."""
    circle = {first: "large", "large": "new", "new": "small-2026-01-01"}
    rules = "schema = 1\n" + "".join(
        f'[[rate]]\nprovider = "maker"\nmodel = "{model}"\n'
        f'same_as = {{ provider = "maker", model = "{target}" }}\n'
        for model, target in circle.items()
    )
    with pytest.raises(UsageError) as refused:
        parse(rules, "prices.toml").over(listed())
    assert str(refused.value) == (
        "prices.toml:10: [[rate]] has the rates of a model that has its own, by way of line 2, 6: "
        "write rates in one"
    )


def test_multipliers_that_make_too_many_prices_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Three facts of a request make seven prices of one; so many may be, and no more."""
    facts = ["speed", "inference_geo", "region"]
    rules = "schema = 1\n" + "".join(
        f'[[adjust]]\nname = "{fact}"\nprovider = "other"\nwhen = {{ {fact} = "x" }}\n'
        "multiply = 2\n"
        for fact in facts
    )
    overrides = parse(rules, "prices.toml")
    monkeypatch.setattr(layer, "MOST_ADJUSTED", 7)
    assert sum(bool(row.adjustments) for row in overrides.over(listed()).rows) == 7
    monkeypatch.setattr(layer, "MOST_ADJUSTED", 6)
    with pytest.raises(UsageError) as refused:
        overrides.over(listed())
    assert str(refused.value) == (
        "prices.toml:12: [[adjust]] makes more than 6 prices, one for every combination of what "
        "these ask for: speed, inference_geo, region; say in each whose price it is, with provider "
        "and model"
    )


def test_a_rate_for_a_context_needs_one_without_it() -> None:
    """Else an ordinary call would lose the price that it has now."""
    lent = '[[rate]]\nprovider = "cloud"\nmodel = "large"\nper_mtok = { input = 1 }\n'
    rules = f'schema = 1\n{lent}context = {{ processing = "batch" }}\n'
    with pytest.raises(UsageError) as refused:
        parse(rules, "prices.toml").over(listed())
    assert str(refused.value) == (
        "prices.toml:2: [[rate]] is for processing=batch only, and nothing says what cloud large "
        "costs otherwise: write a rate without context too"
    )
    parse(rules + lent, "prices.toml").over(listed())


def test_two_names_of_one_provider_are_one_provider() -> None:
    rules = f"""schema = 1
[providers]
ours = "maker"
{PRICED}{PRICED.replace("maker", "ours")}"""
    with pytest.raises(UsageError, match=r"^prices.toml:8: .* of line 4 is: end one"):
        parse(rules, "prices.toml")


def test_a_name_near_to_a_known_one_is_taken_when_it_is_said_to_be_meant() -> None:
    rules = "schema = 1\n" + PRICED.replace("maker", "makers")
    with pytest.raises(UsageError, match="do you mean maker"):
        parse(rules, "prices.toml").over(listed())
    book = parse(f"{rules}[providers]\nmakers = 'makers'", "prices.toml").over(listed())
    assert book.lookup("makers", "large")
