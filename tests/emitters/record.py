# SPDX-License-Identifier: Apache-2.0
"""Record what packages send that do not install together with the others.

`python -m tests.emitters.record [NAME …]` installs each in an environment of its own, with the
versions below, runs its app, and writes `recorded/NAME.jsonl`: OTLP in JSON, a request for each
span. Nothing is altered, but that the resource is cut to the SDK, the service and its instance.
Needs uv, PyPI, and for the AI SDK node and the npm registry. The tests need only the files.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from google.protobuf.json_format import MessageToDict, Parse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.emitters.answers import answer
from tests.emitters.running import app_environment, decoded
from tests.fakes.provider import PROVIDERS, FakeProvider
from tests.instrumentation.collector import Collector

__all__ = ["RECORDINGS", "recorded"]

_HERE: Final = Path(__file__).resolve().parent
_ROOT: Final = _HERE.parents[1]
_FILES: Final = _HERE / "recorded"
_KEPT: Final = ("telemetry.sdk.", "service.name", "service.instance.id")

_CONTENT: Final = {
    "TRACELOOP_TRACE_CONTENT": "true",
    "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "SPAN_ONLY",
    "ADK_CAPTURE_MESSAGE_CONTENT_IN_SPANS": "true",
    "SEMANTICKERNEL_EXPERIMENTAL_GENAI_ENABLE_OTEL_DIAGNOSTICS_SENSITIVE": "true",
}
"""The variables that let content in: whoever reads the files must not keep it."""

_EXPERIMENTAL: Final = {"OTEL_SEMCONV_STABILITY_OPT_IN": "gen_ai_latest_experimental"}
_SDK: Final = ("opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-http")
_LITELLM: Final = {"LITELLM_LOCAL_MODEL_COST_MAP": "true", "OTEL_EXPORTER": "otlp_http"}


@dataclass(frozen=True)
class Recording:
    """An app of `isolated.py` or a script for node, with what it needs."""

    app: str
    needs: Sequence[str]
    variables: Mapping[str, str] = field(default_factory=dict)


def _python(app: str, *needs: str, **variables: str) -> Recording:
    return Recording(app, (*needs, *_SDK), variables)


_OPENAI_V2: Final = (
    "opentelemetry-instrumentation-openai-v2==2.4b0",
    "opentelemetry-util-genai==0.4b0",
    "openai==3.52.0",
    "httpx",
)
_LANGCHAIN: Final = ("langchain==1.4.7", "langchain-openai==1.7.3", "langchain-anthropic==1.7.7")
_AI_SDK: Final = (
    *("ai@7.0.173", "@ai-sdk/otel@1.0.173", "@ai-sdk/openai@4.0.118", "@ai-sdk/anthropic@4.0.105"),
    *("@opentelemetry/sdk-node@0.223.0", "@opentelemetry/exporter-trace-otlp-proto@0.223.1"),
)

RECORDINGS: Final[Mapping[str, Recording]] = {
    "openai-v2": _python("openai_v2", *_OPENAI_V2),
    "openai-v2-experimental": _python("openai_v2", *_OPENAI_V2, **_EXPERIMENTAL),
    "google-genai": _python(
        "google_genai",
        "opentelemetry-instrumentation-google-genai==1.3b0",
        "google-genai==2.34.0",
    ),
    "openllmetry-google": _python(
        "google_openllmetry",
        "opentelemetry-instrumentation-google-generativeai==0.62.4",
        "google-genai==3.4.0",
    ),
    "openinference-google": _python(
        "google_openinference",
        "openinference-instrumentation-google-genai==1.4.14",
        "google-genai==3.4.0",
    ),
    "openllmetry-0.44": _python(
        "openllmetry",
        "opentelemetry-instrumentation-openai==0.44.3",
        "opentelemetry-instrumentation-anthropic==0.44.3",
        *("openai<2", "anthropic<0.60", "setuptools<80"),
        *("opentelemetry-sdk<1.35", "opentelemetry-exporter-otlp-proto-http<1.35"),
    ),
    "openlit": _python("openlit", "openlit==1.45.0", "openai", "anthropic"),
    "logfire-5.4": _python("logfire", "logfire==5.4.0", "openai==3.52.0", "anthropic==2.11.0"),
    "strands": _python("strands", "strands-agents[openai,anthropic]==1.62.0"),
    "google-adk": _python("google_adk", "google-adk==2.13.0"),
    "litellm": _python("litellm", "litellm==1.109.1", **_LITELLM),
    "litellm-experimental": _python("litellm", "litellm==1.109.1", **_LITELLM, **_EXPERIMENTAL),
    "semantic-kernel": _python(
        "semantic_kernel",
        "semantic-kernel==1.45.0",
        SEMANTICKERNEL_EXPERIMENTAL_GENAI_ENABLE_OTEL_DIAGNOSTICS="true",
    ),
    "openllmetry-langchain": _python(
        "langchain_openllmetry",
        "opentelemetry-instrumentation-langchain==0.62.4",
        *_LANGCHAIN,
    ),
    "openinference-langchain": _python(
        "langchain_openinference",
        "openinference-instrumentation-langchain==0.1.80",
        *_LANGCHAIN,
    ),
    "botocore": _python(
        "botocore", "opentelemetry-instrumentation-botocore==0.66b2", "boto3==1.44.5"
    ),
    "ai-sdk": Recording("ai_sdk.mjs", _AI_SDK, {"AI_SDK_INTEGRATION": "OpenTelemetry"}),
    "ai-sdk-legacy": Recording(
        "ai_sdk.mjs", _AI_SDK, {"AI_SDK_INTEGRATION": "LegacyOpenTelemetry"}
    ),
}


def recorded(name: str) -> list[bytes]:
    """The requests of a recording, in protobuf."""
    lines = (_FILES / f"{name}.jsonl").read_text("utf-8").splitlines()
    return [Parse(line, ExportTraceServiceRequest()).SerializeToString() for line in lines]


def main(names: Sequence[str]) -> None:
    """Record the named ones, or all."""
    for name in names or RECORDINGS:
        requests = list(_one_span_each(_run(name, RECORDINGS[name])))
        lines = [json.dumps(MessageToDict(one), separators=(",", ":")) for one in requests]
        (_FILES / f"{name}.jsonl").write_text("".join(f"{line}\n" for line in lines), "utf-8")
        print(f"{name}: {len(lines)} spans")


def _run(name: str, recording: Recording) -> ExportTraceServiceRequest:
    with (
        FakeProvider() as provider,
        Collector() as collector,
        tempfile.TemporaryDirectory() as folder,
    ):
        for listener in PROVIDERS:
            provider.respond(listener, answer)
        environment = app_environment(provider, collector.url) | {
            "OTEL_SERVICE_NAME": name,
            "OTEL_ENDPOINT": f"{collector.url}/v1/traces",
            "ANTHROPIC_OPEN_TELEMETRY": "false",
            **_CONTENT,
            **recording.variables,
        }
        command = _install(recording, Path(folder))
        subprocess.run(command, cwd=_ROOT, env=environment, check=True, timeout=300)
        return decoded(collector.take())


def _install(recording: Recording, folder: Path) -> list[str]:
    """Install what an app needs; returns the command that runs it."""
    if recording.app.endswith(".mjs"):
        script = folder / recording.app
        script.write_bytes((_HERE / recording.app).read_bytes())
        subprocess.run(
            ["npm", "install", "--silent", "--no-save", "--prefix", folder, *recording.needs],
            check=True,
        )
        return ["node", str(script)]
    # certifi is asked for by date, and a mirror may be a day behind.
    overrides = folder / "overrides.txt"
    overrides.write_text("certifi\n")
    python = folder / "environment" / "bin" / "python"
    subprocess.run(["uv", "venv", "--quiet", folder / "environment"], check=True)
    into = ["--python", str(python), "--overrides", str(overrides)]
    subprocess.run(["uv", "pip", "install", "--quiet", *into, *recording.needs], check=True)
    return [str(python), "-m", "tests.emitters.isolated", recording.app]


def _one_span_each(request: ExportTraceServiceRequest) -> Iterator[ExportTraceServiceRequest]:
    for resource in request.resource_spans:
        for scope in resource.scope_spans:
            for span in scope.spans:
                one = ExportTraceServiceRequest()
                its_resource = one.resource_spans.add()
                its_resource.resource.attributes.extend(
                    attribute
                    for attribute in resource.resource.attributes
                    if attribute.key.startswith(_KEPT)
                )
                its_scope = its_resource.scope_spans.add(schema_url=scope.schema_url)
                its_scope.scope.CopyFrom(scope.scope)
                its_scope.spans.append(span)
                yield one


if __name__ == "__main__":
    main(sys.argv[1:])
