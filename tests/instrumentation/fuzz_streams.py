# SPDX-License-Identifier: Apache-2.0
"""Fuzz the readers of responses.

`python -m tests.instrumentation.fuzz_streams` takes the options of libFuzzer. It needs `atheris`,
which is in no dependency group: `uv pip install atheris`. It is no test, because it has no end;
`-max_total_time=60` gives it one.
"""

import sys
from itertools import pairwise

import atheris  # type: ignore[import-untyped, unused-ignore]

with atheris.instrument_imports(include=["microdollar"]):
    from microdollar import _guard
    from microdollar._body import Body
    from microdollar.providers import PROVIDERS

_ENDPOINTS = [endpoint for row in PROVIDERS.values() for endpoint in row.endpoints]
_TYPES = [
    *("application/json", "text/event-stream", "application/x-ndjson"),
    "application/vnd.amazon.eventstream",
]
_ENCODINGS = ["", "gzip", "deflate", "br", "zstd"]


def read(data: bytes) -> None:
    """One response: any operation, any framing, any bytes, cut anywhere."""
    provider = atheris.FuzzedDataProvider(data)
    endpoint = provider.PickValueInList(_ENDPOINTS)
    kind = provider.PickValueInList(_TYPES)
    encoding = provider.PickValueInList(_ENCODINGS) if provider.ConsumeBool() else ""
    cuts = provider.ConsumeIntListInRange(4, 0, 4096)
    content = provider.ConsumeBytes(provider.remaining_bytes())
    body = Body(endpoint, kind, encoding)
    borders = sorted({0, len(content), *(cut for cut in cuts if cut < len(content))})
    for start, end in pairwise(borders):
        body.feed(content[start:end])
    body.end(in_order=True)
    for facts in (body.facts, *body.results()):
        used = facts.usage
        assert used.output is None or used.output >= 0


def main() -> None:
    """Fuzz until told to stop; a fault of ours ends it."""
    _guard.reraise = True
    atheris.Setup(sys.argv, read)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
