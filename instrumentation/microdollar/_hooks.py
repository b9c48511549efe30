# SPDX-License-Identifier: Apache-2.0
"""When to patch: `httpx` and `httpx2` as they are imported, each class once.

Installing the hooks loads nothing that the app does not load itself.
"""

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import wrapt

from microdollar import _customer
from microdollar._guard import guarded
from microdollar._settings import Settings

__all__ = ["LIBRARIES", "install", "remove"]

LIBRARIES = ("httpx", "httpx2")
"""What is hooked."""

_SIGNER = "botocore.auth"
"""Signs the headers of requests to AWS. With ours among them a signature would not fit the request
that leaves without them."""

_settings: Settings | None = None
"""What the meter runs with; None while it is off."""

_waiting = False
_patches: dict[tuple[type | ModuleType, str], tuple[Any, Any]] = {}
"""(class or module, attribute) to (our replacement, the original). `httpx2.alias_httpx()` gives one
class two import names, so the class is the key."""


def install() -> None:
    """Patch what is imported already, and the rest as soon as it is imported."""
    global _settings, _waiting  # noqa: PLW0603
    _customer.metering_started = True
    _settings = Settings.load()
    if not _waiting:
        _waiting = True
        for name in LIBRARIES:
            wrapt.register_post_import_hook(_imported, name)
        wrapt.register_post_import_hook(_signer_imported, _SIGNER)
        return
    # An import hook cannot be taken back, so those of an earlier start still stand.
    for name in LIBRARIES:
        if name in sys.modules:
            _imported(sys.modules[name])
    if _SIGNER in sys.modules:
        _signer_imported(sys.modules[_SIGNER])


def remove() -> None:
    """Restore the originals. What is metered so far is still sent."""
    global _settings  # noqa: PLW0603
    _settings = None
    for (owner, name), (replacement, original) in list(_patches.items()):
        # If another package has wrapped ours since, ours has to stay below it; it then passes
        # calls through, because there is no pipeline.
        if owner.__dict__.get(name) is replacement:
            setattr(owner, name, original)
            del _patches[owner, name]
    if "microdollar._pipeline" in sys.modules:
        from microdollar import _pipeline  # noqa: PLC0415

        _pipeline.stop()


@guarded
def _imported(module: ModuleType) -> None:
    if _settings is None:
        return
    from microdollar import _transmit  # noqa: PLC0415

    # Also when nothing is metered: our headers are for nobody else.
    _patch(module.Client, "_send_single_request", _transmit.stripped)
    _patch(module.AsyncClient, "_send_single_request", _transmit.stripped_async)
    if not _settings.enabled:
        return
    from microdollar import _baggage, _pipeline, _send  # noqa: PLC0415

    _pipeline.start(_settings)
    _transmit.is_provider = _send.is_provider
    _patch(module.Client, "send", _send.metered)
    _patch(module.AsyncClient, "send", _send.metered_async)
    _patch(_baggage.W3CBaggagePropagator, "inject", _baggage.withholding)


@guarded
def _signer_imported(module: ModuleType) -> None:
    if _settings is not None:
        _patch(module, "SIGNED_HEADERS_BLACKLIST", _and_private)


def _and_private(unsigned: list[str]) -> list[str]:
    from microdollar import _headers  # noqa: PLC0415

    return [*unsigned, *sorted(name.decode() for name in _headers.PRIVATE)]


def _patch(owner: type | ModuleType, name: str, replace: Callable[[Any], Any]) -> None:
    if (owner, name) in _patches:
        return
    original = owner.__dict__[name]
    replacement = replace(original)
    _patches[owner, name] = (replacement, original)
    setattr(owner, name, replacement)
