# SPDX-License-Identifier: Apache-2.0
"""A bill worked out by hand, and the same calls through an exporter: spans, ledger, report."""

import csv
import io
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Final, NamedTuple, Self

import pytest
from click.testing import CliRunner
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from microdollar_exporter import connect
from microdollar_exporter.cli import main
from microdollar_exporter.price.shipped import shipped
from tests.fakes.exporter import Exporter
from tests.fakes.otlp import Value, call, request

from .rows import at

BILL: Final = """
# OpenAI: 272,000 tokens of input are the last at the lower rates, cached ones included.
openai gpt-6-luna
  says: input 271999, read 72000, output 1000
  199999 x 0.1  = 19999.9
   72000 x 0.01 = 720
    1000 x 0.5  = 500
  cost: 21219.9

openai gpt-6-luna
  says: input 272000, read 72000, output 1000
  200000 x 0.1  = 20000
   72000 x 0.01 = 720
    1000 x 0.5  = 500
  cost: 21220

openai gpt-6-luna
  says: input 272001, read 72000, output 1000
  200001 x 0.2  = 40000.2
   72000 x 0.02 = 1440
    1000 x 0.75 = 750
  cost: 42190.2

openai gpt-6-sol
  says: input 5555, read 4321, output 567, tier priority
  rates: 2026-10-12/
  1234 x 4   = 4936
  4321 x 0.4 = 1728.4
   567 x 20  = 11340
  cost: 18004.4

# Reasoning is inside the output, at the rate of the output.
openai gpt-5.4
  says: input 1888, read 1111, output 333, reasoning 300, tier flex
  rates: 2026-10-12/
   777 x 1.25 = 971.25
  1111 x 0.13 = 144.43
   333 x 7.5  = 2497.5
  cost: 3613.18

openai o3
  says: input 5000, output 2500, reasoning 2048, tier batch
  rates: 2026-10-14/
  5000 x 1 = 5000
  2500 x 4 = 10000
  cost: 15000

# Searches at 0.01 and 0.0025 USD each.
openai gpt-4.1
  says: input 1999, output 3, web_search 1, file_search 2
  1999 x 2     = 3998
     3 x 8     = 24
     1 x 10000 = 10000
     2 x 2500  = 5000
  cost: 19022

# Audio and images are inside input and output, at rates of their own.
openai gpt-audio
  says: input 1000, audio_in 400, output 500, audio_out 300
  600 x 2.5 = 1500
  400 x 32  = 12800
  200 x 10  = 2000
  300 x 64  = 19200
  cost: 35500

openai gpt-realtime
  says: input 1000, audio_in 250, image_in 100, output 80, audio_out 60
  650 x 4  = 2600
  250 x 32 = 8000
  100 x 5  = 500
   20 x 16 = 320
   60 x 64 = 3840
  cost: 15260

openai text-embedding-3-small
  says: input 8191, operation embeddings
  8191 x 0.02 = 163.82
  cost: 163.82

# Anthropic: 321 + 12,345 read + 2,048 written for 5 minutes + 4,096 for an hour = 18,810.
anthropic claude-sonnet-5-5
  says: input 18810, read 12345, output 789, web_search 3, written 6144, 5m 2048, 1h 4096
    321 x 2     = 642
  12345 x 0.1   = 1234.5
   2048 x 2.5   = 5120
   4096 x 4     = 16384
    789 x 10    = 7890
      3 x 10000 = 30000
  cost: 61270.5

anthropic claude-opus-5-5
  says: input 1500, read 1000, written 0, output 250, speed fast
   500 x 8   = 4000
  1000 x 0.4 = 400
   250 x 40  = 10000
  cost: 14400

# 100,000 tokens are the last at the lower rates.
anthropic claude-haiku-5-5
  says: input 99999, read 90000, output 10, written 9000, 5m 9000, 1h 0
    999 x 0.1   = 99.9
  90000 x 0.01  = 900
   9000 x 0.125 = 1125
     10 x 0.5   = 5
  cost: 2129.9

anthropic claude-haiku-5-5
  says: input 100000, read 90000, output 10, written 9000, 5m 9000, 1h 0
   1000 x 0.1   = 100
  90000 x 0.01  = 900
   9000 x 0.125 = 1125
     10 x 0.5   = 5
  cost: 2130

anthropic claude-haiku-5-5
  says: input 100001, read 90000, output 10, written 9000, 5m 9000, 1h 0
   1001 x 0.5   = 500.5
  90000 x 0.05  = 4500
   9000 x 0.625 = 5625
     10 x 2.5   = 25
  cost: 10650.5

# 200,000 are, of which a quarter is written into the cache; and one more, in a batch.
anthropic claude-sonnet-4-5
  says: input 200000, output 100, written 50000, 5m 0, 1h 50000
  150000 x 3  = 450000
   50000 x 6  = 300000
     100 x 15 = 1500
  cost: 751500

anthropic claude-sonnet-4-5
  says: input 200001, output 100, tier batch, written 50001, 5m 0, 1h 50001
  rates: 2026-10-14/
  150000 x 3     = 450000
   50001 x 6     = 300006
     100 x 11.25 = 1125
  cost: 751131

anthropic claude-haiku-4-5
  says: input 17, output 19
  17 x 1 = 17
  19 x 5 = 95
  cost: 112

# Google: the last microsecond of a price, and the first of the next.
gcp.gemini gemini-4-argon at 2026-11-30T23:59:59.999999
  says: input 1500, read 500, output 100, reasoning 90
  rates: /2026-12-01
  1000 x 2   = 2000
   500 x 0.1 = 50
   100 x 10  = 1000
  cost: 3050

gcp.gemini gemini-4-argon at 2026-12-01T00:00:00
  says: input 1500, read 500, output 100, reasoning 90
  rates: 2026-12-01/
  1000 x 4   = 4000
   500 x 0.2 = 100
   100 x 20  = 2000
  cost: 6100

gcp.gemini gemini-3.6-flash at 2026-12-31T23:59:59.999999
  says: input 1001, output 77
  rates: /2027-01-01
  1001 x 0.75 = 750.75
    77 x 3.75 = 288.75
  cost: 1039.5

gcp.gemini gemini-3.6-flash at 2027-01-01T00:00:00
  says: input 1001, output 77
  rates: 2027-01-01/
  1001 x 1.5 = 1501.5
    77 x 7.5 = 577.5
  cost: 2079

# 200,000 tokens are the last at the lower rates; a search is 0.035 USD.
gcp.gemini gemini-2.5-pro
  says: input 200000, output 50, web_search 1
  200000 x 1.25  = 250000
      50 x 10    = 500
       1 x 35000 = 35000
  cost: 285500

gcp.gemini gemini-2.5-pro
  says: input 200001, output 50
  200001 x 2.5 = 500002.5
      50 x 15  = 750
  cost: 500752.5

gcp.gemini gemini-2.5-flash
  says: input 420, audio_in 320, output 64
  100 x 0.3 = 30
  320 x 1   = 320
   64 x 2.5 = 160
  cost: 510

gcp.gemini gemini-2.5-flash-lite
  says: input 1100, read 100, output 10, tier batch
  rates: 2026-10-14/
  1000 x 0.05 = 50
   100 x 0.01 = 1
    10 x 0.2  = 2
  cost: 53

gcp.gemini gemini-embedding-001
  says: input 2048, operation embeddings
  2048 x 0.15 = 307.2
  cost: 307.2

# x.ai: 199,999 tokens are the last at the lower rates.
x_ai grok-4.3
  says: input 199999, output 10
  199999 x 1.25 = 249998.75
      10 x 2.5  = 25
  cost: 250023.75

x_ai grok-4.3
  says: input 200000, output 10
  200000 x 2.5 = 500000
      10 x 5   = 50
  cost: 500050

x_ai grok-4.7
  says: input 1000, read 900, output 33, reasoning 32
  100 x 2   = 200
  900 x 0.5 = 450
   33 x 6   = 198
  cost: 848

x_ai grok-4-1-fast-reasoning
  says: input 1500, output 501, reasoning 500
  1500 x 0.2 = 300
   501 x 0.5 = 250.5
  cost: 550.5

# Mistral: a price that held for nine days, and those before and after it.
mistral_ai mistral-large-4 at 2026-10-19T23:59:59.999999
  says: input 1000, output 100
  rates: /2026-10-20
  1000 x 0.68 = 680
   100 x 2.09 = 209
  cost: 889

mistral_ai mistral-large-4 at 2026-10-28T23:59:59.999999
  says: input 1000, output 100
  rates: 2026-10-20/2026-10-29
  1000 x 1.36 = 1360
   100 x 4.18 = 418
  cost: 1778

mistral_ai mistral-large-4 at 2026-10-29T00:00:00
  says: input 1000, output 100
  rates: 2026-10-29/
  1000 x 0.7 = 700
   100 x 2.1 = 210
  cost: 910

mistral_ai codestral-latest
  says: input 400, output 40
  400 x 0.3 = 120
   40 x 0.9 = 36
  cost: 156

mistral_ai mistral-ocr-latest
  says: pages 7, operation ocr
  rates: 2026-06-23/
  7 x 4000 = 28000
  cost: 28000

mistral_ai mistral-small-latest
  says: input 1024, read 24, output 10
  rates: 2026-03-16/
  1000 x 0.15  = 150
    24 x 0.015 = 0.36
    10 x 0.6   = 6
  cost: 156.36

# DeepSeek: a Saturday, a Friday at peak hours (but it may have been a holiday), and August.
deepseek deepseek-v4-flash at 2026-11-21T06:00:00
  says: input 1128, read 128, output 10
  rates: 2026-09-10/
  1000 x 0.15  = 150
   128 x 0.003 = 0.384
    10 x 0.6   = 6
  cost: 156.384

deepseek deepseek-v4-flash at 2026-11-20T06:00:00
  says: input 1128, read 128, output 10
  rates: 2026-09-10/
  1000 x 0.3   = 300
   128 x 0.006 = 0.768
    10 x 1.2   = 12
  cost: 312.768, fallback

deepseek deepseek-v4-pro at 2026-08-16T23:59:59.999999
  says: input 1063, read 63, output 10
  rates: /2026-08-17
  1000 x 0.435    = 435
    63 x 0.003625 = 0.228375
    10 x 0.87     = 8.7
  cost: 443.928375

# Groq: by the token, and by the hour of audio, of which 10 seconds are the least.
groq llama-3.3-70b-versatile
  says: input 123, output 45
  123 x 0.59 = 72.57
   45 x 0.79 = 35.55
  cost: 108.12

groq openai/gpt-oss-120b
  says: input 1000, output 100, tier batch
  rates: 2026-10-14/
  1000 x 0.075 = 75
   100 x 0.3   = 30
  cost: 105

groq whisper-large-v3
  says: audio_seconds 62, operation transcription
  62 x 111000 / 3600 = 1911.666667
  cost: 1911.666667

groq whisper-large-v3-turbo
  says: audio_seconds 7, operation transcription
  10 x 40000 / 3600 = 111.111111
  cost: 111.111111

cohere command-a
  says: input 11, output 7
  11 x 2.5 = 27.5
   7 x 10  = 70
  cost: 97.5

# Bedrock: what is confined to a region costs a tenth more.
aws.bedrock global.anthropic.claude-opus-5-5
  says: input 3200, read 2000, output 50, written 200, 5m 100, 1h 100
  1000 x 4   = 4000
  2000 x 0.2 = 400
   100 x 5   = 500
   100 x 8   = 800
    50 x 20  = 1000
  cost: 6700

aws.bedrock eu.anthropic.claude-opus-5-5
  says: input 3200, read 2000, output 50, written 200, 5m 100, 1h 100
  1000 x 4.4  = 4400
  2000 x 0.22 = 440
   100 x 5.5  = 550
   100 x 8.8  = 880
    50 x 22   = 1100
  cost: 7370

aws.bedrock amazon.nova-pro-v1:0
  says: input 650, read 10, output 64
  640 x 0.8 = 512
   10 x 0.2 = 2
   64 x 3.2 = 204.8
  cost: 718.8

aws.bedrock amazon.nova-lite-v1:0
  says: input 333, output 7
  333 x 0.06 = 19.98
    7 x 0.24 = 1.68
  cost: 21.66

# Azure: a price of its own, and one that is lent by OpenAI.
azure.ai.openai o4-mini
  says: input 1000, read 200, output 40
  800 x 1.1   = 880
  200 x 0.275 = 55
   40 x 4.4   = 176
  cost: 1111

azure.ai.openai gpt-5.4
  says: input 1000, output 10
  1000 x 2.5 = 2500
    10 x 15  = 150
  cost: 2650, fallback

# Perplexity: reasoning at a rate of its own; and a fee for each call, which may be lower.
perplexity sonar-deep-research
  says: input 1000, output 2000, reasoning 1500, web_search 9
  1000 x 2    = 2000
   500 x 8    = 4000
  1500 x 3    = 4500
     9 x 5000 = 45000
  cost: 55500

perplexity sonar
  says: input 10, output 20
  10 x 1     = 10
  20 x 1     = 20
   1 x 12000 = 12000
  cost: 12030, fallback

openrouter anthropic/claude-sonnet-4.5
  says: input 1200, read 200, output 10
  1000 x 3   = 3000
   200 x 0.3 = 60
    10 x 15  = 150
  cost: 3210

openrouter moonshotai/kimi-k2
  says: input 1000, output 10
  1000 x 0.57 = 570
    10 x 2.3  = 23
  cost: 593

moonshot_ai kimi-k3
  says: input 130, read 10, output 10, written 20, 5m 0, 1h 20
  100 x 3   = 300
   10 x 0.3 = 3
   20 x 6   = 120
   10 x 15  = 150
  cost: 573

moonshot_ai kimi-k2-0905-preview
  says: input 150, read 50, output 10
  100 x 0.6  = 60
   50 x 0.15 = 7.5
   10 x 2.5  = 25
  cost: 92.5

cerebras gpt-oss-120b
  says: input 1000, output 100
  1000 x 0.35 = 350
   100 x 0.75 = 75
  cost: 425

cerebras llama3.1-8b
  says: input 99, output 1
  99 x 0.1 = 9.9
   1 x 0.1 = 0.1
  cost: 10

# Fireworks: what is read from the cache became dearer, the rest did not.
fireworks accounts/fireworks/models/gpt-oss-120b
  says: input 1001, read 1, output 10
  rates: 2026-10-19/
  1000 x 0.15  = 150
     1 x 0.015 = 0.015
    10 x 0.6   = 6
  cost: 156.015
"""
"""Each paragraph is a call: whose model, and when if not 2026-11-21 12:00 UTC; what its span says;
from when until when the book has these rates, if not always; and tokens times rates.

All input is in `input`, what was read from a cache or written into one as well, and all output in
`output`, with reasoning and audio. Costs are in microdollars, and so every rate of tokens is at the
same time USD per million tokens; a fee of 0.01 USD is 10,000 microdollars. Rates and dates were
copied from the shipped book by eye, and the amounts worked out from them."""

_NAMES: Final = {
    "input": "gen_ai.usage.input_tokens",
    "output": "gen_ai.usage.output_tokens",
    "reasoning": "gen_ai.usage.reasoning.output_tokens",
    "read": "gen_ai.usage.cache_read.input_tokens",
    "written": "gen_ai.usage.cache_write.input_tokens",
    "5m": "microdollar.usage.cache_write_5m.input_tokens",
    "1h": "microdollar.usage.cache_write_1h.input_tokens",
    "audio_in": "gen_ai.usage.audio.input_tokens",
    "audio_out": "gen_ai.usage.audio.output_tokens",
    "image_in": "gen_ai.usage.image.input_tokens",
    "tier": "microdollar.response.service_tier",
    "speed": "microdollar.response.speed",
    "operation": "gen_ai.operation.name",
    "web_search": "microdollar.usage.units.web_search",
    "file_search": "microdollar.usage.units.file_search",
    "pages": "microdollar.usage.units.pages",
    "audio_seconds": "microdollar.usage.units.audio_seconds",
}
"""What the bill says in short, as spans say it."""

_HOSTS: Final = {
    "openai": "api.openai.com",
    "anthropic": "api.anthropic.com",
    "gcp.gemini": "generativelanguage.googleapis.com",
}


class Line(NamedTuple):
    """One call of the bill. `terms` are tokens times rates, exactly, with what stands for them."""

    provider: str
    model: str
    began: str
    says: Mapping[str, str]
    rates: str
    terms: list[tuple[Fraction, Fraction]]
    cost: str
    status: str

    @classmethod
    def parse(cls, paragraph: str) -> Self:
        """Read a call of the bill."""
        head, *lines = [line.strip() for line in paragraph.splitlines() if line[:1] != "#"]
        provider, model, *began = head.split()
        said = dict(line.split(": ") for line in lines if ": " in line)
        terms = []
        for line in lines:
            if " = " in line:
                product, result = line.split(" = ")
                count, rate, *per = [Fraction(number) for number in re.findall(r"[\d.]+", product)]
                terms.append((count * rate / (per[0] if per else 1), Fraction(result)))
        cost, _, status = said["cost"].partition(", ")
        return cls(
            provider=provider,
            model=model,
            began=began[1] if began else "2026-11-21T12:00",
            says=dict(one.split() for one in said["says"].split(", ")),
            rates=said.get("rates", "/"),
            terms=terms,
            cost=cost,
            status=status or "priced",
        )

    def span(self, name: str, customer: str) -> Span:
        """The span of this call, as our own instrumentation reports it."""
        attributes: dict[str, Value | None] = {
            **dict.fromkeys(_NAMES[count] for count in ("input", "output", "read")),
            "gen_ai.provider.name": self.provider,
            "gen_ai.request.model": self.model,
            "gen_ai.response.model": self.model,
            "microdollar.tag.line": name,
            "server.address": _HOSTS.get(self.provider),
        }
        for word, value in self.says.items():
            attributes[_NAMES[word]] = int(value) if value.isdigit() else value
        changes = {key.replace(".", "__"): value for key, value in attributes.items()}
        return call(customer, started_at=at(self.began), **changes)  # type: ignore[arg-type]


LINES: Final = {
    f"{number:02}": Line.parse(paragraph)
    for number, paragraph in enumerate(BILL.strip().split("\n\n"), 1)
}
"""By the name that the calls of a line have as a tag."""

OF_PROVIDERS: Final = {
    "anthropic": "1593323.9",
    "aws.bedrock": "14810.46",
    "azure.ai.openai": "3761",
    "cerebras": "435",
    "cohere": "97.5",
    "deepseek": "913.080375",
    "fireworks": "156.015",
    "gcp.gemini": "799391.2",
    "groq": "2235.897778",
    "mistral_ai": "31889.36",
    "moonshot_ai": "665.5",
    "openai": "191193.5",
    "openrouter": "3803",
    "perplexity": "67530",
    "x_ai": "751472.25",
}
TOTAL: Final = "3461677.663153"
"""3.461677663153 USD."""

COPIES: Final = 40
"""So many calls of a line at once are booked by columns, if they are ordinary."""
ONE_BY_ONE: Final = 30
"""So many calls at once are booked one by one."""


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The bill once for acme, and forty times for globex; an exporter has it in its hands."""
    path = tmp_path_factory.mktemp("bill") / "meter.duckdb"
    once = [line.span(name, "acme") for name, line in LINES.items()]
    often = [line.span(name, "globex") for name, line in LINES.items() for _ in range(COPIES)]
    with Exporter(path) as exporter:
        for begin in range(0, len(once), ONE_BY_ONE):
            exporter.export(request(*once[begin : begin + ONE_BY_ONE]))
        exporter.export(request(*often))
        yield path


def report(ledger: Path, by: str, customer: str) -> dict[str, dict[str, str]]:
    """The rows of `microdollar report` by what they are about."""
    asked = ["report", "--by", by, "--customer", customer, "--format", "csv", "--db", str(ledger)]
    result = CliRunner().invoke(main, asked)
    assert result.exit_code == 0, result.stderr
    return {row[by]: row for row in csv.DictReader(io.StringIO(result.stdout))}


@pytest.mark.parametrize("name", LINES)
def test_the_arithmetic_of_each_line_holds(name: str) -> None:
    """Each product, to the millionth of a microdollar; their sum is the cost."""
    line = LINES[name]
    for exact, result in line.terms:
        assert round(exact, 6) == result
    assert sum(result for _, result in line.terms) == Fraction(line.cost)


def test_the_lines_add_up_to_the_totals() -> None:
    assert len({(line.provider, line.model) for line in LINES.values()}) == 48
    of_providers = dict.fromkeys((line.provider for line in LINES.values()), Decimal(0))
    for line in LINES.values():
        of_providers[line.provider] += Decimal(line.cost)
    assert of_providers == {name: Decimal(cost) for name, cost in OF_PROVIDERS.items()}
    assert sum(of_providers.values()) == Decimal(TOTAL)


@pytest.mark.parametrize(("customer", "calls"), [("acme", 1), ("globex", COPIES)])
def test_the_report_has_the_bill_line_by_line(ledger: Path, customer: str, calls: int) -> None:
    """To the picodollar, whether calls come alone or together."""
    rows = report(ledger, "tag:line", customer)
    assert {name: (row["calls"], Decimal(row["cost"])) for name, row in rows.items()} == {
        name: (str(calls), Decimal(line.cost) * calls) for name, line in LINES.items()
    }
    for name, line in LINES.items():
        doubts = {word: int(rows[name][word]) for word in ("unpriced", "partial", "fallback")}
        assert doubts == {"unpriced": 0, "partial": 0, "fallback": 0} | (
            {} if line.status == "priced" else {line.status: calls}
        ), name


@pytest.mark.parametrize(("customer", "calls"), [("acme", 1), ("globex", COPIES)])
def test_the_report_has_the_totals_of_the_bill(ledger: Path, customer: str, calls: int) -> None:
    """By provider, and of all."""
    rows = report(ledger, "provider", customer)
    assert {name: Decimal(row["cost"]) for name, row in rows.items()} == {
        name: Decimal(cost) * calls for name, cost in OF_PROVIDERS.items()
    }
    assert Decimal(report(ledger, "customer", customer)[customer]["cost"]) == Decimal(TOTAL) * calls


def test_every_entry_names_a_price_row_with_the_dates_of_the_bill(ledger: Path) -> None:
    """In the book that ships."""
    found = connect(ledger).sql(
        """SELECT DISTINCT tags['line'] AS name, price_book, effective_from, effective_to
           FROM ledger LEFT JOIN price_row ON price_row.book_id = ledger.price_book
               AND price_row.price_row = ledger.price_row
           ORDER BY name"""
    )
    assert [tuple(row.values()) for row in found.to_pylist()] == [
        (name, shipped().id, *(_date(day) for day in line.rates.split("/")))
        for name, line in LINES.items()
    ]


def _date(day: str) -> datetime | None:
    return datetime.fromisoformat(day) if day else None
