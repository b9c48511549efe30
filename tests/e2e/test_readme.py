# SPDX-License-Identifier: Apache-2.0
"""Every command in the README, run as it stands there by somebody who has just arrived."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.e2e.answers import numbered_chat
from tests.fakes.ports import free_ports
from tests.fakes.provider import FakeProvider
from tests.pages import Page

ROOT = Path(__file__).parents[2]
PAGE = Page("README.md")
SEE, OWN_APP, COLLECTOR, ASK = PAGE.blocks("sh")
APP, FRAME = PAGE.blocks("python")


class Machine:
    """A folder, a Python of its own, and the package index with our distributions on it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        uv = os.environ.get("UV") or shutil.which("uv") or str(ROOT / ".tools/bin/uv")
        wheels = home / "wheels"
        build = f"{uv} build --all-packages --wheel --quiet --out-dir {wheels} {ROOT}"
        venv = f"{uv} venv --quiet --seed --python {sys.executable} {home / 'venv'}"
        for command in (build, venv):
            subprocess.run(shlex.split(command), check=True)
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV"))},
            "PATH": f"{home / 'bin'}:{home / 'venv' / 'bin'}:{os.environ['PATH']}",
            "PIP_FIND_LINKS": str(wheels),
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PIP_QUIET": "1",
            "PIP_ROOT_USER_ACTION": "ignore",
        }

    def run(self, script: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run commands one after the other; those in the background are ended by SIGTERM."""
        ended = "\njobs -p | xargs --no-run-if-empty kill\nwait\n"
        result = subprocess.run(
            ["bash", "-euc", script + ended],
            cwd=self.home,
            env=self.environment | environment,
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )
        assert result.returncode == 0, result.stdout + result.stderr
        return result


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """A machine on which nothing of ours is installed yet."""
    home = tmp_path_factory.mktemp("readme")
    made = Machine(home)
    (home / "app.py").write_text(APP, "utf-8")
    return made


@pytest.fixture
def provider() -> Iterator[Mapping[str, str]]:
    """A provider for the README's app, and the variables that lead the SDK there."""
    with FakeProvider() as fake:
        fake.respond("openai", numbered_chat())
        yield {
            "MICRODOLLAR_HOSTS": fake.hosts,
            "OPENAI_BASE_URL": f"{fake.url('openai')}/v1",
            "OPENAI_API_KEY": "none",
        }


def waiting_for(script: str, command: str, condition: str) -> str:
    """The script with a pause after `command` until `condition` holds, as a person would pause."""
    assert command in script
    pause = f"for _ in $(seq 300); do {condition} && break; sleep 0.1; done"
    return script.replace(command, f"{command}\n{pause}", 1)


def booked(calls: int) -> str:
    """Holds once as many calls are in the ledger."""
    return f"microdollar report --format json | grep -q '\"calls\": {calls},'"


def test_the_two_commands_to_see_it_work() -> None:
    """`make demo` has a test of its own, and `make test` is what runs this one."""
    assert SEE == "make demo\nmake test\n"
    for line in SEE.splitlines():
        subprocess.run([*line.split(), "--dry-run"], cwd=ROOT, check=True, capture_output=True)
    assert (ROOT / ".ci" / "run").read_text("utf-8").rstrip().endswith("make test")


def test_the_five_lines_for_an_own_app(machine: Machine, provider: Mapping[str, str]) -> None:
    """Install, serve, run, report: the call is there with its customer's name and its price."""
    assert len(OWN_APP.splitlines()) == 5
    grpc_port, http_port = free_ports(2)
    script = waiting_for(OWN_APP, "microdollar serve &", "test -e meter.duckdb.server")
    script = waiting_for(script, "opentelemetry-instrument python app.py", booked(1))
    result = machine.run(
        script,
        **provider,
        MICRODOLLAR_GRPC=f"127.0.0.1:{grpc_port}",
        MICRODOLLAR_HTTP=f"127.0.0.1:{http_port}",
        OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{http_port}",
    )
    assert re.search(r"^acme +gpt-6-luna +1 +1,000 +50 ", result.stdout, re.MULTILINE)


def test_a_collector_in_between(
    machine: Machine, provider: Mapping[str, str], otelcol: Path
) -> None:
    """The same app, the stock configuration, and the ports the README names."""
    (machine.home / "bin").mkdir(exist_ok=True)
    (machine.home / "bin" / "otelcol-contrib").symlink_to(otelcol)
    shutil.copy(ROOT / "otel-collector-config.yaml", machine.home)
    grpc_port, http_port, health_port, exporter_grpc, exporter_http = free_ports(5)
    script = COLLECTOR.replace("14317", str(exporter_grpc)).replace("14318", str(exporter_http))
    script = waiting_for(script, "microdollar serve &", "test -e meter.duckdb.server")
    script = waiting_for(
        script,
        "otelcol-contrib --config otel-collector-config.yaml &",
        f"curl -sf http://127.0.0.1:{health_port} >/dev/null",
    )
    script = waiting_for(script, "opentelemetry-instrument python app.py", booked(2))
    result = machine.run(
        script + "microdollar report --by customer\n",
        **provider,
        OTEL_COLLECTOR_GRPC=f"127.0.0.1:{grpc_port}",
        OTEL_COLLECTOR_HTTP=f"127.0.0.1:{http_port}",
        OTEL_COLLECTOR_HEALTH=f"127.0.0.1:{health_port}",
        OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{http_port}",
    )
    assert re.search(r"^acme +2 +2,000 +100 ", result.stdout, re.MULTILINE)


def test_the_questions(machine: Machine) -> None:
    """Of the file at rest; by command, by SQL and as a DataFrame."""
    result = machine.run(ASK)
    assert re.search(r"^acme +250\.000000$", result.stdout, re.MULTILINE)
    csv = (machine.home / "usage.csv").read_text("utf-8").splitlines()
    assert csv[0].startswith("customer,feature,calls,")
    assert csv[1].startswith("acme,assistant,2,")
    frame = machine.run(f"python - <<'EOF'\n{FRAME}print(frame.to_string())\nEOF")
    assert re.search(r"acme +\d{4}-\d\d-\d\d +2 ", frame.stdout)


def test_every_link_leads_somewhere() -> None:
    """To a file that is in the repository."""
    links = re.findall(r"\]\((?!http)([^)]+)\)", PAGE.text)
    assert links
    assert all((ROOT / link).exists() for link in links)
