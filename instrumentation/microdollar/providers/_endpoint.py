# SPDX-License-Identifier: Apache-2.0
"""The shape of a provider module."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from microdollar._facts import Facts
from microdollar._text import label

__all__ = ["Endpoint", "Provider"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One operation: every POST whose path matches is one call.

    Attributes:
        operation: Value of `gen_ai.operation.name`.
        path: Searched in the URL's path, so that gateways may put a prefix before it. A group
            `model` holds the model where the path names it; else it is in the request's body.
        read: Facts of a whole response.
        fold: Facts so far and the next stream event to the facts then.
        matters: Found in every stream event that `fold` has to see; events without it are not
            even parsed.
        streams: The path alone says that the response is a stream.
        complete_at_end: A stream that ends in order is complete, whatever its last event.
        members: The only members of a whole response that `read` needs, where it may be long and
            holds no text in which their names could occur; empty for all.
        api_type: Value of `openai.api.type`.
    """

    operation: str
    path: re.Pattern[str]
    read: Callable[[Mapping[str, Any]], Facts]
    fold: Callable[[Facts, Mapping[str, Any]], Facts] | None = None
    matters: re.Pattern[bytes] = re.compile(b"")
    streams: bool = False
    complete_at_end: bool = False
    members: tuple[str, ...] = ()
    api_type: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """A provider: its name in OpenTelemetry, its hosts, its operations.

    A host also stands for its subdomains. `tier_attribute` names the attribute of the service
    tier, which OpenTelemetry defines for OpenAI only.
    """

    name: str
    hosts: tuple[str, ...]
    endpoints: tuple[Endpoint, ...]
    tier_attribute: str

    def serves(self, host: str) -> bool:
        """Whether `host`, in lower case, is one of the provider's."""
        return any(host == own or host.endswith("." + own) for own in self.hosts)

    def match(self, method: str, path: str) -> tuple[Endpoint, str | None] | None:
        """The endpoint a request calls, and the model if the path names it."""
        if method.upper() != "POST":
            return None
        for endpoint in self.endpoints:
            found = endpoint.path.search(path)
            if found is not None:
                return endpoint, label(found.groupdict().get("model"))
        return None
