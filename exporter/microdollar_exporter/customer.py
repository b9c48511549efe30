# SPDX-License-Identifier: Apache-2.0
"""Whom a call was made for, by what its spans say and what the operator decided.

The attributes that name a customer are not equally good witnesses: what was set in the process that
made the call goes before what may have come with a request from anywhere, whichever span is nearer.
Whoever can choose the customer can choose who pays. From the most trusted on:

1. our own attribute, on the span;
2. our own attribute elsewhere in the trace;
3. the customer that OpenLLMetry's associations name;
4. the attributes that the operator names;
5. the customer or team that a gateway has verified;
6. the end user, where an emitter knows no other customer;
7. the customer of the user, by the operator's table;
8. attributes of the resource, where every customer has processes of its own.

Names and addresses of people are kept nowhere; sessions, conversations and the seller's own
organisation are no customers.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Final, NamedTuple, Protocol

from microdollar_exporter.errors import UsageError
from microdollar_exporter.evidence import RESOURCE, Evidence
from microdollar_semconv import UNASSIGNED
from microdollar_semconv import attributes as md

__all__ = [
    "CUSTOMER_KEYS",
    "ERASED",
    "KEYS_DECISION",
    "NOBODY",
    "USERS_DECISION",
    "USER_KEYS",
    "Customers",
    "Named",
    "check_keys",
]

ERASED: Final = "erased"
"""The customer that the anonymous sums of erased customers stand under."""
NOBODY: Final = (UNASSIGNED, ERASED)
"""What no customer can have for a name; who is called so is not named."""

CUSTOMER_KEYS: Final = ("tenant.id", "customer.id", "customer_id", "app.tenant.id")
"""The attributes that name a customer unless the operator names others; they often come from
baggage. One that begins with `resource.` is an attribute of the resource."""

_ASSOCIATIONS: Final = ("traceloop.association.properties.customer_id",)
_VERIFIED: Final = (
    *("litellm.end_user.id", "metadata.user_api_key_end_user_id"),
    "litellm.metadata.user_api_key_end_user_id",
    *("litellm.team.id", "metadata.user_api_key_team_id"),
)
_END_USERS: Final = ("enduser.pseudo.id", "enduser.id")
_RESOURCE_KEYS: Final = (RESOURCE + "tenant.id", RESOURCE + "customer.id")
_OURS_OF_RESOURCE: Final = RESOURCE + md.CUSTOMER_ID

USER_KEYS: Final = (
    md.USER_ID,
    *("user.id", "langfuse.user.id", "ai.telemetry.metadata.userId", "ai.settings.context.userId"),
    "traceloop.association.properties.user_id",
    *("langsmith.metadata.user_id", "gen_ai.user", "llm.user", "user.hash"),
)
"""The attributes that name a user, whose customer the operator's table may know."""

_DEVICE_RULES: Final = "claude-code/"
_DEVICE_KEY: Final = "user.id"
"""Claude Code's `user.id` is a hash of the machine."""

_NO_CUSTOMERS: Final = frozenset(
    {
        *("user.email", "user.name", "user.full_name", "user.account_id", "user.account_uuid"),
        *("session.id", "conversation.id", "gen_ai.conversation.id", "langfuse.session.id"),
        "traceloop.association.properties.session_id",
        *("langsmith.metadata.session_id", "langsmith.trace.session_name"),
        *("ai.telemetry.metadata.sessionId", "ai.settings.context.sessionId"),
        *("organization.id", "anthropic.organization.id", "anthropic.workspace.id"),
        *("metadata.user_api_key_org_id", "litellm.metadata.user_api_key_org_id"),
    }
)

KEYS_DECISION: Final = "customer-keys"
"""The kind of the decisions that set the operator's attributes: `{"keys": […], "past": …}`."""
USERS_DECISION: Final = "users"
"""The kind of those that give users to customers: `{"users": {user: customer}, "past": …}`; None
for a customer ends it. Each holds for calls that began after it was made; with `past` also for
earlier ones for which nothing else was decided then, until that is undone."""


class Named(NamedTuple):
    """Whom a call was made for, and a note for its entries on how that is known."""

    customer_id: str | None
    user_id: str | None
    note: str | None = None


class Decided(Protocol):
    """What is asked of a decision: see `store.Decision`."""

    @property
    def decision_id(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def made_at(self) -> int: ...
    @property
    def content(self) -> Mapping[str, Any]: ...
    @property
    def undoes(self) -> str | None: ...


class _Said(NamedTuple):
    """That something names a customer. `trust` is its place in the order, the lowest best."""

    trust: int
    key: str
    customer_id: str


class Customers:
    """Knows whom calls were made for, by the decisions of the operator on keys and users."""

    def __init__(self, decisions: Iterable[Decided] = ()) -> None:
        made = sorted(decisions, key=lambda decision: decision.made_at)
        undone = {decision.undoes for decision in made}
        self._users = _Users()
        self._keys: list[tuple[int, _Keys]] = [(_ALWAYS, _Keys(CUSTOMER_KEYS))]
        for decision in made:
            content, since = decision.content, decision.made_at
            past = content.get("past", False) and decision.decision_id not in undone
            if decision.kind == USERS_DECISION:
                for user_id, customer_id in content["users"].items():
                    self._users.add(user_id, since, customer_id, past)
            elif decision.kind == KEYS_DECISION:
                self._keys.append((_ALWAYS if past else since, _Keys(content["keys"])))

    def named(self, evidence: Evidence, inherited: str | None = None) -> Named:
        """Whom the evidence names; `inherited` is the customer that its trace gives it."""
        return self.of_call(evidence, (), inherited)

    def of_call(
        self, witness: Evidence, others: Sequence[Evidence], inherited: str | None = None
    ) -> Named:
        """Whom a call was made for that other spans describe as well.

        The note says what disagrees, except the resource, which speaks for what says nothing else.
        """
        said = list(self._said(witness))
        if inherited and inherited not in NOBODY:
            said.append(_Said(_TRACE, "the trace", inherited))
        user_id = _user(witness)
        for other in others:
            user_id = user_id or _user(other)
            said += [word._replace(key=f"{word.key} of another span") for word in self._said(other)]
        if not said:
            return Named(None, user_id)
        best = min(said, key=lambda word: word.trust)
        against = [
            word.key
            for word in said
            if word.customer_id != best.customer_id and word.trust != _PROCESS
        ]
        note = None if best.key == md.CUSTOMER_ID else f"customer named by {best.key}"
        if against:
            note = f"customer named by {best.key}, another by {', '.join(dict.fromkeys(against))}"
        return Named(best.customer_id, user_id, note)

    @property
    def keys(self) -> frozenset[str]:
        """The attributes of others that name a customer now, or did at some time."""
        every = ((*keys.of_resource, *(key for _, key in keys.of_span)) for _, keys in self._keys)
        return frozenset(chain.from_iterable(every)) - {_OURS_OF_RESOURCE}

    @property
    def users(self) -> frozenset[str]:
        """The users that the operator's table knows, or did at some time."""
        return frozenset(self._users)

    def _said(self, evidence: Evidence) -> Iterator[_Said]:
        details, attributes = evidence.details, evidence.profile.attributes
        own = details.get(md.CUSTOMER_ID)
        if own and own not in NOBODY:
            yield _Said(_OWN, md.CUSTOMER_ID, own)
        keys = self._keys_at(evidence.started_at)
        for trust, key in keys.of_span:
            named = details.get(key) or attributes.get(key)
            if named and named not in NOBODY:
                yield _Said(trust, key, named)
        if self._users and (user_id := _user(evidence)):
            mapped = self._users.customer_of(user_id, evidence.started_at)
            if mapped:
                yield _Said(_TABLE, "the table of users", mapped)
        for key in keys.of_resource:
            of_process = attributes.get(key)
            if of_process and of_process not in NOBODY:
                yield _Said(_PROCESS, key, of_process)

    def _keys_at(self, moment: int) -> "_Keys":
        return next(keys for since, keys in reversed(self._keys) if since <= moment)


_OWN, _TRACE, _FIRST_KEY, _TABLE, _PROCESS = 1, 2, 3, 1000, 1001
_ALWAYS: Final = -(2**63)


class _Keys:
    """The attributes that name customers, by the operator's choice of keys."""

    def __init__(self, chosen: Sequence[str]) -> None:
        of_span = [key for key in chosen if not key.startswith(RESOURCE)]
        of_resource = [key for key in chosen if key.startswith(RESOURCE)]
        ordered = chain(_ASSOCIATIONS, of_span or CUSTOMER_KEYS, _VERIFIED, _END_USERS)
        self.of_span = tuple(enumerate(dict.fromkeys(ordered), start=_FIRST_KEY))
        self.of_resource = (_OURS_OF_RESOURCE, *(of_resource or _RESOURCE_KEYS))


class _Users:
    """The customers of users, and since when."""

    def __init__(self) -> None:
        self._changes: dict[str, list[tuple[int, str | None, bool]]] = {}

    def __len__(self) -> int:
        return len(self._changes)

    def __iter__(self) -> Iterator[str]:
        return iter(self._changes)

    def add(self, user_id: str, since: int, customer_id: str | None, past: bool) -> None:
        """A decision, later than those before."""
        self._changes.setdefault(user_id, []).append((since, customer_id, past))

    def customer_of(self, user_id: str, moment: int) -> str | None:
        """Whose user it was at a moment, by what was decided then or, for the past, later."""
        changes = self._changes.get(user_id, ())
        then = next((who for since, who, _ in reversed(changes) if since <= moment), None)
        return then or next((who for since, who, past in changes if past and since > moment), None)


def _user(evidence: Evidence) -> str | None:
    """The user that a span names."""
    details = evidence.details
    if not details:
        return None
    is_device = evidence.profile.rule.startswith(_DEVICE_RULES)
    for key in USER_KEYS:
        if (user_id := details.get(key)) and not (is_device and key == _DEVICE_KEY):
            return user_id
    return None


def check_keys(keys: Iterable[str]) -> tuple[str, ...]:
    """The operator's attributes that name customers, each once.

    Raises:
        UsageError: one of them never does.
    """
    chosen = tuple(dict.fromkeys(keys))
    for key in chosen:
        plain = key.removeprefix(RESOURCE)
        if plain in _NO_CUSTOMERS:
            raise UsageError(
                f"--customer-key {key} names a person, a session or the seller's own account and "
                "never a customer: name another attribute"
            )
        if not plain or plain != plain.strip() or len(plain) > _LONGEST_KEY:
            raise UsageError(
                f"--customer-key {key!r} is no attribute: write a name like tenant.id, or "
                "resource.tenant.id for one of the resource"
            )
    return chosen


_LONGEST_KEY: Final = 128
