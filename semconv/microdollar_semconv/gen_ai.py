# SPDX-License-Identifier: Apache-2.0
"""OpenTelemetry's own attribute names, as Microdollar writes and reads them.

The strings are carried here because every `gen_ai` constant of the Python package
`opentelemetry-semantic-conventions` is deprecated as moved and the new names are missing from
it. Source: `open-telemetry/semantic-conventions-genai`, and the general conventions v1.44.0.
"""

from typing import Final

OPERATION_NAME: Final = "gen_ai.operation.name"
PROVIDER_NAME: Final = "gen_ai.provider.name"
SYSTEM: Final = "gen_ai.system"
"""Deprecated in v1.37 in favour of `gen_ai.provider.name`; still emitted."""

REQUEST_MODEL: Final = "gen_ai.request.model"
REQUEST_STREAM: Final = "gen_ai.request.stream"
REQUEST_CHOICE_COUNT: Final = "gen_ai.request.choice.count"
REQUEST_REASONING_LEVEL: Final = "gen_ai.request.reasoning.level"
REQUEST_PREVIOUS_RESPONSE_ID: Final = "gen_ai.request.previous_response.id"
RESPONSE_MODEL: Final = "gen_ai.response.model"
RESPONSE_ID: Final = "gen_ai.response.id"
RESPONSE_FINISH_REASONS: Final = "gen_ai.response.finish_reasons"
RESPONSE_STATUS: Final = "gen_ai.response.status"
"""Of a stored response: `queued` and `in_progress` mean that its usage will come later."""
RESPONSE_TIME_TO_FIRST_CHUNK: Final = "gen_ai.response.time_to_first_chunk"
"""Seconds, as a double."""

USAGE_INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
"""Every kind of input token: cache reads, cache writes and tool input included."""
USAGE_OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
"""Reasoning included."""
USAGE_CACHE_READ_INPUT_TOKENS: Final = "gen_ai.usage.cache_read.input_tokens"
USAGE_CACHE_WRITE_INPUT_TOKENS: Final = "gen_ai.usage.cache_write.input_tokens"
USAGE_CACHE_CREATION_INPUT_TOKENS: Final = "gen_ai.usage.cache_creation.input_tokens"
"""Renamed to `gen_ai.usage.cache_write.input_tokens`; still what most emitters send."""
USAGE_REASONING_OUTPUT_TOKENS: Final = "gen_ai.usage.reasoning.output_tokens"
USAGE_AUDIO_INPUT_TOKENS: Final = "gen_ai.usage.audio.input_tokens"
USAGE_AUDIO_OUTPUT_TOKENS: Final = "gen_ai.usage.audio.output_tokens"
USAGE_IMAGE_INPUT_TOKENS: Final = "gen_ai.usage.image.input_tokens"
USAGE_IMAGE_OUTPUT_TOKENS: Final = "gen_ai.usage.image.output_tokens"
USAGE_PROMPT_TOKENS: Final = "gen_ai.usage.prompt_tokens"
"""Deprecated in favour of `gen_ai.usage.input_tokens`; still emitted."""
USAGE_COMPLETION_TOKENS: Final = "gen_ai.usage.completion_tokens"
"""Deprecated in favour of `gen_ai.usage.output_tokens`; still emitted."""

CONVERSATION_ID: Final = "gen_ai.conversation.id"
AGENT_ID: Final = "gen_ai.agent.id"
AGENT_NAME: Final = "gen_ai.agent.name"
AGENT_VERSION: Final = "gen_ai.agent.version"
WORKFLOW_NAME: Final = "gen_ai.workflow.name"
TOOL_NAME: Final = "gen_ai.tool.name"
TOOL_TYPE: Final = "gen_ai.tool.type"
TOOL_CALL_ID: Final = "gen_ai.tool.call.id"
PROMPT_NAME: Final = "gen_ai.prompt.name"
"""The name of a prompt in a library of prompts, not the prompt."""
PROMPT_VERSION: Final = "gen_ai.prompt.version"

OPENAI_API_TYPE: Final = "openai.api.type"
OPENAI_REQUEST_SERVICE_TIER: Final = "openai.request.service_tier"
OPENAI_RESPONSE_SERVICE_TIER: Final = "openai.response.service_tier"
OLD_OPENAI_REQUEST_SERVICE_TIER: Final = "gen_ai.openai.request.service_tier"
"""Deprecated in favour of `openai.request.service_tier`; still emitted."""
OLD_OPENAI_RESPONSE_SERVICE_TIER: Final = "gen_ai.openai.response.service_tier"
"""Deprecated in favour of `openai.response.service_tier`; still emitted."""

SERVER_ADDRESS: Final = "server.address"
SERVER_PORT: Final = "server.port"
HTTP_RESPONSE_STATUS_CODE: Final = "http.response.status_code"
ERROR_TYPE: Final = "error.type"

RPC_METHOD: Final = "rpc.method"
SESSION_ID: Final = "session.id"
USER_ID: Final = "user.id"
USER_HASH: Final = "user.hash"
ENDUSER_ID: Final = "enduser.id"
ENDUSER_PSEUDO_ID: Final = "enduser.pseudo.id"

SERVICE_NAME: Final = "service.name"
SERVICE_NAMESPACE: Final = "service.namespace"
SERVICE_VERSION: Final = "service.version"
DEPLOYMENT_ENVIRONMENT_NAME: Final = "deployment.environment.name"
DEPLOYMENT_ENVIRONMENT: Final = "deployment.environment"
"""Deprecated in favour of `deployment.environment.name`; still emitted."""
