# SPDX-License-Identifier: Apache-2.0
"""Apps that make calls, and all that is reported of them: what happened, and the spans of it."""

from dataclasses import dataclass, field
from typing import Any, Final

from hypothesis import strategies as st

from microdollar_exporter.witness import Claim, Key
from tests.exporter.claims import call, failed, other, strong

__all__ = ["Happened", "World", "worlds"]

_WITH_IDS: Final = frozenset({"ours", "sdk", "otel", "ollm", "gateway"})


@dataclass(frozen=True)
class Happened:
    """What one call consumed: None where nobody who saw it counted. `refusals` came before."""

    output: int | None
    refusals: int


@dataclass
class World:
    """How an app is instrumented, and what it does.

    `layers` report what the app asks for, the outermost first. Unless `nesting`, only a framework
    is around others, and the rest are beside each other, as around streams. `ours` sees every
    attempt. A `gateway` may be `inside` it, `beside` it or in a trace `apart`. Without `app` there
    is no span around calls. `silent` scopes report no usage.
    """

    layers: list[str]
    ours: bool
    nesting: bool
    gateway: str | None
    app: bool
    silent: frozenset[str]
    claims: list[Claim] = field(default_factory=list)
    happened: list[Happened] = field(default_factory=list)

    def do(self, start: float, output: int, refusals: int) -> None:
        """Make one call, after so many refusals."""
        number = len(self.happened)
        attempts = [f"{number}.{attempt}" for attempt in range(refusals + 1)]
        length = 0.5 + 0.1 * refusals
        trace, inside = ("app", "root") if self.app else (f"{number}", None)
        for depth, scope in enumerate(self.layers):
            span = f"{scope} {number}"
            mine = trace if self.nesting or self.app or inside else f"{span} alone"
            moment: dict[str, Any] = {"start": start + depth / 1000, "lasts": length - depth / 500}
            self._report(scope, span, output, trace=mine, inside=inside, key=number, **moment)
            if self.nesting or scope == "framework":
                inside, trace = span, mine
        for attempt, name in enumerate(attempts):
            self._attempt(
                name, start + 0.02 + attempt / 10, trace, inside, number, output, attempts
            )
        seen = {
            *self.layers,
            *(["ours"] if self.ours else []),
            *(["gateway"] if self.gateway else []),
        }
        self.happened.append(Happened(None if seen <= self.silent else output, refusals))

    def _attempt(
        self,
        name: str,
        start: float,
        trace: str,
        inside: str | None,
        number: int,
        output: int,
        attempts: list[str],
    ) -> None:
        refused = name != attempts[-1]
        lasts = 0.05 if refused else 0.4
        place: dict[str, Any] = {
            "trace": trace,
            "inside": inside,
            "refused": refused,
            "key": number,
        }
        if self.ours:
            if inside is None and not self.nesting:
                place["trace"] = f"{name} alone"
            self._report("ours", f"ours {name}", output, start=start, lasts=lasts, **place)
            place["inside"] = f"ours {name}"
        if self.gateway is not None:
            if self.gateway == "apart":
                place |= {"trace": f"gateway {name}", "inside": None}
            elif self.gateway == "beside":
                place["inside"] = "never recorded"
            place |= {"start": start + 0.002, "lasts": lasts - 0.004, "service": "gateway"}
            self._report("gateway", f"gateway {name}", output, **place)

    def _report(
        self,
        scope: str,
        span: str,
        output: int,
        *,
        key: int,
        refused: bool = False,
        service: str = "shop",
        **place: Any,
    ) -> None:
        place["service"] = service
        if refused:
            self.claims.append(failed(span, scope, **place))
            return
        known: Key | None = strong(f"{key}") if scope in _WITH_IDS else None
        counted = None if scope in self.silent else output
        self.claims.append(call(span, scope, output=counted, key=known, **place))


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """Worlds in which nothing was lost, and everything is connected by what is known of it."""
    sdk = st.sampled_from(["oi", "ollm", "otel", "sdk"])
    layers = draw(st.lists(sdk, unique=True))
    if draw(st.booleans()):
        layers.insert(0, "framework")
    ours = draw(st.booleans())
    gateway = draw(st.sampled_from([None, "inside", "beside", "apart"]))
    if not layers and not ours:
        ours = True
    nesting, app = draw(st.booleans()), draw(st.booleans())
    if gateway == "apart":
        connected = ours or not _WITH_IDS.isdisjoint(layers)
    else:
        connected = ours or nesting or app or "framework" in layers
    scopes = [*layers, "ours", "gateway"]
    world = World(
        layers=layers,
        ours=ours,
        nesting=nesting,
        gateway=gateway if connected else None,
        app=app,
        silent=draw(st.frozensets(st.sampled_from(scopes), max_size=2)),
        claims=[other("root", trace="app")],
    )
    start = 0.0
    for _ in range(draw(st.integers(1, 5))):
        start += draw(st.sampled_from([0.0, 0.0, 0.3, 1.0, 7.0]))
        # Without a trace in common nothing connects a refusal to what was asked for.
        most = 2 if world.app or world.nesting else 0
        world.do(start, draw(st.sampled_from([20, 20, 100, 300])), draw(st.integers(0, most)))
    return world
