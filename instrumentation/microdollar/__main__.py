# SPDX-License-Identifier: Apache-2.0
"""`python -m microdollar`: the settings in force, and whether this installation would meter.

    python -m microdollar                      print the settings and check the installation
    python -m microdollar --send-test-span     send one span, and say whether it was taken
    python -m microdollar --fingerprint        read an API key, print its MICRODOLLAR_API_KEYS name

Ends with 1 if something keeps calls from being metered or a span from being delivered.
"""

import argparse
import getpass
import os
import sys
from collections.abc import Iterator
from dataclasses import fields
from importlib.metadata import PackageNotFoundError, entry_points, version

from microdollar import _call, _exporter, _hooks, _pipeline
from microdollar._customer import Attribution
from microdollar._identity import fingerprint
from microdollar._lifecycle import flush, instrument
from microdollar._settings import Settings, is_switched_off
from microdollar.providers import PROVIDERS

SECRETS = ("api_key_salt", "api_keys")
"""Settings whose values are not printed."""

TEST_MODEL = "microdollar-test"
"""The model of the test span; nobody bills for it."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m microdollar",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--send-test-span", action="store_true", help="send one span")
    parser.add_argument("--fingerprint", action="store_true", help="fingerprint an API key")
    options = parser.parse_args(arguments)
    settings = Settings.load()
    if options.fingerprint:
        key = getpass.getpass("API key: ") if sys.stdin.isatty() else sys.stdin.readline().strip()
        _say(fingerprint(key, settings.api_key_salt))
        return 0
    for line in settings_table(settings):
        _say(line)
    _say("")
    healthy = _doctor(settings)
    if options.send_test_span:
        healthy = _send_test_span() and healthy
    return 0 if healthy else 1


def settings_table(settings: Settings) -> Iterator[str]:
    """Every setting: its variable, type and default, what holds now, and what it means."""
    for option in fields(settings):
        variable, kind = option.metadata["variable"], option.metadata["kind"]
        value, default = getattr(settings, option.name), option.metadata["default"]
        shown = "(set)" if option.name in SECRETS and value else _text(value)
        if option.name == "otlp_endpoint" and value:
            shown = str(_exporter.public(value))
        changed = "" if value == default else f" (default: {_text(default)})"
        yield f"{variable} = {shown}{changed}"
        yield f"    {kind}. {option.metadata['meaning']}"


def _text(value: object) -> str:
    if value in (None, "", {}):
        return "not set"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(value)
    if isinstance(value, dict):
        return ",".join(
            f"{host}{'' if port is None else f':{port}'}={name}"
            for (host, port), name in value.items()
        )
    return str(value)


def _doctor(settings: Settings) -> bool:
    """Say what would happen in an app that starts with this environment."""
    off = is_switched_off(os.environ)
    _say("metering: " + ("OFF, by the environment" if off else "on"))
    for name in _hooks.LIBRARIES:
        try:
            _say(f"{name}: {version(name)}, hooked once it is imported")
        except PackageNotFoundError:
            _say(f"{name}: not installed")
    named = [e.name for e in entry_points(group="opentelemetry_instrumentor")]
    found = "microdollar" in named
    _say(f"opentelemetry-instrument: {'starts' if found else 'DOES NOT START'} the meter")
    _say(f"wire formats: {len(PROVIDERS)}, and {len(settings.hosts)} hosts by MICRODOLLAR_HOSTS")
    _say("customers: blocks in the code, " + ", ".join(_sources(settings)))
    try:
        exporter = _exporter.load(settings)
    except _exporter.ExporterUnavailableError:
        _say("spans go: NOWHERE, the exporter is not installed")
        return False
    _say(f"spans go: to {_exporter.endpoint(exporter) or 'an exporter that does not say where'}")
    exporter.shutdown()
    return found and not off


def _sources(settings: Settings) -> Iterator[str]:
    """What else may name a customer, in order of trust."""
    yield "headers " + ", ".join(("x-microdollar-customer", *settings.customer_headers))
    if settings.body_tags:
        yield "tags in request bodies"
    if settings.trusted_baggage is not None:
        yield f"the baggage entry {settings.trusted_baggage}"
    if settings.api_keys:
        yield f"{len(settings.api_keys)} API keys"


def _send_test_span() -> bool:
    """Meter a call that never was, which is nobody's and costs nothing."""
    instrument()
    _pipeline.start(Settings.load())
    pipeline = _pipeline.current()
    provider = PROVIDERS["openai"]
    if pipeline is None:
        return False
    endpoint = provider.endpoints[0]
    request = _call.Request(
        provider=provider,
        endpoint=endpoint,
        model=TEST_MODEL,
        stream=False,
        server_address="localhost",
        server_port=None,
    )
    _call.Call(request, Attribution(), pipeline).fail(ConnectError())
    delivered = flush(10)
    _say(f"test span: {'taken' if delivered else 'NOT TAKEN'}")
    return delivered


class ConnectError(ConnectionError):
    """By this name the meter knows that nothing was sent to a provider."""


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")


if __name__ == "__main__":
    sys.exit(main())
