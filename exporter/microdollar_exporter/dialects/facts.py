# SPDX-License-Identifier: Apache-2.0
"""What the shared part of many spans says of their calls: who answered, which model, how it ended.

Ids and models may come from any family of names, unlike counts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from microdollar_exporter.dialects import providers
from microdollar_exporter.dialects.conventions import Cache
from microdollar_exporter.dialects.dialect import Dialect
from microdollar_exporter.dialects.recognise import by_rule
from microdollar_exporter.evidence import Profile
from microdollar_semconv import attributes as md
from microdollar_semconv import gen_ai as ga

__all__ = [
    "PROVIDERS",
    "REQUEST_MODELS",
    "REQUEST_TIERS",
    "RESPONSE_MODELS",
    "RESPONSE_TIERS",
    "Facts",
    "facts",
]

PROVIDERS: Final = (
    ga.PROVIDER_NAME,
    "llm.provider",
    ga.SYSTEM,
    "ai.model.provider",
    "llm.system",
)
RESPONSE_MODELS: Final = (
    ga.RESPONSE_MODEL,
    "llm.response.model_name",
    "ai.response.model",
    "llm.model_name",
)
REQUEST_MODELS: Final = (
    ga.REQUEST_MODEL,
    "llm.request.model_name",
    "ai.model.id",
    "langfuse.observation.model.name",
    "embedding.model_name",
    "reranker.model_name",
    "model",
)
RESPONSE_TIERS: Final = (
    ga.OPENAI_RESPONSE_SERVICE_TIER,
    ga.OLD_OPENAI_RESPONSE_SERVICE_TIER,
    "anthropic.response.service_tier",
    "gen_ai.response.service_tier",
    md.RESPONSE_SERVICE_TIER,
)
REQUEST_TIERS: Final = (
    ga.OPENAI_REQUEST_SERVICE_TIER,
    ga.OLD_OPENAI_REQUEST_SERVICE_TIER,
    "anthropic.request.service_tier",
)

_STANDARD_REQUESTS: Final = frozenset({"auto", "default", "standard", "standard_only"})
_STREAMS: Final = (ga.REQUEST_STREAM, "gen_ai.is_streaming", "llm.is_streaming")
_ANSWERED: Final = (ga.RESPONSE_MODEL, "llm.response.model_name", "ai.response.model")
_CUT_OFF: Final = frozenset({"408", "499", "504", "generatorexit", "keyboardinterrupt"})
_PENDING: Final = frozenset({"queued", "in_progress"})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Facts:
    """What holds for every call of a profile.

    `source` is what our own spans say of their usage, `cache` what the input count includes.
    `notes` are doubts about these facts. `streamed` is true where the emitter says so. `failed`:
    the span ended in an error; `cut_off`: by the caller or for want of time; `answered`: the span
    names the answer's model. `pending`: the usage was to come later. `from_cache`: a gateway
    answered without a provider. `estimated`: no provider reported the counts.
    """

    dialect: Dialect
    provider: str | None
    operation: str | None
    request_model: str | None
    response_model: str | None
    service_tier: str | None
    speed: str | None
    inference_geo: str | None
    source: str | None
    cache: Cache
    notes: tuple[str, ...]
    streamed: bool
    failed: bool
    cut_off: bool
    answered: bool
    pending: bool
    from_cache: bool
    estimated: bool


def facts(profile: Profile) -> Facts:
    """What a profile says of its calls.

    Raises:
        UnknownRule: this version does not have the profile's rule.
    """
    dialect, attributes = by_rule(profile.rule), profile.attributes
    response_model = _first(attributes, RESPONSE_MODELS)
    request_model = _first(attributes, REQUEST_MODELS)
    notes: list[str] = []
    said = _first(attributes, PROVIDERS)
    stated = said if dialect.is_ours else providers.named(said)
    provider = stated
    if not dialect.is_ours:
        provider = _provider(stated, attributes, response_model or request_model, notes)
    operation = dialect.operation(attributes) or attributes.get(ga.OPERATION_NAME)
    if dialect.takes_any_usage and dialect.operation(attributes) is None:
        notes.append("nothing says that this was a model call; its usage was taken for one")
    error = attributes.get(ga.ERROR_TYPE, "")
    return Facts(
        dialect=dialect,
        provider=provider,
        operation=operation,
        request_model=request_model,
        response_model=response_model,
        service_tier=_tier(attributes, notes),
        speed=attributes.get(md.RESPONSE_SPEED),
        inference_geo=attributes.get(md.RESPONSE_INFERENCE_GEO),
        source=attributes.get(md.USAGE_SOURCE),
        cache=dialect.cache_at.get(stated or "", dialect.cache),
        notes=tuple(notes),
        streamed=any(attributes.get(name, "").lower() == "true" for name in _STREAMS),
        failed=profile.status == "error" or bool(error),
        cut_off=_was_cut_off(error),
        answered=any(name in attributes for name in _ANSWERED),
        pending=attributes.get(ga.RESPONSE_STATUS) in _PENDING,
        from_cache=attributes.get("litellm.cache_hit") == "true",
        estimated=dialect.is_estimate(attributes),
    )


def _first(attributes: Mapping[str, str], names: Sequence[str]) -> str | None:
    return next((attributes[name] for name in names if name in attributes), None)


def _provider(
    stated: str | None, attributes: Mapping[str, str], model: str | None, notes: list[str]
) -> str | None:
    """Who answered: the owner of the host, else who the span says, else who the model gives away.

    Instrumentations of a client library name the library's maker whoever it talks to.
    """
    at = providers.of_address(attributes.get(ga.SERVER_ADDRESS))
    if at is not None:
        same_cloud = stated is not None and stated.split(".")[0] == at.split(".")[0] == "azure"
        return stated if same_cloud else at
    if stated is None and (guessed := providers.of_model(model)):
        notes.append(f"provider {guessed} taken from the model's name")
        return guessed
    return stated


def _tier(attributes: Mapping[str, str], notes: list[str]) -> str | None:
    """The service tier of the answer, else the one that was asked for."""
    if answered := _first(attributes, RESPONSE_TIERS):
        return answered
    asked = _first(attributes, REQUEST_TIERS)
    if asked is not None and asked not in _STANDARD_REQUESTS:
        notes.append(f"service tier {asked} was asked for, the answer does not say")
    return asked


def _was_cut_off(error: str) -> bool:
    """Whether an error's type says that time ran out, or that the caller gave up."""
    word = error.lower()
    return word in _CUT_OFF or "timeout" in word or "timedout" in word or "cancel" in word
