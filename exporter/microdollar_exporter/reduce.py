# SPDX-License-Identifier: Apache-2.0
"""Reduce OTLP spans to evidence: the first function that sees a span keeps only what `allow` names.

The attributes of a million calls are mostly the same few hundred bytes. Each is read once and then
recognised by its bytes, and the set of those on one span leads to a `Profile` that is made once.
What differs from call to call (ids, counts, whom it was for) is read in place.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from struct import Struct
from typing import Any, Final

from google.protobuf.message import DecodeError
from opentelemetry.proto.common.v1.common_pb2 import KeyValue

from microdollar_exporter.allow import (
    ALLOWED,
    ALLOWED_PREFIXES,
    MAX_NAME,
    MAX_NAMED,
    RESOURCE_ALLOWED,
    Field,
    Keep,
    Reader,
    known_name,
    plain,
    text,
)
from microdollar_exporter.batch import NO_NUMBER, NO_SPAN, Batch
from microdollar_exporter.dialects import MARKS, recognise
from microdollar_exporter.errors import MalformedRequest
from microdollar_exporter.evidence import RESOURCE, SPAN_NAME, UNREAD_USAGE, Profile
from microdollar_exporter.hosts import is_provider
from microdollar_exporter.response_ids import true_response_id
from microdollar_exporter.wire import ExportRequest
from microdollar_semconv import attributes as md
from microdollar_semconv import gen_ai as ga

__all__ = ["Reduced", "Reducer", "reduce"]

_MAX_NANOS: Final = 2**63 - 1
_NO_TRACE: Final = bytes(16)
_KINDS: Final = {1: "internal", 2: "server", 3: "client", 4: "producer", 5: "consumer"}
_STATUS: Final = {1: "ok", 2: "error"}

# What is remembered comes from senders, so it is bounded; when full it starts anew.
_MAX_REMEMBERED: Final = 50_000
_MAX_RECENT: Final = 100_000
_MAX_REMEMBERED_BYTES: Final = 192
_MAX_REMEMBERED_KEY: Final = 2048
_MAX_VARIANTS: Final = 1000

# The tags, in protobuf's encoding, of a key, a value, and values that are int, string or double.
_KEY_TAG, _VALUE_TAG = 0x0A, 0x12
_INT_TAG, _STRING_TAG, _DOUBLE_TAG = 0x18, 0x0A, 0x21

_UNMET: Final = object()
_LAST: Final = 10**9
_USAGE, _DETAIL, _RESPONSE_ID = Keep.USAGE, Keep.DETAIL, Keep.RESPONSE_ID
_BOOT_ID = Keep.BOOT_ID
_KNOWN_SOURCES: Final = frozenset({md.USAGE_SOURCE_PROVIDER, md.USAGE_SOURCE_NONE})
_double = Struct("<d").unpack_from


@dataclass(slots=True)
class Reduced:
    """What became of the spans of one request.

    `evidence` is what to store. `ignored` counts spans that are not GenAI. `refused` counts, by
    reason, spans that can never be stored; `values_dropped` counts, by attribute name, allowed
    attributes whose value could not be kept.
    """

    evidence: Batch = field(default_factory=Batch)
    ignored: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    values_dropped: Counter[str] = field(default_factory=Counter)


class _Slot:
    """An attribute name that is allowed. Known by identity, as part of a profile's key."""

    __slots__ = (
        *("is_number", "is_shared", "keep", "label", "name", "order", "read", "recurs", "unkept"),
    )

    def __init__(self, name: str, field: Field, order: int, prefix: str | None = None) -> None:
        self.name = name
        self.keep = field.keep
        self.read: Reader = field.read
        self.order = order
        # What stands behind a prefix is the sender's word: counters and logs do not repeat it.
        self.label = prefix or name
        self.unkept = _Attribute(self, None)
        self.is_shared = field.keep is Keep.ATTRIBUTE
        self.recurs = field.keep in {Keep.USAGE, Keep.DETAIL, Keep.BOOT_ID}
        self.is_number = field.keep in {Keep.USAGE, Keep.CALL_SEQUENCE}


class _Attribute:
    """A value that many spans share, or None where it could not be kept. Known by identity."""

    __slots__ = ("slot", "value")

    def __init__(self, slot: _Slot, value: str | None) -> None:
        self.slot = slot
        self.value = value


_Read = tuple[_Slot, Any]


@dataclass(slots=True)
class _Kind:
    """What holds for all spans with the same key.

    `profile` is None when they are not GenAI. `repeats` is whether a detail or a count stands on
    them twice. `dropped` are the labels of attributes that could not be kept; `excess` maps the
    usage attributes beyond `MAX_NAMED` to their labels. Where an attribute holds several numbers,
    or stands on a span twice, the profile varies by what there is.
    """

    profile: Profile | None
    repeats: bool = False
    dropped: tuple[str, ...] = ()
    excess: Mapping[str, str] = field(default_factory=dict)
    variants: dict[tuple[tuple[str, ...], tuple[str, ...]], Profile] = field(default_factory=dict)

    def variant(
        self, profile: Profile, details: Mapping[str, str], usage: Mapping[str, int]
    ) -> Profile:
        """The profile of spans with exactly these details and counts; `profile` is theirs else."""
        names = tuple(details), tuple(usage)
        if names == (profile.detail_names, profile.usage_names):
            return profile
        found = self.variants.get(names)
        if found is None:
            if len(self.variants) >= _MAX_VARIANTS:
                self.variants.clear()
            found = replace(profile, detail_names=names[0], usage_names=names[1])
            self.variants[names] = found
        return found


class _Context:
    """A resource and a scope, and the kinds of spans met in it."""

    __slots__ = ("attributes", "environment", "kinds", "scope", "scope_version", "service")

    def __init__(
        self,
        resource: Sequence[bytes],
        scope: bytes,
        version: bytes,
        allowed_of_resource: Mapping[str, Field],
    ) -> None:
        found = dict(read for raw in resource if (read := _key_value(raw)))

        def first(*keys: str) -> str | None:
            return next((t for k in keys if k in found and (t := text(found[k]))), None)

        self.service = first(ga.SERVICE_NAME)
        self.environment = first(ga.DEPLOYMENT_ENVIRONMENT_NAME, ga.DEPLOYMENT_ENVIRONMENT)
        self.scope = plain(scope.decode("utf-8", "replace"))
        self.scope_version = plain(version.decode("utf-8", "replace"))
        self.attributes: dict[str, str] = {}
        for name, allowed in allowed_of_resource.items():
            value = allowed.read(found[name]) if name in found else None
            if isinstance(value, str):
                self.attributes[RESOURCE + name] = value
        self.kinds: dict[tuple[object, ...], _Kind] = {}

    @property
    def content(self) -> tuple[str | None, ...]:
        """All that is known of it."""
        resource = (part for item in self.attributes.items() for part in item)
        return self.service, self.environment, self.scope, self.scope_version, *resource


class Reducer:
    """Reduces requests and remembers what it has read. For one thread at a time."""

    def __init__(self, customer_keys: Sequence[str] = ()) -> None:
        """`customer_keys` are the operator's attributes that name customers; they are kept too."""
        also = Field(_DETAIL, text)
        of_span = {key: also for key in customer_keys if not key.startswith(RESOURCE)}
        of_resource = [key.removeprefix(RESOURCE) for key in customer_keys if key not in of_span]
        self._fixed: dict[bytes, _Slot | None] = {
            name.encode(): _Slot(name, allowed, order)
            for order, (name, allowed) in enumerate((of_span | dict(ALLOWED)).items())
        }
        self._of_resource = dict.fromkeys(of_resource, also) | dict(RESOURCE_ALLOWED)
        self._forget()

    def _forget(self) -> None:
        """Start anew: what is remembered only saves time."""
        self._slots = dict(self._fixed)
        self._names: dict[bytes, str | None] = {}
        self._shared: dict[bytes, _Attribute] = {}
        self._long: dict[tuple[_Slot, str], _Attribute] = {}
        self._recent: dict[bytes, _Read] = {}
        self._contexts: dict[tuple[bytes, ...], _Context] = {}
        self._alike: dict[tuple[str | None, ...], _Context] = {}
        self._kinds = 0

    def reduce(self, body: bytes) -> Reduced:
        """Reduce every span of an export request; one bad span never costs its neighbours.

        Raises:
            MalformedRequest: the body is not an OTLP request in protobuf.
        """
        try:
            request = ExportRequest.FromString(body)
        except DecodeError as error:
            raise MalformedRequest(
                "the body is not an OTLP ExportTraceServiceRequest in protobuf"
            ) from error
        remembered = len(self._slots) + len(self._names) + len(self._shared) + len(self._long)
        if remembered + len(self._contexts) + self._kinds > _MAX_REMEMBERED:
            self._forget()
        reduced = Reduced()
        for resource_spans in request.resource_spans:
            resource = list(resource_spans.resource.attributes)
            for scope_spans in resource_spans.scope_spans:
                context = self._context(resource, scope_spans.scope)
                for span in scope_spans.spans:
                    self._reduce(span, context, reduced)
        return reduced

    def _context(self, resource: Sequence[bytes], scope: Any) -> _Context:
        key: tuple[bytes, ...] = (scope.name, scope.version, *resource)
        if sum(map(len, key)) > _MAX_REMEMBERED_KEY:
            # Only its hash is kept: what else stands there may be anything of any size.
            key = (sha256(b"".join(b"%d:%b" % (len(part), part) for part in key)).digest(),)
        context = self._contexts.get(key)
        if context is None:
            context = _Context(resource, scope.name, scope.version, self._of_resource)
            # Processes differ in what is not kept: their spans still share profiles.
            context = self._alike.setdefault(context.content, context)
            self._contexts[key] = context
        return context

    def _reduce(  # noqa: PLR0915 - the hot path is one piece
        self, span: Any, context: _Context, reduced: Reduced
    ) -> None:
        shared, recent = self._shared, self._recent
        name = self._names.get(span.name, _UNMET)
        if name is _UNMET:
            name = self._name(span.name)
        key: list[object] = [span.kind, span.status.code, name]
        response_id: str | None = None
        best = _LAST
        boot_id: str | None = None
        sequence = NO_NUMBER
        details: list[str] = []
        usage: list[int] = []
        is_plain = True
        for raw in span.attributes:
            attribute = shared.get(raw)
            if attribute is not None:
                key.append(attribute)
                continue
            read = recent.get(raw) or self._read(raw)
            if read is None:
                continue
            slot, value = read
            if value.__class__ is _Attribute:
                key.append(value)
                continue
            key.append(slot)
            keep = slot.keep
            if value is None:
                is_plain = False
            elif keep is _USAGE:
                if value.__class__ is int:
                    usage.append(value)
                else:
                    is_plain = False
            elif keep is _DETAIL:
                details.append(value)
            elif keep is _RESPONSE_ID:
                if slot.order < best:
                    best, response_id = slot.order, value
            elif keep is _BOOT_ID:
                boot_id = value
            else:
                sequence = value
        kind = context.kinds.get(tuple(key)) or self._kind(context, key)
        profile = kind.profile
        if profile is None:
            reduced.ignored += 1
            return
        trace_id, span_id, parent_span_id = span.trace_id, span.span_id, span.parent_span_id
        start, end = span.start_time_unix_nano, span.end_time_unix_nano
        if reason := _fault(trace_id, span_id, start, end):
            reduced.refused[reason] += 1
            return
        if not is_plain or kind.repeats or kind.dropped:
            named, counted = self._one_by_one(span, kind, reduced.values_dropped)
            profile = kind.variant(profile, named, counted)
            details, usage = list(named.values()), list(counted.values())
        if len(parent_span_id) != 8:
            if parent_span_id:
                reduced.values_dropped["parent_span_id"] += 1
            parent_span_id = NO_SPAN
        batch = reduced.evidence
        batch.profiles.append(profile)
        batch.trace_ids += trace_id
        batch.span_ids += span_id
        batch.parent_span_ids += parent_span_id
        batch.started_at.append(start // 1000)
        batch.ended_at.append(end // 1000)
        batch.response_ids.append(response_id)
        batch.boot_ids.append(boot_id)
        batch.call_sequences.append(sequence)
        batch.details += details
        batch.usage.extend(usage)

    def _one_by_one(
        self, span: Any, kind: _Kind, values_dropped: Counter[str]
    ) -> tuple[dict[str, str], dict[str, int]]:
        """The details and counts of a span on which not every attribute is one plain value."""
        details: dict[str, str] = {}
        usage: dict[str, int] = {}
        faults: list[_Slot] = []
        for raw in span.attributes:
            slot, value = self._recent.get(raw) or self._read(raw) or (None, None)
            if slot is None or slot.is_shared:
                continue
            if value is None:
                faults.append(slot)
            elif slot.keep is _DETAIL:
                details[slot.name] = value
            elif slot.keep is _USAGE and value.__class__ is int:
                usage[slot.name] = value
            elif slot.keep is _USAGE:
                usage.update({f"{slot.name}.{part}": count for part, count in value.items()})
        if faults or kind.dropped:
            _drop(kind, faults, details, usage, values_dropped)
        return details, usage

    def _name(self, raw: bytes) -> str | None:
        name = known_name(raw.decode("utf-8", "replace")) if len(raw) <= MAX_NAME else None
        if len(raw) <= MAX_NAME:
            self._names[raw] = name
        return name

    def _read(self, raw: bytes) -> _Read | None:
        """Read an attribute that is not remembered; None when it is not one that is kept."""
        # Key before value and both short is how senders write; all else goes the way below.
        begin = raw[1] + 2 if len(raw) > 2 and raw[0] == _KEY_TAG else len(raw)
        if begin < 130 and begin + 1 < len(raw) and raw[begin] == _VALUE_TAG:
            slot = self._slot(raw[2:begin])
            if slot is None:
                return None
            value = _short_value(raw, begin, slot)
            if value is not None:
                return self._remember(raw, slot, value)
        read = _key_value(raw)
        if read is None:
            return None
        name, any_value = read
        slot = self._slot(name.encode())
        return None if slot is None else self._remember(raw, slot, slot.read(any_value))

    def _remember(self, raw: bytes, slot: _Slot, value: Any) -> _Read:
        if slot.is_shared:
            if value is None:
                return slot, slot.unkept
            if len(raw) > _MAX_REMEMBERED_KEY:
                return slot, self._long.setdefault((slot, value), _Attribute(slot, value))
            value = self._shared[raw] = _Attribute(slot, value)
        elif slot.recurs and len(raw) <= _MAX_REMEMBERED_BYTES:
            if len(self._recent) >= _MAX_RECENT:
                self._recent.clear()
            self._recent[raw] = slot, value
        elif slot.keep is _RESPONSE_ID and value is not None:
            value = true_response_id(value)
        return slot, value

    def _slot(self, key: bytes) -> _Slot | None:
        """What an attribute's name means; None when it is not allowed."""
        slot = self._slots.get(key, _UNMET)
        if slot is not _UNMET:
            return slot  # type: ignore[return-value]
        found = None
        name = key.decode("utf-8", "replace")
        for prefix, allowed in ALLOWED_PREFIXES.items():
            if name.startswith(prefix):
                usable = plain(name[len(prefix) :], MAX_NAME) is not None
                found = _Slot(name, allowed if usable else _unusable(allowed), _LAST, prefix)
        if len(key) <= _MAX_REMEMBERED_BYTES:
            self._slots[key] = found
        return found

    def _kind(self, context: _Context, key: list[object]) -> _Kind:
        """What holds for spans with these attributes, found out once."""
        kind = context.kinds[tuple(key)] = _kind_of(context, key)
        self._kinds += 1
        return kind


def _kind_of(context: _Context, key: Sequence[object]) -> _Kind:
    number, code, name, *found = key
    attributes = dict(context.attributes)
    if isinstance(name, str):
        attributes[SPAN_NAME] = name
    dropped: list[str] = []
    excess: dict[str, str] = {}
    named: Counter[str] = Counter()
    names: list[str] = []
    for item in found:
        slot = item.slot if isinstance(item, _Attribute) else item
        if not isinstance(slot, _Slot):
            continue
        names.append(slot.name)
        if slot.label is not slot.name:
            named[slot.label] += 1
            if named[slot.label] > MAX_NAMED:
                dropped.append(slot.label)
                excess[slot.name] = slot.label
                continue
        if not isinstance(item, _Attribute):
            continue
        if item.value is None:
            dropped.append(slot.label)
        else:
            attributes[slot.name] = item.value
    if MARKS.isdisjoint(names):
        return _Kind(None)
    dialect = recognise(context.scope, context.scope_version, names, attributes)
    kind = _KINDS.get(number) if isinstance(number, int) else None
    role = dialect.role(kind, attributes, names)
    details, usage = _names(found, Keep.DETAIL), _names(found, Keep.USAGE)
    profile = Profile(
        service=context.service,
        environment=context.environment,
        scope=context.scope,
        scope_version=context.scope_version,
        kind=kind,
        status=_STATUS.get(code) if isinstance(code, int) else None,
        rule=dialect.rule,
        role=role,
        direct=role == "call" and _is_direct(dialect.rule, attributes),
        attributes=attributes,
        detail_names=tuple(details),
        usage_names=tuple(usage),
    )
    repeats = any(len(set(names)) < len(names) for names in (details, usage))
    return _Kind(profile, repeats, tuple(dropped), excess)


def _names(found: Sequence[object], keep: Keep) -> list[str]:
    return [item.name for item in found if isinstance(item, _Slot) and item.keep is keep]


def _is_direct(rule: str, attributes: Mapping[str, str]) -> bool:
    """Whether our own instrumentation saw the call, with its usage, at a provider's own host."""
    return (
        rule.startswith("microdollar/")
        and attributes.get(md.USAGE_SOURCE) in _KNOWN_SOURCES
        and is_provider(attributes.get(ga.SERVER_ADDRESS))
    )


def _drop(
    kind: _Kind,
    faults: Sequence[_Slot],
    details: dict[str, str],
    usage: dict[str, int],
    values_dropped: Counter[str],
) -> None:
    """Count what could not be kept, and say on the evidence which usage was among it."""
    values_dropped.update(kind.dropped)
    values_dropped.update([slot.label for slot in faults])
    unread = {slot.label for slot in faults if slot.keep is _USAGE}
    for name, label in kind.excess.items():
        if usage.pop(name, None) is not None:
            unread.add(label)
    if unread:
        details[UNREAD_USAGE] = ",".join(sorted(unread))


def _fault(trace_id: bytes, span_id: bytes, start: int, end: int) -> str | None:
    """Why a span can never be stored, in words that hold nothing of its content."""
    if len(trace_id) != 16 or trace_id == _NO_TRACE:
        return "trace_id is not 16 bytes, or all zero"
    if len(span_id) != 8 or span_id == NO_SPAN:
        return "span_id is not 8 bytes, or all zero"
    if not 0 < start <= _MAX_NANOS:
        return "start_time_unix_nano is zero or beyond the year 2262"
    if not 0 < end <= _MAX_NANOS:
        return "end_time_unix_nano is zero or beyond the year 2262"
    return None


def _key_value(raw: bytes) -> tuple[str, Any] | None:
    """An attribute by the rules of protobuf, or None when it is malformed."""
    try:
        read = KeyValue.FromString(raw)
    except DecodeError:
        return None
    return read.key, read.value


def _short_value(raw: bytes, begin: int, slot: _Slot) -> Any:
    """The value at `begin` if it is a count or a short text, in one field, else None."""
    rest = len(raw) - begin - 2
    if rest < 2 or raw[begin + 1] != rest:
        return None
    tag = raw[begin + 2]
    if slot.read is text:
        if tag == _STRING_TAG and raw[begin + 3] == rest - 2:
            try:
                return plain(raw[begin + 4 :].decode())
            except UnicodeDecodeError:
                return None
        if tag == _DOUBLE_TAG and rest == 9:
            return repr(_double(raw, begin + 3)[0])
    elif tag == _INT_TAG and slot.is_number and rest < 9:
        return _varint(raw, begin + 3)
    return None


def _varint(raw: bytes, position: int) -> int | None:
    """The number that the rest of `raw` is, or None when it is not one varint."""
    number = shift = 0
    for byte in raw[position:-1]:
        if byte < 0x80:
            return None
        number |= (byte & 0x7F) << shift
        shift += 7
    return number | raw[-1] << shift if raw[-1] < 0x80 else None


def _unusable(field: Field) -> Field:
    return Field(field.keep, lambda _: None)


_reducer = Reducer()


def reduce(body: bytes) -> Reduced:
    """Reduce every span of an export request, with what this process remembers.

    Raises:
        MalformedRequest: the body is not an OTLP request in protobuf.
    """
    return _reducer.reduce(body)
