# SPDX-License-Identifier: Apache-2.0
"""When to patch: each HTTP library as it is imported, each class once.

Installing the hooks loads nothing that the app does not load itself.
"""

import functools
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import wrapt

from microdollar import _customer
from microdollar._guard import guarded
from microdollar._settings import Settings

__all__ = ["LIBRARIES", "install", "remove"]

LIBRARIES = ("httpx", "httpx2", "requests", "aiohttp", "botocore")
"""What is hooked."""

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
        for name in _PATCHES:
            wrapt.register_post_import_hook(functools.partial(_imported, name), name)
        return
    # An import hook cannot be taken back, so those of an earlier start still stand.
    for name in _PATCHES:
        if name in sys.modules:
            _imported(name, sys.modules[name])


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
def _imported(name: str, module: ModuleType) -> None:
    if _settings is None:
        return
    _PATCHES[name](module)
    if name != _SIGNER and _settings.enabled:
        _meter(_settings)


def _meter(settings: Settings) -> None:
    """Let what is patched know providers, and start calls."""
    from microdollar import _baggage, _pipeline, _send, _transmit  # noqa: PLC0415

    _pipeline.start(settings)
    _transmit.private_from = _send.private_from
    _transmit.begin = _send.begin
    _patch(_baggage.W3CBaggagePropagator, "inject", _baggage.withholding)
    if "http.client" in sys.modules:
        connection = sys.modules["http.client"].HTTPConnection
        _patch(connection, "putheader", _baggage.withholding_header)


# Also when nothing is metered, our headers are for nobody else.


def _patch_httpx(module: ModuleType) -> None:
    from microdollar import _transmit  # noqa: PLC0415

    _patch(module.Client, "_send_single_request", _transmit.stripped)
    _patch(module.AsyncClient, "_send_single_request", _transmit.stripped_async)
    if _settings is not None and _settings.enabled:
        from microdollar import _send  # noqa: PLC0415

        _patch(module.Client, "send", _send.metered)
        _patch(module.AsyncClient, "send", _send.metered_async)


def _patch_requests(module: ModuleType) -> None:
    from microdollar import _requests  # noqa: PLC0415

    _patch(module.HTTPAdapter, "send", _requests.metered)


def _patch_aiohttp(module: ModuleType) -> None:
    from microdollar import _aiohttp  # noqa: PLC0415

    _patch(module.ClientRequest, "send", _aiohttp.stripped)
    _patch(module.ClientSession, "_request", _aiohttp.metered)


def _patch_botocore(module: ModuleType) -> None:
    from microdollar import _botocore  # noqa: PLC0415

    _patch(module.URLLib3Session, "send", _botocore.metered)


def _patch_signer(module: ModuleType) -> None:
    from microdollar import _identity  # noqa: PLC0415

    names = _identity.private_headers(_settings or Settings())
    unsigned = sorted(name.decode() for name in names)
    _patch(module, "SIGNED_HEADERS_BLACKLIST", lambda before: [*before, *unsigned])


_SIGNER = "botocore.auth"
"""Signs the headers of requests to AWS. With ours among them a signature would not fit the request
that leaves without them."""

_PATCHES: dict[str, Callable[[ModuleType], None]] = {
    "httpx": _patch_httpx,
    "httpx2": _patch_httpx,
    "requests.adapters": _patch_requests,
    "aiohttp.client": _patch_aiohttp,
    "botocore.httpsession": _patch_botocore,
    _SIGNER: _patch_signer,
}
"""By the module that defines what is patched."""


def _patch(owner: type | ModuleType, name: str, replace: Callable[[Any], Any]) -> None:
    if (owner, name) in _patches:
        return
    original = owner.__dict__[name]
    replacement = replace(original)
    _patches[owner, name] = (replacement, original)
    setattr(owner, name, replacement)
