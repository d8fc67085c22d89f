"""Fixtures for tests, doctests and notebooks alike: no network, one thread, fixed seeds, `shared` data if there."""

from __future__ import annotations

import os
import random
import socket
import sys
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

ROOT = Path(__file__).parent
SHARED = ROOT.parent / "shared"

# Shapes and types are checked where tensors are computed with; in what is called a million times (sites, resolving,
# the store) the checks would more than double the tests' time. An int may stand for a float, as type checkers have it.
CHECKED = (
    *(f"interp.{name}" for name in ("circuits", "directions", "edits", "memorisation", "metrics", "probes", "run")),
    *(f"interp.{name}" for name in ("sae", "safety", "splits", "testbeds", "weights")),
    *("interp.models.rules", "interp.models.wiring", "interp.prompts.batching", "interp.store.quantise"),
)
install_import_hook(list(CHECKED), "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))")

# Before any library reads them; child processes inherit them.
os.environ.update({"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "WANDB_MODE": "disabled"})


def pytest_configure(config: pytest.Config) -> None:
    # One thread per test process: workers share the cores, and results do not depend on how many there are.
    # Benchmarks measure, so they keep what the machine has.
    if config.getoption("-m") != "bench":
        os.environ["OMP_NUM_THREADS"] = "1"


class NetworkBlocked(OSError):
    """A test tried to leave this machine."""


def _is_local(host: object) -> bool:
    return str(host) in {"localhost", "::1", "0.0.0.0", ""} or str(host).startswith("127.")


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections to anything but this machine raise; so do look-ups of names."""
    connect, connect_ex, getaddrinfo = socket.socket.connect, socket.socket.connect_ex, socket.getaddrinfo

    def check(what: str, host: object) -> None:
        if not _is_local(host):
            raise NetworkBlocked(f"{what} {host!r} was blocked: tests run without a network")

    def guarded_connect(self: socket.socket, address):
        if self.family in (socket.AF_INET, socket.AF_INET6):
            check("connecting to", address[0])
        return connect(self, address)

    def guarded_connect_ex(self: socket.socket, address):
        if self.family in (socket.AF_INET, socket.AF_INET6):
            check("connecting to", address[0])
        return connect_ex(self, address)

    def guarded_getaddrinfo(host, *args, **kwargs):
        check("looking up", "" if host is None else host)
        return getaddrinfo(host, *args, **kwargs)

    monkeypatch.setattr(socket.socket, "connect", guarded_connect)
    monkeypatch.setattr(socket.socket, "connect_ex", guarded_connect_ex)
    monkeypatch.setattr(socket, "getaddrinfo", guarded_getaddrinfo)


@pytest.fixture(autouse=True)
def seeded() -> None:
    """The same random numbers in every run and order; libraries are seeded if the test has loaded them."""
    random.seed(0)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(0)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The shared test data beside the repository; tests that need it are skipped where it is absent."""
    if not (SHARED / "models" / "stories260K").is_dir():
        pytest.skip("needs the shared test data in ../shared, beside the repository")
    return SHARED
