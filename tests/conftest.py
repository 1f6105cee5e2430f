"""Real backends for the tests that need them, and a loud word about what was left out without them."""

import os
import shutil
from collections import Counter
from collections.abc import Generator, Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling

from tests.backends import (
    MinioServer,
    RabbitmqServer,
    Versitygw,
    docker_available,
    minio_server,
    rabbitmq_server,
    versitygw_server,
)
from tests.machine import share_of
from tests.nginx import whole_requests

REQUIRED = os.environ.get("E2E") == "required"
_left_out: list[str] = []

# How long one example takes says more of the machine's load than of the code.
settings.register_profile("load", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("load")


@pytest.fixture(scope="session")
def engine() -> None:
    """A Docker engine. Without one the test is left out, unless E2E=required."""
    if not docker_available():
        if REQUIRED:
            pytest.fail("E2E=required, but no Docker engine answers")
        pytest.skip("needs MinIO and RabbitMQ in containers, but no Docker engine answers")


@pytest.fixture(scope="session")
def minio(engine: None) -> Iterator[MinioServer]:
    with minio_server() as server:
        yield server


@pytest.fixture(scope="session")
def rabbitmq(engine: None) -> Iterator[RabbitmqServer]:
    with rabbitmq_server() as server:
        yield server


@pytest.fixture(scope="session")
def bare_versitygw(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Versitygw]:
    """It keeps half of a body whose sender died, so the services refuse it."""
    root = tmp_path_factory.mktemp("versitygw") / "buckets"
    root.mkdir()
    program = os.environ.get("HIPER_VERSITYGW") or shutil.which("versitygw")
    if not program:
        if REQUIRED:
            pytest.fail("E2E=required, but there is no versitygw: set HIPER_VERSITYGW")
        pytest.skip("needs versitygw: set HIPER_VERSITYGW to its program")
    with versitygw_server(program, root) as server:
        yield server


@pytest.fixture(scope="session")
def versitygw(tmp_path_factory: pytest.TempPathFactory, bare_versitygw: Versitygw) -> Iterator[Versitygw]:
    """It gets whole requests only, from an nginx before it."""
    with whole_requests(bare_versitygw.endpoint, tmp_path_factory.mktemp("nginx")) as port:
        yield replace(bare_versitygw, endpoint=f"127.0.0.1:{port}")


class ByFile(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """Processes share the tests file by file. Those of tests/deploy stay together: they build the image once."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return "tests/deploy" if file.startswith("tests/deploy/") else file

    def add_node_collection(self, node: Any, collection: list[str]) -> None:
        """The operations of a schema share the name of one test. Of equal names, one alone would run."""
        seen: Counter[str] = Counter()
        numbered = []
        for name in collection:
            seen[name] += 1
            numbered.append(f"{name}#{seen[name]}")
        super().add_node_collection(node, numbered)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFile:
    return ByFile(config, log)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """What installs the chart runs alone: beside a test of load, a cluster is not ready in time."""
    folder = item.config.rootpath / ".pytest_cache"
    folder.mkdir(exist_ok=True)
    with share_of(folder, alone="namespace" in getattr(item, "fixturenames", ())):
        return (yield)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.skipped:
        _left_out.append(report.nodeid)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _left_out:
        terminalreporter.section("LEFT OUT", sep="!", red=True, bold=True)
        for nodeid in _left_out:
            terminalreporter.line(f"not run: {nodeid}", red=True)
        terminalreporter.line(
            "To run them: a Docker engine, nginx, KUBECONFIG. With E2E=required nothing is left out.", red=True
        )
