# SPDX-License-Identifier: Apache-2.0
"""What the fake provider answers the apps: the samples, each time with an id of its own."""

import base64
import functools
import json
import secrets
import struct
from dataclasses import replace
from typing import Any, Final

from tests.fakes.provider import Received, Reply, error, sample
from tests.fakes.replies import SAMPLES

__all__ = ["answer"]

_SAMPLES: Final = {
    ("/v1/chat/completions", False): "openai.chat",
    ("/v1/chat/completions", True): "openai.chat.stream",
    ("/v1/responses", False): "openai.responses",
    ("/v1/responses", True): "openai.responses.stream",
    ("/v1/embeddings", False): "openai.embeddings",
    ("/v1/agents/completions", False): "mistral.chat",
    ("/v1/messages", False): "anthropic.messages",
    ("/v1/messages", True): "anthropic.messages.stream",
}
"""Path and stream flag to sample."""


def answer(request: Received) -> Reply:
    """The sample for a request, with the model that was asked for."""
    path = request.path.partition("?")[0]
    if request.provider == "gemini":
        streamed = path.endswith(":streamGenerateContent")
        return _fresh("gemini.generate.stream.sse" if streamed else "gemini.generate.json", None)
    if path.endswith("/converse"):
        return _fresh("bedrock.converse.json", None)
    if path.endswith("/invoke"):
        return _fresh("anthropic.messages.json", None)
    return _answer(path, request.json)


def _answer(path: str, asked: dict[str, Any]) -> Reply:
    stream = bool(asked.get("stream"))
    name = _SAMPLES.get((path, stream))
    if name is None:
        return error("openai", 404, f"no sample for {path}")
    model = asked.get("model")
    if name.startswith("openai.chat") and "istral" in str(model):
        name = name.replace("openai", "mistral")
    if name == "openai.chat.stream" and not asked.get("stream_options", {}).get("include_usage"):
        name += ".no-usage"
    reply = _fresh(name + (".sse" if stream else ".json"), model)
    if name == "openai.chat" and _wants_tool(asked):
        return _call_tool(reply, asked["tools"][0]["function"]["name"])
    if name == "openai.embeddings" and asked.get("encoding_format") != "base64":
        return _as_numbers(reply)
    return reply


def _fresh(name: str, model: str | None) -> Reply:
    """A sample under an id that was never used before."""
    response_id, sample_model = _facts()[name]
    reply = sample(name)
    body = reply.body
    if response_id is not None:
        kept = response_id[: response_id.lower().index("sample")]
        body = body.replace(response_id.encode(), f"{kept}{secrets.token_hex(12)}".encode())
    if model is not None:
        for colon in (":", ": "):
            body = body.replace(
                f'"model"{colon}"{sample_model}"'.encode(), f'"model":"{model}"'.encode()
            )
    return replace(reply, body=body)


@functools.cache
def _facts() -> dict[str, tuple[str | None, str]]:
    """The response id and the model of each sample."""
    return {
        entry["file"]: (entry["response_id"], entry["rows"][0]["model"])
        for entry in json.loads((SAMPLES / "expected.json").read_bytes())
        if entry["rows"]
    }


def _wants_tool(asked: dict[str, Any]) -> bool:
    return bool(asked.get("tools")) and asked["messages"][-1]["role"] != "tool"


def _call_tool(reply: Reply, name: str) -> Reply:
    body = json.loads(reply.body)
    (choice,) = body["choices"]
    choice["finish_reason"] = "tool_calls"
    call = {"name": name, "arguments": '{"city": "Paris"}'}
    choice["message"] |= {
        "content": None,
        "tool_calls": [{"id": "call_1", "type": "function", "function": call}],
    }
    return replace(reply, body=json.dumps(body).encode())


def _as_numbers(reply: Reply) -> Reply:
    """Embeddings as clients get them that did not ask for base64."""
    body = json.loads(reply.body)
    for item in body["data"]:
        packed = base64.b64decode(item["embedding"])
        item["embedding"] = struct.unpack(f"<{len(packed) // 4}f", packed)
    return replace(reply, body=json.dumps(body).encode())
