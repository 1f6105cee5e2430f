"""Uploads in several states, for tests of what ends them."""

from collections.abc import Awaitable, Callable

from libs.common.files.extents import Extent
from libs.common.storage import list_all
from libs.common.uploads.layout import parse_run_key, partials_root
from tests.uploads.world import FILE, World, content

Upload = Callable[[World], Awaitable[None]]
TOTAL = 20
DATA = content(TOTAL)
OTHER = content(TOTAL, seed=3)
WRONG = "00" * 32  # a SHA-256 that no content here has


async def runs(world: World) -> list[Extent]:
    """The extents of the runs."""
    return [parse_run_key(info.key).extent for info in await list_all(world.perm, partials_root(FILE.owner))]


async def upload_gap(world: World) -> None:
    """An upload with a full part that is assembled already, and a gap."""
    node = world.node()
    await node.send(0, DATA[:6], TOTAL)
    await node.send(6, DATA[6:11], TOTAL)
    await node.maker.finish(FILE)
    await node.send(13, DATA[13:], TOTAL)


async def upload_all(world: World) -> None:
    await world.node().send_all(DATA, 7)


async def upload_wrong(world: World) -> None:
    node = world.node()
    await node.send_all(DATA, 7, declared=WRONG)
    await node.maker.finish(FILE)


async def finish_upload(world: World) -> None:
    await upload_all(world)
    await world.node().work()


async def park_first(world: World) -> None:
    """A partial file, and an upload that goes on with it."""
    node = world.node()
    await node.send(2, DATA[2:10], TOTAL)
    await node.park()
    await node.send(0, DATA[:2], TOTAL)
    await node.send(15, DATA[15:], TOTAL)
