# SPDX-License-Identifier: Apache-2.0
"""Get the genai-prices feed: from a file, or over HTTP for who asks for that."""

import http.client
import urllib.error
import urllib.request
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from microdollar_exporter.errors import UsageError

__all__ = ["fetch_feed", "open_feed"]

MOST_BYTES: Final = 64 * 1024 * 1024
"""The feed had half a megabyte in August 2026."""
_SECONDS: Final = 30


def open_feed(path: Path) -> bytes:
    """The content of a file.

    Raises:
        UsageError: it cannot be read, or is too large to be one.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    return _checked(content, str(path))


def fetch_feed(url: str) -> bytes:
    """What an `http` or `https` URL answers with.

    Raises:
        UsageError: it does not answer with a feed; the message says what it did.
    """
    if urlsplit(url).scheme not in ("http", "https"):
        raise UsageError(f"--url is {url!r}: write one that begins with http:// or https://")
    try:
        with urllib.request.urlopen(url, timeout=_SECONDS) as answer:  # noqa: S310 - checked above
            content = answer.read(MOST_BYTES + 1)
    except urllib.error.HTTPError as error:
        error.close()
        raise _unfetched(url, f"{error.code} {error.reason}") from error
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise _unfetched(url, str(getattr(error, "reason", error))) from error
    return _checked(bytes(content), url)


def _unfetched(url: str, why: str) -> UsageError:
    return UsageError(f"cannot fetch {url}: {why}; without a network, import a FILE of the feed")


def _checked(content: bytes, where: str) -> bytes:
    if len(content) > MOST_BYTES:
        raise UsageError(f"{where} has more than {MOST_BYTES:,} bytes, and is no price feed")
    return content
