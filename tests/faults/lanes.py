"""Deployments whose processes are killed at one step after the other."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from libs.common.storage import Buckets, ObjectStore
from tests.e2e.device import Device
from tests.e2e.processes import SECRETS, Deployment, Process, running
from tests.faults.points import FaultPoint, Step
from tests.faults.stories import STORIES, Upload
from tests.uploads.hooked_store import When

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
    buckets: Buckets
    part: int

    def targets(self, case: Case) -> list[Process]:
        """The processes that may be the one that takes the step."""
        found = self.deployment.processes
        return [found["serve"]] if "serve" in found else [found[service] for service in case.step.services]

    async def run(self, car: Device, lane_cases: Sequence[Case]) -> list[tuple[Case, Upload]]:
        """Kill at each case in turn: the life in which the next one dies is the one that mends what the last left."""
        in_order = sorted(lane_cases, key=lambda case: STORIES[case.step.story].prepare is None)  # else they go stale
        told = [(case, Upload(car, f"log-{number}", self.part, self.buckets)) for number, case in enumerate(in_order)]
        prepared = [(STORIES[case.step.story].prepare, upload) for case, upload in told]
        await asyncio.gather(*(prepare(upload) for prepare, upload in prepared if prepare))
        async with asyncio.TaskGroup() as acts:
            for case, upload in told:
                await self._arm(case, upload)
                await self._dead(case, acts.create_task(_told(case, upload)))
            await self._arm(None, None)
        return told

    async def _arm(self, case: Case | None, upload: Upload | None) -> None:
        """Let every process live that is dead, and those of the case with their fault."""
        targets = self.targets(case) if case else []
        for process in self.deployment.processes.values():
            armed = process.env.pop("HIPER_FAULT", None)
            if process in targets and case and upload:
                step = case.step
                process.env["HIPER_FAULT"] = str(FaultPoint(case.when, step.call, step.kind, upload.name, step.nth))
            if process in targets or armed:
                process.kill()
                process.start(wait=False)
                await asyncio.to_thread(process.wait_until_ready)

    async def _dead(self, case: Case, act: "asyncio.Task[None]") -> None:
        """Wait until a process has killed itself."""
        running = [process.popen for process in self.targets(case) if process.popen]
        deadline = time.monotonic() + STEP_TIMEOUT
        while not (ended := [popen.returncode for popen in running if popen.poll() is not None]):
            assert not act.done() or not act.exception()
            assert time.monotonic() < deadline, f"never came to: {case}"
            await asyncio.sleep(0.02)
        assert set(ended) == {-signal.SIGKILL}, case


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
