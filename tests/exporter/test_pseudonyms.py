# SPDX-License-Identifier: Apache-2.0
"""Pseudonyms for whoever is named: put in at the door, so that no name is ever stored."""

import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from microdollar_exporter import connect
from microdollar_exporter.allow import WHOSE
from microdollar_exporter.cli import main
from microdollar_exporter.customer import CUSTOMER_KEYS
from microdollar_exporter.errors import UsageError
from microdollar_exporter.evidence import Evidence
from microdollar_exporter.operate.pseudonyms import PseudonymReducer, Pseudonyms
from microdollar_exporter.operate.told import record_told
from microdollar_exporter.store import Store
from tests.exporter.ledgers import entries, evidence_of
from tests.fakes.exporter import Exporter
from tests.fakes.otlp import Value, call, request, span

KEY = b"0123456789abcdef0123456789abcdef"
PSEUDONYMS = Pseudonyms(KEY)


def reduced(made: Any, *keys: str, **of_request: Any) -> Evidence:
    """The evidence of one span, with pseudonyms."""
    reducer = PseudonymReducer(PSEUDONYMS, keys)
    [evidence] = reducer.reduce(request(made, **of_request).SerializeToString()).evidence
    return evidence


def test_a_pseudonym_is_a_keyed_hash_of_the_name() -> None:
    """HMAC-SHA-256, cut to 128 bits: anyone with the key can compute it."""
    expected = hmac.new(KEY, b"acme", hashlib.sha256).hexdigest()[:32]
    assert PSEUDONYMS.of("acme") == f"p_{expected}"
    assert Pseudonyms(KEY + b"!").of("acme") != PSEUDONYMS.of("acme")
    assert PSEUDONYMS.of("Ünïcode") != PSEUDONYMS.of("Unicode")


@pytest.mark.parametrize("attribute", sorted(WHOSE))
def test_whatever_names_somebody_is_hidden(attribute: str) -> None:
    """On the spans of every emitter."""
    made = call(None)
    made.attributes.extend(span({attribute: "secret-canary"}).attributes)
    evidence = reduced(made, scope="openinference.instrumentation.openai")
    assert evidence.details[attribute] == PSEUDONYMS.of("secret-canary")


def test_customers_and_users_of_our_own_are_hidden() -> None:
    """And nothing else: tags, models and counts stay."""
    made = call("acme", microdollar__user__id="ann", microdollar__tag__feature="chat")
    [plain] = evidence_of(request(made))
    evidence = reduced(made)
    assert evidence.details == {
        "microdollar.customer.id": PSEUDONYMS.of("acme"),
        "microdollar.user.id": PSEUDONYMS.of("ann"),
    }
    assert evidence.profile.attributes == plain.profile.attributes
    assert evidence.usage == plain.usage


def test_the_customer_of_a_process_is_hidden() -> None:
    """By whatever attribute of its resource."""
    resource: dict[str, Value] = {
        "microdollar.customer.id": "acme", "tenant.id": "acme", "service.namespace": "acme",
    }  # fmt: skip
    evidence = reduced(call(None), "resource.service.namespace", resource=resource)
    said = {
        name: value for name, value in evidence.profile.attributes.items() if "resource" in name
    }
    assert said == dict.fromkeys(said, PSEUDONYMS.of("acme"))
    assert len(said) == 3


def test_the_operators_attributes_are_kept_and_hidden() -> None:
    """Without them they would not be kept at all."""
    made = call(None)
    made.attributes.extend(span({"acme.account": "secret-canary"}).attributes)
    assert "acme.account" not in reduced(made).details
    assert reduced(made, "acme.account").details["acme.account"] == PSEUDONYMS.of("secret-canary")


def test_nobody_stays_nobody() -> None:
    """`unassigned` is no name."""
    assert reduced(call("unassigned")).details["microdollar.customer.id"] == "unassigned"


def test_spans_that_are_alike_stay_alike() -> None:
    """The profile they share is made once."""
    reducer = PseudonymReducer(PSEUDONYMS)
    body = request(call("acme"), call("globex")).SerializeToString()
    one, other = reducer.reduce(body).evidence
    [third, _] = reducer.reduce(body).evidence
    assert one.profile is other.profile is third.profile


def test_a_key_is_read_from_a_file(tmp_path: Path) -> None:
    """A line break at its end does not count; one that is too short is refused."""
    file = tmp_path / "key"
    file.write_bytes(KEY + b"\n")
    assert Pseudonyms.read(file).of("acme") == PSEUDONYMS.of("acme")
    file.write_bytes(KEY[:-1])
    with pytest.raises(UsageError, match="has 31 characters: make one of 32 or more with `openssl"):
        Pseudonyms.read(file)
    with pytest.raises(UsageError, match=r"cannot read the key in .*: No such file"):
        Pseudonyms.read(tmp_path / "none")


def test_the_command_prints_the_pseudonym_of_a_name(tmp_path: Path) -> None:
    """To ask a ledger of pseudonyms for a customer."""
    file = tmp_path / "key"
    file.write_bytes(KEY)
    done = CliRunner().invoke(main, ["pseudonym", "acme", "--key", str(file)])
    assert (done.exit_code, done.output) == (0, PSEUDONYMS.of("acme") + "\n")


def test_an_exporter_stores_pseudonyms_only(tmp_path: Path) -> None:
    """Neither names nor the key are in any of its files; reports and tables of users work."""
    key = tmp_path / "key"
    key.write_bytes(KEY)
    folder = tmp_path / "data"
    folder.mkdir()
    db = folder / "meter.duckdb"
    with Exporter(db, options=["--pseudonyms", str(key)]) as exporter:
        exporter.export(request(call("Secret-Canary-Corp", microdollar__user__id="ann-canary")))
    found = connect(db).sql("SELECT customer_id, user_id FROM ledger").to_pylist()
    assert found == [
        {"customer_id": PSEUDONYMS.of("Secret-Canary-Corp"), "user_id": PSEUDONYMS.of("ann-canary")}
    ]
    for file in folder.rglob("*"):
        content = file.read_bytes()
        assert not any(word in content for word in (b"Canary", b"canary", KEY))


@pytest.fixture
def db(tmp_path: Path) -> Path:
    """Where a ledger may be."""
    return tmp_path / "meter.duckdb"


def decisions(db: Path) -> list[tuple[str, Any]]:
    """What was recorded of what exporters were told."""
    rows = connect(db).sql("SELECT kind, content FROM decision ORDER BY made_at").to_pylist()
    return [(row["kind"], json.loads(row["content"])) for row in rows]


def tell(db: Path, keys: tuple[str, ...] = CUSTOMER_KEYS, check: str | None = None) -> None:
    """Start an exporter with these."""
    store = Store(db)
    record_told(store, keys, check)
    store.close()


def test_what_an_exporter_is_told_is_recorded_when_it_changes(db: Path) -> None:
    """A ledger without evidence keeps attributes for all its time, others from now on."""
    tell(db)
    assert decisions(db) == []
    tell(db, ("acme.account",))
    tell(db, ("acme.account",))
    first = ("customer-keys", {"keys": ["acme.account"], "past": True})
    assert decisions(db) == [first]
    store = Store(db)
    store.append(evidence_of(request(call())), entries)
    store.close()
    tell(db)
    second = ("customer-keys", {"keys": list(CUSTOMER_KEYS), "past": False})
    assert decisions(db) == [first, second]


def test_another_key_of_pseudonyms_is_noticed(db: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The same customers would be others from then on."""
    tell(db, check=PSEUDONYMS.check)
    tell(db, check=PSEUDONYMS.check)
    assert caplog.text == ""
    tell(db, check=Pseudonyms(KEY + b"!").check)
    assert "the key of the pseudonyms is not what it was" in caplog.text
    tell(db)
    checks = [content["check"] for _, content in decisions(db)]
    assert checks == [PSEUDONYMS.check, Pseudonyms(KEY + b"!").check, None]


def test_an_exporter_books_by_the_attributes_it_is_told(db: Path) -> None:
    """On the command line, or in the environment."""
    own = call(None)
    own.attributes.extend(span({"acme.account": "globex", "tenant.id": "initech"}).attributes)
    cell = request(
        call(None),
        scope="logfire.openai",
        resource={"service.namespace": "cell-7", "service.name": "c"},
    )
    told = ["--customer-key", "acme.account", "--customer-key", "resource.service.namespace"]
    with Exporter(db, options=told) as exporter:
        exporter.export(request(own, scope="openinference.instrumentation.openai"))
        exporter.export(cell)
    found = connect(db).sql("SELECT customer_id FROM ledger ORDER BY recorded_at")
    assert found["customer_id"].to_pylist() == ["globex", "cell-7"]
