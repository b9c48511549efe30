# SPDX-License-Identifier: Apache-2.0
"""The environment variables that steer the meter. A bad value is warned of and the default used."""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from microdollar._guard import warn_once

__all__ = ["PROTOCOLS", "PROVIDERS", "Settings", "is_switched_off"]

PROTOCOLS = ("http/protobuf", "grpc")

PROVIDERS = (
    *("openai", "azure", "anthropic", "bedrock", "gemini", "vertex", "mistral", "cohere", "groq"),
    *("deepseek", "xai", "openrouter", "together", "fireworks", "perplexity", "cerebras"),
    *("moonshot", "ollama", "vllm", "litellm", "openai-compatible", "anthropic-compatible"),
)
"""The wire formats a host can be declared to speak. Here, because reading the settings does not
load the providers."""


_BOOLEANS = {
    **dict.fromkeys(("true", "1", "on", "yes"), True),
    **dict.fromkeys(("false", "0", "off", "no"), False),
}


def _boolean(text: str) -> bool:
    return _BOOLEANS[text.lower()]


def _positive_integer(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def _seconds(text: str) -> float:
    number = float(text)
    if not 0 <= number < 86_400:
        raise ValueError
    return number


def _protocol(text: str) -> str:
    if text not in PROTOCOLS:
        raise ValueError
    return text


def _url(text: str) -> str:
    if not text.startswith(("http://", "https://")):
        raise ValueError
    return text


def _hosts(text: str) -> dict[tuple[str, int | None], str]:
    hosts = {}
    for entry in filter(None, map(str.strip, text.split(","))):
        address, _, provider = entry.lower().rpartition("=")
        found = _ADDRESS.fullmatch(address.strip())
        provider = provider.strip()
        if found is None or provider not in PROVIDERS or int(found["port"] or 1) not in _PORTS:
            warn_once(
                f"MICRODOLLAR_HOSTS {entry}",
                "MICRODOLLAR_HOSTS: %r left out; expected host[:port]=%s",
                entry,
                "|".join(PROVIDERS),
            )
            continue
        name = found["v6"] or found["name"].rstrip(".")
        hosts[name, int(found["port"]) if found["port"] else None] = provider
    return hosts


_ADDRESS = re.compile(
    r"(?:\[(?P<v6>[0-9a-f:.%]+)\]|(?P<name>[^\s/:@?#=\[\]]*[^\s/:@?#=\[\].]\.?))"
    r"(?::(?P<port>[0-9]{1,5}))?"
)
"""`host`, `host:port`, `[v6]` or `[v6]:port`; the brackets do not belong to the name."""

_PORTS = range(1, 65_536)


def _headers(text: str) -> tuple[str, ...]:
    names = tuple(name.strip().lower() for name in text.split(",") if name.strip())
    if not all(map(_HEADER.fullmatch, names)):
        raise ValueError
    return names


_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")
"""What RFC 9110 lets a header be called."""


def _api_keys(text: str) -> dict[str, str]:
    keys = {}
    for entry in filter(None, map(str.strip, text.split(","))):
        print_, equals, customer = entry.partition("=")
        if not equals or _FINGERPRINT.fullmatch(print_.strip()) is None or not customer.strip():
            # Not quoted: somebody may have written the key itself there.
            warn_once(
                "MICRODOLLAR_API_KEYS",
                "MICRODOLLAR_API_KEYS: an entry left out; expected fingerprint=customer with a "
                "fingerprint from `python -m microdollar --fingerprint`",
            )
            continue
        keys[print_.strip()] = customer.strip()
    return keys


_FINGERPRINT = re.compile(r"[0-9a-f]{32}")


_KINDS: dict[Callable[[str], Any], str] = {
    _boolean: "true or false",
    _positive_integer: "A positive integer",
    _seconds: "Seconds",
    _protocol: " or ".join(PROTOCOLS),
    _url: "A URL",
    _hosts: "A list of host[:port]=format",
    _headers: "A list of header names",
    _api_keys: "A list of fingerprint=customer",
    str: "Text",
}
"""What a parser takes, for those who set an option."""


def _option(variable: str, parse: Callable[[str], Any], default: Any, meaning: str) -> Any:
    metadata = {
        "variable": variable,
        "parse": parse,
        "kind": _KINDS[parse],
        "default": default,
        "meaning": meaning,
    }
    if isinstance(default, dict):
        return field(default_factory=dict, metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, slots=True)
class Settings:
    """The table of options: each with its variable, parser, default and meaning."""

    enabled: bool = _option(
        "MICRODOLLAR_ENABLED",
        _boolean,
        True,
        "Whether to meter at all; `false`, `0`, `off` or `no` switches it off.",
    )

    hosts: Mapping[tuple[str, int | None], str] = _option(
        "MICRODOLLAR_HOSTS",
        _hosts,
        {},
        "Further hosts, and whose wire format each speaks: `host[:port]=provider,...`.",
    )

    otlp_endpoint: str | None = _option(
        "MICRODOLLAR_OTLP_ENDPOINT",
        _url,
        None,
        "Base URL of the Collector for metering spans only; else OpenTelemetry's own variables.",
    )

    otlp_protocol: str | None = _option(
        "MICRODOLLAR_OTLP_PROTOCOL",
        _protocol,
        None,
        "`http/protobuf` or `grpc`, for metering spans only; else OpenTelemetry's own variables.",
    )

    queue_size: int = _option(
        "MICRODOLLAR_QUEUE_SIZE",
        _positive_integer,
        10_000,
        "Spans kept while the Collector cannot be reached; further ones are dropped and counted.",
    )

    customer_headers: tuple[str, ...] = _option(
        "MICRODOLLAR_CUSTOMER_HEADERS",
        _headers,
        ("x-tolvyn-end-customer", "x-tenant-id"),
        "Headers of a request that name the customer, after `X-Microdollar-Customer`.",
    )

    user_headers: tuple[str, ...] = _option(
        "MICRODOLLAR_USER_HEADERS",
        _headers,
        ("x-user-id",),
        "Headers of a request that name the user, after `X-Microdollar-User`.",
    )

    body_tags: bool = _option(
        "MICRODOLLAR_BODY_TAGS",
        _boolean,
        True,
        "Whether `user`, `metadata` and the like in a request's body say whom it is for.",
    )

    trusted_baggage: str | None = _option(
        "MICRODOLLAR_TRUSTED_BAGGAGE",
        str,
        None,
        "The baggage entry that names the customer; unset for none, since callers may send any.",
    )

    api_keys: Mapping[str, str] = _option(
        "MICRODOLLAR_API_KEYS",
        _api_keys,
        {},
        "Customers by fingerprint of the API key: `fingerprint=customer,...`.",
    )

    api_key_salt: str = _option(
        "MICRODOLLAR_API_KEY_SALT", str, "", "What the fingerprints of API keys are salted with."
    )

    allow_email: bool = _option(
        "MICRODOLLAR_ALLOW_EMAIL",
        _boolean,
        False,
        "Whether customers, users and tags may look like e-mail addresses.",
    )

    include_usage: bool = _option(
        "MICRODOLLAR_INCLUDE_USAGE",
        _boolean,
        False,
        "Whether to ask for the usage of chat streams that the app does not ask for.",
    )

    exit_timeout: float = _option(
        "MICRODOLLAR_EXIT_TIMEOUT",
        _seconds,
        5.0,
        "Seconds the end of the process may wait for the last spans to be sent.",
    )

    @classmethod
    def load(cls, environ: Mapping[str, str] = os.environ) -> "Settings":
        """Read the environment. Never raises; an empty variable counts as unset."""
        values: dict[str, Any] = {}
        for option in fields(cls):
            variable = option.metadata["variable"]
            text = environ.get(variable, "").strip()
            if not text:
                continue
            try:
                values[option.name] = option.metadata["parse"](text)
            except (ValueError, KeyError):
                warn_once(variable, "%s has a value that cannot be used; default used", variable)
        if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
            values["enabled"] = False
        return cls(**values)


def is_switched_off(environ: Mapping[str, str]) -> bool:
    """Whether the environment says that nothing is to be metered."""
    names = environ.get("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", "").split(",")
    disabled = {"microdollar", "*"} & {name.strip() for name in names}
    return bool(disabled) or not Settings.load(environ).enabled
