# SPDX-License-Identifier: Apache-2.0
"""Whom a request says it is made for, where the app has not said it in a block.

In order of trust: headers of the request, what its body is tagged with, the app's baggage if it is
trusted, the API key it is sent with. A weaker source fills in what a stronger one leaves open, and
is left out entirely where it names another customer.
"""

import hashlib
import hmac
import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from opentelemetry import baggage

from microdollar import _headers
from microdollar._customer import Attribution, attribution, joined
from microdollar._settings import Settings

__all__ = ["BODY_TAGS", "Identity", "fingerprint", "private_headers"]

BODY_TAGS = ("user", "safety_identifier", "metadata", "labels", "requestMetadata")
"""The members of a request's body that may say it."""

_BEDROCK_METADATA = "x-amzn-bedrock-request-metadata"
_CUSTOMER_KEYS = ("customer", "customer_id", "tenant", "tenant_id")
_USER_KEYS = ("user", "user_id")
_NOBODY = Attribution()

_THEIRS = (
    *("x-amz", "x-api-key", "x-client-name", "x-goog-", "x-grok-", "x-ms-", "x-session-"),
    *("x-stainless-", "x-title", "x-vertex-"),
)
"""How the names of headers begin that mean something to providers, and so are left on a request
also where they are set to name a customer."""


class Identity:
    """Reads requests by one set of settings."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        aliases = (*settings.customer_headers, *settings.user_headers)
        self._names = _headers.OURS | {name.encode() for name in (*aliases, _BEDROCK_METADATA)}
        self.private = private_headers(settings)

    def of(self, headers: Any, body: Mapping[str, Any]) -> Attribution:
        """What a request's headers and the tags of its body say."""
        settings = self._settings
        names = _headers.names(headers, self._names)
        said = {name.lower(): headers[name] for name in names}
        who = self.headers(said) if said else _NOBODY
        if settings.body_tags:
            if body:
                who = joined(who, _tagged(body))
            if _BEDROCK_METADATA in said:
                who = joined(who, _labelled(_object(said[_BEDROCK_METADATA])))
        if settings.trusted_baggage is not None:
            trusted = baggage.get_baggage(settings.trusted_baggage)
            who = joined(who, attribution(trusted or None, None, {}))
        if settings.api_keys:
            who = joined(who, attribution(self._owner(headers), None, {}))
        return who

    def headers(self, said: Mapping[str, str]) -> Attribution:
        """What headers say whose names are in lower case: our own, then the configured ones."""
        settings = self._settings
        customer = next((said[name] for name in settings.customer_headers if name in said), None)
        user = next((said[name] for name in settings.user_headers if name in said), None)
        own = _headers.read(said)
        return own if customer is user is None else joined(own, attribution(customer, user, {}))

    def _owner(self, headers: Any) -> str | None:
        """The customer whose API key a request is sent with."""
        bearer = str(headers.get("authorization", "")).partition(" ")[2]
        key = bearer or headers.get("x-api-key") or headers.get("api-key")
        key = key or headers.get("x-goog-api-key")
        if not key:
            return None
        return self._settings.api_keys.get(fingerprint(key, self._settings.api_key_salt))


def private_headers(settings: Settings) -> frozenset[bytes]:
    """The names of the headers that no provider is sent, in lower case."""
    aliases = (*settings.customer_headers, *settings.user_headers)
    ours = (n for n in aliases if n.startswith("x-") and not n.startswith(_THEIRS))
    return _headers.PRIVATE | {name.encode() for name in ours}


@lru_cache(maxsize=64)
def fingerprint(key: str, salt: str) -> str:
    """The name of an API key in the settings, from which the key cannot be had."""
    return hmac.new(salt.encode(), key.encode(), hashlib.sha256).hexdigest()[:32]


def _tagged(body: Mapping[str, Any]) -> Attribution:
    """What the providers' own members for it say; the more telling ones first."""
    who = _NOBODY
    for name in ("metadata", "labels", "requestMetadata"):
        if isinstance(value := body.get(name), Mapping):
            who = joined(who, _labelled(value))
    user = next((v for n in ("safety_identifier", "user") if isinstance(v := body.get(n), str)), "")
    return joined(who, attribution(None, user, {})) if user else who


def _labelled(values: Mapping[str, Any]) -> Attribution:
    """`metadata`, `labels`: names that mean us, and a list of `tags` such as `customer:acme`."""
    said = {name: value for name, value in values.items() if isinstance(value, str) and value}
    tags = values.get("tags")
    texts = (text for text in tags if isinstance(text, str)) if isinstance(tags, list) else ()
    named = {n.strip(): v.strip() for n, _, v in (text.partition(":") for text in texts) if v}
    customer = _first({**said, **named}, _CUSTOMER_KEYS)
    user = _first({**said, **named}, _USER_KEYS)
    labels = {n: v for n, v in named.items() if n not in _CUSTOMER_KEYS + _USER_KEYS}
    if "feature" in said:
        labels.setdefault("feature", said["feature"])
    return attribution(customer, user, labels) if customer or user or labels else _NOBODY


def _first(said: Mapping[str, str], names: tuple[str, ...]) -> str | None:
    return next((said[name] for name in names if name in said), None)


def _object(text: str) -> Mapping[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
