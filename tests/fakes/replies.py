# SPDX-License-Identifier: Apache-2.0
"""What the fake provider answers: replies by hand, from the samples, or from a folder."""

import base64
import functools
import json
import re
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal, get_args

Provider = Literal["openai", "anthropic", "gemini"]

PROVIDERS: Final[tuple[Provider, ...]] = get_args(Provider)
SAMPLES: Final = Path(__file__).parents[1] / "samples"
EVENT_STREAM: Final = "text/event-stream; charset=utf-8"
CONTENT_TYPES: Final = MappingProxyType(
    {".json": "application/json", ".sse": EVENT_STREAM, ".ndjson": "application/x-ndjson"}
)


@dataclass(frozen=True)
class Reply:
    """One HTTP response, and how to misbehave while sending it.

    Event streams, NDJSON and every body with `chunk` are sent with `Transfer-Encoding: chunked`,
    all others with `Content-Length`. Byte counts are of the body as sent, after compression and
    without chunk headers.

    Attributes:
        status: HTTP status code.
        headers: response headers; framing and `Content-Encoding` are added.
        body: the body before compression.
        chunk: size in bytes of the pieces the body is cut into, each flushed as one HTTP chunk;
            None sends one piece.
        encoding: compresses the body and sets `Content-Encoding`.
        delay: seconds before the first byte.
        hang_after: stop after this many bytes and keep the connection open until `close()`.
        cut_after: close the connection after this many bytes, before the body's proper end.

    Raises:
        ValueError: if both `hang_after` and `cut_after` are given.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    chunk: int | None = None
    encoding: Literal["gzip", "deflate", "br", "zstd"] | None = None
    delay: float = 0.0
    hang_after: int | None = None
    cut_after: int | None = None

    def __post_init__(self) -> None:
        if self.hang_after is not None and self.cut_after is not None:
            raise ValueError("a reply either hangs or is cut")


@dataclass(frozen=True)
class Received:
    """One request as it arrived; `path` includes the query, header names keep their case."""

    provider: Provider
    method: str
    path: str
    headers: list[tuple[str, str]]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as parsed JSON. Raises `ValueError` if it is not JSON."""
        return json.loads(self.body)

    def header(self, name: str) -> str | None:
        """The first value of the header of this name in any case, or None."""
        return next((v for k, v in self.headers if k.lower() == name.lower()), None)


def error(provider: Provider, status: int, message: str) -> Reply:
    """A refusal in the provider's own error shape."""
    body: dict[str, Any]
    if provider == "openai":
        kind = "server_error" if status >= 500 else "invalid_request_error"
        body = {"error": {"message": message, "type": kind, "param": None, "code": None}}
    elif provider == "anthropic":
        kinds = {404: "not_found_error", 429: "rate_limit_error", 529: "overloaded_error"}
        kind = kinds.get(status, "api_error" if status >= 500 else "invalid_request_error")
        body = {"type": "error", "error": {"type": kind, "message": message}}
    else:
        names = {404: "NOT_FOUND", 429: "RESOURCE_EXHAUSTED", 503: "UNAVAILABLE"}
        name = names.get(status, "INTERNAL" if status >= 500 else "INVALID_ARGUMENT")
        body = {"error": {"code": status, "message": message, "status": name}}
    headers = {"content-type": CONTENT_TYPES[".json"]}
    return Reply(status=status, headers=headers, body=json.dumps(body).encode())


def sample(name: str) -> Reply:
    """The reply of `tests/samples/<name>` with the headers that `expected.json` gives it.

    `dataclasses.replace` adds chunking, compression or faults.
    """
    path = SAMPLES / name
    status = re.search(r"\.error\.(\d{3})\.", name)
    return Reply(
        status=int(status[1]) if status else 200,
        headers={
            "content-type": CONTENT_TYPES.get(path.suffix, "application/octet-stream"),
            **_sample_headers().get(name, {}),
        },
        body=_sample_body(path),
    )


def _sample_body(path: Path) -> bytes:
    """The body as sent: that of an AWS event stream is kept in base64."""
    content = path.read_bytes()
    if path.name.endswith(".frames.json"):
        return base64.b64decode(json.loads(content)["body_base64"])
    return content


@functools.cache
def _sample_headers() -> dict[str, dict[str, str]]:
    entries = json.loads((SAMPLES / "expected.json").read_bytes())
    return {entry["file"]: entry["response_headers"] for entry in entries}


class Replies:
    """A responder that takes its replies from the files of a folder.

    `index.json` there is a list of `{"provider", "path", "model", "stream", "replies"}`: the path
    without its query; the model and the stream flag of the request body, null and false where the
    body has none; and a list of `{"file", "status", "headers"}`, of which each request takes the
    next, from the start again after the last. Status and headers may be left out.
    """

    def __init__(self, folder: Path) -> None:
        self._lock = threading.Lock()
        self._cycles: dict[tuple[str, str, str | None, bool], Iterator[Reply]] = {}
        for entry in json.loads((folder / "index.json").read_bytes()):
            key = (entry["provider"], entry["path"], entry["model"], entry["stream"])
            if key in self._cycles:
                raise ValueError(f"index.json names {key} twice")
            self._cycles[key] = cycle([_file_reply(folder, reply) for reply in entry["replies"]])

    def __call__(self, request: Received) -> Reply:
        """The next reply for a request, or 404 if the index does not know it."""
        body = request.json if request.body else {}
        path = request.path.partition("?")[0]
        key = (request.provider, path, body.get("model"), bool(body.get("stream")))
        with self._lock:
            replies = self._cycles.get(key)
            if replies is not None:
                return next(replies)
        return error(request.provider, 404, "the model or the path is not in index.json")


def _file_reply(folder: Path, reply: Mapping[str, Any]) -> Reply:
    path = folder / reply["file"]
    return Reply(
        status=reply.get("status", 200),
        headers={"content-type": CONTENT_TYPES[path.suffix], **reply.get("headers", {})},
        body=path.read_bytes(),
    )
