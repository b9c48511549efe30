# SPDX-License-Identifier: Apache-2.0
"""Tokens: what is kept of them, what they are for, and the commands that make and revoke them."""

import hashlib
import json
import re
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread

import pytest
from click.testing import CliRunner

from microdollar_exporter.access.guard import Guard
from microdollar_exporter.access.scopes import ADMIN, INGEST, METRICS, READ, Grant
from microdollar_exporter.access.tokens import TokenFile, expiry
from microdollar_exporter.cli import main
from microdollar_exporter.errors import (
    Forbidden,
    TokensUnreadable,
    Unauthenticated,
    UsageError,
)

SECRET = re.compile(r"mdt_[\w-]{43}")


@pytest.fixture
def tokens(tmp_path: Path) -> TokenFile:
    """A token file that is not there yet."""
    return TokenFile(tmp_path / "meter.duckdb.tokens")


def test_the_file_holds_a_hash_and_never_the_token(tokens: TokenFile) -> None:
    """Of 256 random bits, which nobody can search for; and only its owner may read it."""
    secret, made = tokens.create([INGEST], name="collector")
    assert SECRET.fullmatch(secret)
    text = tokens.path.read_text("utf-8")
    assert secret not in text
    assert secret[-43:] not in text
    assert json.loads(text)["tokens"][0]["sha256"] == hashlib.sha256(secret.encode()).hexdigest()
    assert stat.S_IMODE(tokens.path.stat().st_mode) == 0o600
    assert tokens.grant(secret) == Grant(made.id, frozenset({INGEST}))


def test_two_tokens_are_never_the_same(tokens: TokenFile) -> None:
    """Neither their text nor their id."""
    made = [tokens.create([READ]) for _ in range(20)]
    assert len({secret for secret, _ in made}) == len({token.id for _, token in made}) == 20
    assert [token.id for token in tokens.read()] == [token.id for _, token in made]


@pytest.mark.parametrize("changed", ["", "x", "mdt_", "mdt_" + "A" * 43, "é", "\udcff"])
def test_a_token_that_was_never_made_is_unknown(tokens: TokenFile, changed: str) -> None:
    """Whatever it looks like."""
    secret, _ = tokens.create([INGEST])
    for wrong in (changed, secret + changed + "x", secret[:-1]):
        with pytest.raises(Unauthenticated):
            tokens.grant(wrong)


def test_another_process_sees_a_change_at_once(tokens: TokenFile) -> None:
    """So revoking needs no restart."""
    running = TokenFile(tokens.path)
    assert not running.in_force()
    secret, _ = tokens.create([INGEST], name="first")
    other, _ = tokens.create([READ], name="second")
    assert running.in_force()
    assert running.grant(secret).allows(INGEST)
    tokens.revoke("first")
    with pytest.raises(Unauthenticated, match="not known, or was revoked"):
        running.grant(secret)
    assert running.grant(other).allows(READ)


def test_the_time_of_a_token_ends_at_its_instant(
    tokens: TokenFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not before."""
    end = datetime(2026, 12, 1, tzinfo=UTC)
    secret, made = tokens.create([INGEST], expires_at=end)
    assert not made.expired(end - timedelta(microseconds=1))
    assert made.expired(end)
    tokens.path.write_text(tokens.path.read_text("utf-8").replace("2026-12", "2026-01"), "utf-8")
    with pytest.raises(Unauthenticated, match=f"the time of the token {made.id} is over"):
        tokens.grant(secret)


def test_a_token_file_that_goes_away_opens_nothing(tokens: TokenFile) -> None:
    """Nobody is let in, and senders are asked to wait, because it may come back."""
    secret, _ = tokens.create([INGEST])
    guard = Guard(TokenFile(tokens.path))
    guard.check(f"Bearer {secret}", INGEST)
    kept = tokens.path.read_bytes()
    tokens.path.unlink()
    for authorization in (None, f"Bearer {secret}"):
        with pytest.raises((TokensUnreadable, Unauthenticated)):
            guard.check(authorization, INGEST)
    tokens.path.write_bytes(kept)
    tokens.path.chmod(0o600)
    guard.check(f"Bearer {secret}", INGEST)


@pytest.mark.parametrize(
    ("content", "mode", "why"),
    [
        ("", 0o600, "it is not what `microdollar token` writes"),
        ("{}", 0o600, "it is not what"),
        ('{"version": 1, "tokens": [{}]}', 0o600, "it is not what"),
        ('{"version": 1, "tokens": [{"id": 1, "scopes": ["all"]}]}', 0o600, "it is not what"),
        ('{"version": 2, "tokens": []}', 0o600, "it has version 2, and 1 is read"),
        ('{"version": 1, "tokens": []}', 0o620, "others may write it: chmod 600"),
        ('{"version": 1, "tokens": []}', 0o602, "others may write it: chmod 600"),
    ],
)
def test_a_token_file_that_cannot_be_trusted_lets_nobody_in(
    tokens: TokenFile, content: str, mode: int, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It is said once in the log, with the reason, and never with its content."""
    tokens.path.write_text(content, "utf-8")
    tokens.path.chmod(mode)
    assert tokens.in_force()
    for _ in range(2):
        with pytest.raises(TokensUnreadable, match=why):
            tokens.grant("mdt_x")
    assert len(caplog.records) == 1
    with pytest.raises(TokensUnreadable):
        tokens.create([INGEST])
    assert tokens.path.read_text("utf-8") == content


def test_a_token_file_that_others_may_read_is_fine(tokens: TokenFile) -> None:
    """As one is that comes from a secret store: hashes of random tokens tell nothing."""
    secret, _ = tokens.create([INGEST])
    tokens.path.chmod(0o644)
    assert tokens.grant(secret).allows(INGEST)


def test_commands_at_the_same_time_undo_nothing_of_each_other(tokens: TokenFile) -> None:
    """A token that came back to life after it was revoked would be a hole."""

    def create() -> None:
        for _ in range(5):
            TokenFile(tokens.path).create([INGEST])

    threads = [Thread(target=create) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(tokens.read()) == 40


def test_what_each_scope_allows() -> None:
    """Each what it is for; admin everything."""

    def allowed(scope: str) -> set[str]:
        grant = Grant("t", frozenset({scope}))
        return {wanted for wanted in (INGEST, READ, METRICS, ADMIN) if grant.allows(wanted)}

    assert allowed(INGEST) == {INGEST}
    assert allowed(READ) == {READ}
    assert allowed(METRICS) == {METRICS}
    assert allowed("read:customer=acme") == set()
    assert allowed(ADMIN) == {INGEST, READ, METRICS, ADMIN}
    with pytest.raises(Forbidden, match="lacks the scope admin"):
        Grant("t", frozenset({READ})).require(ADMIN)


def test_who_may_read_one_customer_reads_that_one() -> None:
    """Named or not; who has two names one of them."""
    one = Grant("t", frozenset({"read:customer=acme"}))
    assert one.reads(None) == one.reads("acme") == "acme"
    for other in ("globex", "", "ACME", "acme ", "unassigned"):
        with pytest.raises(Forbidden):
            one.reads(other)
    two = Grant("t", frozenset({"read:customer=acme", "read:customer=globex"}))
    assert (two.reads("acme"), two.reads("globex")) == ("acme", "globex")
    with pytest.raises(Forbidden):
        two.reads(None)
    assert Grant("t", frozenset({READ})).reads(None) is None
    assert Grant("t", frozenset({READ})).reads("globex") == "globex"
    with pytest.raises(Forbidden, match="lacks the scope read"):
        Grant("t", frozenset({INGEST})).reads("acme")


@pytest.mark.parametrize(
    "scope",
    [
        "",
        "all",
        "read:",
        "read:customer",
        "read:customer=",
        "READ",
        "read:customer=unassigned",
        "read:customer=erased",
    ],
)
def test_a_scope_that_is_none_is_refused(tokens: TokenFile, scope: str) -> None:
    """Calls made for nobody are not a customer's either."""
    with pytest.raises(UsageError):
        tokens.create([scope])
    assert not tokens.path.exists()


def test_the_guard_wants_a_token_only_where_there_is_a_token_file(tokens: TokenFile) -> None:
    """Sending and the counters are open without one; reading and acting never are."""
    guard = Guard(tokens)
    for scope in (INGEST, METRICS):
        assert guard.check(None, scope).who == "anyone"
    for scope in (READ, ADMIN):
        with pytest.raises(Unauthenticated):
            guard.check(None, scope)
    tokens.create([READ])
    for scope in (INGEST, METRICS, READ, ADMIN):
        with pytest.raises(Unauthenticated):
            guard.check(None, scope)


def test_an_insecure_guard_lets_anyone_send_and_no_more(tokens: TokenFile) -> None:
    """Also where there are tokens, which are for reading then."""
    guard = Guard(tokens, insecure=True)
    tokens.create([READ])
    assert guard.check(None, INGEST).who == "anyone"
    for scope in (METRICS, READ, ADMIN):
        with pytest.raises(Unauthenticated):
            guard.check(None, scope)


def test_the_tokens_of_the_cards_are_for_reading_and_for_everything(tokens: TokenFile) -> None:
    """With and without a token file; another run has others."""
    guard = Guard(tokens)
    for _ in range(2):
        for scope in (INGEST, METRICS, READ, ADMIN):
            assert guard.grant(f"bearer {guard.operator_token}").allows(scope)
            assert guard.grant(f"Bearer {guard.reader_token}").allows(scope) == (
                scope in (METRICS, READ)
            )
        tokens.create([READ])
    for other in (Guard(tokens).operator_token, Guard(tokens).reader_token):
        with pytest.raises(Unauthenticated):
            guard.grant(f"Bearer {other}")


@pytest.mark.parametrize(
    "authorization", ["", "Bearer", "Bearer ", "Basic {}", "{}", "Bearer {} ", "Bearer  {}"]
)
def test_only_a_bearer_token_is_read(tokens: TokenFile, authorization: str) -> None:
    """To the letter."""
    secret, _ = tokens.create([READ])
    guard = Guard(tokens)
    with pytest.raises(Unauthenticated):
        guard.check(authorization.format(secret), READ)


def test_an_end_is_a_day_an_instant_or_a_number_of_days() -> None:
    """In UTC, and not past."""
    assert expiry("2099-01-01") == datetime(2099, 1, 1, tzinfo=UTC)
    assert expiry("2099-01-01T12:00:00+02:00") == datetime(2099, 1, 1, 10, tzinfo=UTC)
    assert timedelta(89) < expiry("90d") - datetime.now(UTC) <= timedelta(90)
    for wrong in ("", "d", "soon", "0d", "-1d", "2020-01-01", "9999999999d"):
        with pytest.raises(UsageError, match=f"--expires is '{wrong}'"):
            expiry(wrong)


def microdollar(*arguments: str) -> tuple[int, str, str]:
    """The `microdollar` command: exit status, stdout, stderr."""
    result = CliRunner().invoke(main, list(arguments))
    return result.exit_code, result.stdout, result.stderr


def test_a_token_is_made_listed_and_revoked_by_commands(tmp_path: Path) -> None:
    """Its text goes to stdout alone, once; the list has no secret."""
    db = str(tmp_path / "meter.duckdb")
    status, out, err = microdollar(
        "token", "create", "--db", db, "--scope", "ingest", "--scope", "metrics", "--name", "edge"
    )
    assert status == 0
    assert SECRET.fullmatch(out.rstrip("\n"))
    assert "ingest, metrics, in " in err
    assert "from now on, sending spans wants a token too" in err
    _, _, err = microdollar(
        *("token", "create", "--db", db, "--scope", "read:customer=acme", "--expires", "2099-01-01")
    )
    assert "from now on" not in err
    status, listed, _ = microdollar("token", "list", "--db", db)
    lines = [re.split(r"  +", line.strip()) for line in listed.splitlines()]
    assert lines[0] == ["id", "name", "scopes", "created", "expires"]
    assert lines[2][1:] == ["edge", "ingest, metrics", lines[2][3], "never"]
    assert lines[3][1:] == ["read:customer=acme", lines[3][2], "2099-01-01 00:00"]
    assert out.strip() not in listed
    status, out, err = microdollar("token", "revoke", "--db", db, "edge")
    assert (status, out) == (0, "")
    assert err == f"revoked {lines[2][0]}: ingest, metrics\n"
    assert microdollar("token", "revoke", "--db", db, lines[3][0])[0] == 0
    assert microdollar("token", "list", "--db", db)[1].count("\n") == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["create", "--scope", "all"], "the scope is 'all': choose from ingest, read, "),
        (["create", "--scope", "read", "--expires", "1.1.2030"], "--expires is '1.1.2030': write"),
        (["create", "--scope", "read", "--name", "taken"], "there is a token called 'taken'"),
        (["revoke", "nobody"], "no token is called 'nobody': `microdollar token list` names them"),
    ],
)
def test_a_wrong_argument_is_said_with_what_is_right(
    tokens: TokenFile, arguments: list[str], message: str
) -> None:
    """In one line, and nothing is changed."""
    tokens.create([READ], name="taken")
    before = tokens.path.read_bytes()
    status, out, err = microdollar("token", *arguments, "--tokens", str(tokens.path))
    assert (status, out) == (1, "")
    assert err.startswith(f"Error: {message}")
    assert tokens.path.read_bytes() == before
