# SPDX-License-Identifier: Apache-2.0
"""The shape of a row of the provider table."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from microdollar._facts import Facts, Usage
from microdollar._text import label
from microdollar_semconv import attributes

__all__ = ["Endpoint", "Fold", "Provider", "Read"]

Read = Callable[[Mapping[str, Any]], Facts]
Fold = Callable[[Facts, Mapping[str, Any]], Facts]


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One operation: every request whose method and path match is one call.

    Attributes:
        operation: Value of `gen_ai.operation.name`.
        path: Searched in the URL's path, so that gateways may put a prefix before it. A group
            `model` holds the model where the path names it; else it is in the request's body.
        read: Facts of a whole response.
        fold: Facts so far and the next stream event to the facts then.
        matters: Found in every stream event that `fold` has to see; events without it are not
            even parsed.
        text: Finds, in a stream event, what of the answer's text is in it, as group 1; to estimate
            the output of a stream whose usage never came.
        names: Members whose objects and lists `read` and `fold` look into. In a large text only
            they are kept, and whatever has `usage` in its name.
        streams: The path alone says that the response is a stream.
        complete_at_end: A stream that ends in order is complete, whatever its last event.
        results: The response is a file of the results of a batch, one in each line, each of which
            is a call that was made earlier.
        read_head: Usage from the headers of a response, for where its body has none.
        api_type: Value of `openai.api.type`.
        method: The HTTP method.
        exact: What of the usage is exact; for the documentation, as are the next two.
        cut: What is known of a stream that is cut off.
        silent: When the provider reports no usage at all; empty for never.
    """

    operation: str
    path: re.Pattern[str]
    read: Read
    fold: Fold | None = None
    matters: re.Pattern[bytes] = re.compile(b"")
    text: re.Pattern[bytes] | None = None
    names: frozenset[bytes] = frozenset()
    streams: bool = False
    complete_at_end: bool = False
    results: bool = False
    read_head: Callable[[Mapping[str, str]], Usage] | None = None
    api_type: str | None = None
    method: str = "POST"
    exact: str = "all tokens"
    cut: str = ""
    silent: str = ""


@dataclass(frozen=True, kw_only=True)
class Provider:
    """A row of the table.

    Attributes:
        name: Value of `gen_ai.provider.name`; OpenTelemetry's word where it has one.
        title: What people call it.
        hosts: Its hosts, each with its subdomains. A `*` stands for a part of a name without dots.
            One with a port is served at that port only.
        endpoints: Its operations; the first that matches counts.
        tier_attribute: The attribute of the service tier, which OpenTelemetry defines for OpenAI
            only.
        limits: What cannot be known, in sentences for the documentation.
    """

    name: str
    title: str
    hosts: tuple[str, ...]
    endpoints: tuple[Endpoint, ...]
    tier_attribute: str = attributes.RESPONSE_SERVICE_TIER
    limits: tuple[str, ...] = ()

    @cached_property
    def _hosts(self) -> re.Pattern[str]:
        patterns = (
            re.escape(host).replace(r"\*", "[^.:]+") + ("" if ":" in host else "(?::[0-9]+)?")
            for host in self.hosts
        )
        return re.compile(rf"(?:.+\.)?(?:{'|'.join(patterns)})")

    def serves(self, host: str, port: int | None = None) -> bool:
        """Whether `host`, in lower case, is one of the provider's."""
        address = host if port is None else f"{host}:{port}"
        return bool(self.hosts) and self._hosts.fullmatch(address) is not None

    def match(self, method: str, path: str) -> tuple[Endpoint, str | None] | None:
        """The endpoint a request calls, and the model if the path names it."""
        method = method.upper()
        if method not in {"GET", "POST"}:
            return None
        for endpoint in self.endpoints:
            if endpoint.method == method and (found := endpoint.path.search(path)):
                return endpoint, label(found.groupdict().get("model"))
        return None
