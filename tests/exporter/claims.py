# SPDX-License-Identifier: Apache-2.0
"""Claims to choose among: by hand, and any at all."""

from typing import Any, Final

from hypothesis import strategies as st

from microdollar_exporter.evidence import Role
from microdollar_exporter.witness import Claim, Key

__all__ = ["MINUTE", "SECOND", "agent", "any_claims", "call", "failed", "other", "strong", "weak"]

SECOND: Final = 1_000_000
MINUTE: Final = 60 * SECOND

_RANKS: Final = {"ours": 0, "sdk": 1, "otel": 2, "oi": 3, "ollm": 4, "framework": 5, "gateway": 6}


def strong(name: str) -> Key:
    """An id that no other response has."""
    return Key(f"chatcmpl-{name}", strong=True)


def weak(name: str) -> Key:
    """An id that other responses may have."""
    return Key(f"chatcmpl-{name}", strong=False)


def call(
    span: str,
    scope: str = "ours",
    *,
    inside: str | None = None,
    output: int | None = 100,
    start: float = 0,
    lasts: float = 1,
    trace: str = "trace",
    key: Key | None = None,
    **changes: Any,
) -> Claim:
    """A call of a second, in seconds from the first; without `output` it has no usage."""
    started_at = MINUTE + round(start * SECOND)
    counted: dict[str, Any] = {"output": output, "input": 1000, "has_usage": True}
    made = Claim(
        trace,
        span,
        inside,
        started_at,
        started_at + round(lasts * SECOND),
        scope,
        "call",
        rank=_RANKS.get(scope, 5),
        model="gpt",
        response_key=key,
        source="missing" if output is None else "provider",
        **({} if output is None else counted),
    )
    return made._replace(**changes)


def agent(span: str, **changes: Any) -> Claim:
    """An agent that runs elsewhere."""
    return call(span, **{"scope": "sdk", **changes})._replace(role="agent")


def other(span: str, inside: str | None = None, **changes: Any) -> Claim:
    """A span that stands for nothing."""
    return call(span, "app", inside=inside, output=None, **changes)._replace(role="other")


def failed(span: str, scope: str = "ours", **changes: Any) -> Claim:
    """An attempt that consumed nothing because it failed."""
    return call(span, scope, output=None, **changes)._replace(source="none", failed=True)


_COUNTS = st.sampled_from([None, 0, 1, 20, 40, 80, 100, 200])
_KEYS = st.none() | st.builds(Key, st.sampled_from(["chatcmpl-a", "msg_b"]), st.booleans())
_ROLES: st.SearchStrategy[Role] = st.sampled_from(["call", "call", "call", "agent", "other"])
_SPANS = st.integers(0, 9)


@st.composite
def _any_claim(draw: st.DrawFn, span: int) -> Claim:
    scope = draw(st.sampled_from(sorted(_RANKS)))
    start = draw(st.integers(0, 8)) * SECOND // draw(st.sampled_from([2, 2, 30]))
    output = draw(_COUNTS)
    source = "missing" if output is None else draw(st.sampled_from(["provider", "estimated"]))
    if output is None and draw(st.booleans()):
        source = "none"
    return Claim(
        draw(st.sampled_from(["t1", "t1", "t2", "t3"])),
        f"s{span}",
        draw(st.none() | _SPANS.map("s{}".format)),
        MINUTE + start,
        MINUTE + start + draw(st.integers(-1, 6)) * SECOND // draw(st.sampled_from([2, 2, 30])),
        scope,
        draw(_ROLES),
        draw(st.sampled_from(["shop", "shop", None])),
        rank=_RANKS[scope],
        response_key=draw(_KEYS),
        model=draw(st.sampled_from(["gpt", "gpt", "claude", None])),
        output=output,
        has_usage=output is not None,
        input=output and 1000,
        cache_split=draw(st.integers(0, 2)),
        overcount=16 if scope == "ollm" else 0,
        source=source,
        failed=source == "none",
    )


def any_claims() -> st.SearchStrategy[list[Claim]]:
    """Spans with any parents, even in circles, any ids and any counts; agents have no ids."""
    numbers = st.lists(_SPANS, min_size=1, max_size=10)
    return numbers.flatmap(
        lambda spans: st.tuples(*(_any_claim(span) for span in spans)).map(_possible)
    )


def _possible(claims: tuple[Claim, ...]) -> list[Claim]:
    found = {
        claim.identity: claim if claim.role == "call" else claim._replace(response_key=None)
        for claim in claims
    }
    return list(found.values())
