"""Deployments whose processes are killed at one step after the other."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from libs.common.store import ObjectStore
from tests.e2e.device import Device
from tests.e2e.processes import SECRETS, Deployment, Process, running
from tests.faults.points import FaultPoint, Step
from tests.faults.stories import STORIES, Upload
from tests.unit.core.hooked_store import When

FAULTY = "tests.faults.faulty"
STEP_TIMEOUT = 60  # seconds until a process must have come to its fault point


@dataclass(frozen=True)
class Case:
    """To be killed before or after a step."""

    when: When
    step: Step

    def __str__(self) -> str:
        return f"{self.when} {self.step}"


def cases(steps: Sequence[Step], *whens: When) -> list[Case]:
    """What dies after a step leaves mostly what dies before the next one leaves."""
    return [Case(when, step) for step in steps for when in whens]


@dataclass(frozen=True)
class Lane:
    """A deployment of its own, and where to look behind it. `part`: bytes in a part of its files."""

    deployment: Deployment
    temp: ObjectStore
    perm: ObjectStore
    part: int

    def process(self, service: str) -> Process:
        found = self.deployment.processes
        return found.get(service) or found["serve"]

    async def run(self, car: Device, lane_cases: Sequence[Case]) -> list[tuple[Case, Upload]]:
        """Kill at each case in turn: the life in which the next one dies is the one that mends what the last left."""
        in_order = sorted(lane_cases, key=lambda case: STORIES[case.step.story].prepare is None)  # else they go stale
        told = [(case, Upload(car, f"log-{number}", self.part, self.temp)) for number, case in enumerate(in_order)]
        prepared = [(STORIES[case.step.story].prepare, upload) for case, upload in told]
        await asyncio.gather(*(prepare(upload) for prepare, upload in prepared if prepare))
        async with asyncio.TaskGroup() as acts:
            for case, upload in told:
                await self._arm(case, upload)
                await self._dead(case, acts.create_task(_told(case, upload)))
            await self._arm(None, None)
        return told

    async def _arm(self, case: Case | None, upload: Upload | None) -> None:
        """Let every process live that is dead, and the one of the case with its fault."""
        target = self.process(case.step.service) if case else None
        for process in {id(p): p for p in self.deployment.processes.values()}.values():
            armed = process.env.pop("HIPER_FAULT", None)
            if process is target and case and upload:
                step = case.step
                point = FaultPoint(case.when, step.call, step.kind, upload.name, step.nth)
                process.env["HIPER_FAULT"] = str(point)
            if process is target or armed:
                process.kill()
                process.start(wait=False)
                await asyncio.to_thread(process.wait_until_ready)

    async def _dead(self, case: Case, act: "asyncio.Task[None]") -> None:
        """Wait until the process has killed itself."""
        popen = self.process(case.step.service).popen
        assert popen
        deadline = time.monotonic() + STEP_TIMEOUT
        while popen.poll() is None:
            assert not act.done() or not act.exception()
            assert time.monotonic() < deadline, f"never came to: {case}"
            await asyncio.sleep(0.02)
        assert popen.returncode == -signal.SIGKILL, case


async def _told(case: Case, upload: Upload) -> None:
    story = STORIES[case.step.story]
    await story.act(upload)
    await upload.end(story.ends)


@contextmanager
def faulty_deployment(directory: Path, env: dict[str, str], modules: dict[str, str]) -> Iterator[Deployment]:
    """Processes that can be told to kill themselves: modules by name. One that is named `serve` is all of them."""
    processes = {
        name: Process(FAULTY, {**SECRETS, "LOG_LEVEL": "WARNING", **env}, directory / f"{name}.log", (module,))
        for name, module in modules.items()
    }
    with running(processes):
        everything = processes.get("serve")
        ingest, auth = everything or processes["ingest"], everything or processes["auth"]
        yield Deployment(processes, [ingest.url], auth.url, SECRETS["ADMIN_SECRET"])


@asynccontextmanager
async def started(deployment: AbstractContextManager[Deployment]) -> AsyncIterator[Deployment]:
    """Entered and left in a thread: what other lanes do must not wait meanwhile, or their servers give them up."""
    found = await asyncio.to_thread(deployment.__enter__)
    try:
        yield found
    finally:
        await asyncio.to_thread(deployment.__exit__, None, None, None)


@asynccontextmanager
async def closing(*stores: ObjectStore) -> AsyncIterator[None]:
    try:
        yield
    finally:
        for store in stores:
            await store.close()
