"""`python -m services.janitor [--once] [--dry-run]`: one janitor process, with probes on METRICS_PORT."""

import argparse
import asyncio
import sys
from contextlib import AbstractAsyncContextManager, nullcontext

from libs.common.bus import EventBus
from libs.common.bus.memory import MemoryBus
from libs.common.observability.telemetry import configure_logging
from libs.common.settings import ConfigurationError, Settings
from libs.common.storage import StoreUnavailable
from libs.common.uploads.sweeping import store_time
from libs.common.web.serving import load_settings, run
from libs.common.wiring.resources import open_buckets, open_bus
from services.janitor.app import build_app, build_janitor


async def sweep_once(settings: Settings, *, dry_run: bool) -> None:
    """One sweep; prints what it found and why, a line each, and on standard error how many. A dry run tells nobody, and
    so asks for no broker."""
    async with open_buckets(settings) as buckets, _open_bus(settings, dry_run) as bus:
        janitor = build_janitor(settings, buckets, bus)
        found = await janitor.sweep(await store_time(buckets.temp), dry_run=dry_run)
        for finding in found:
            where = f"{finding.file.owner}/{finding.file.filename}"
            print(f"{finding.need}: {where} (session {finding.session}): {finding.why}")
    print(f"{len(found) or 'nothing'} found" + (", nothing changed (dry run)" if dry_run else ""), file=sys.stderr)


def _open_bus(settings: Settings, dry_run: bool) -> AbstractAsyncContextManager[EventBus]:
    return nullcontext(MemoryBus()) if dry_run else open_bus(settings)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m services.janitor", description=build_app.__doc__)
    parser.add_argument("--once", action="store_true", help="sweep once, print what was found, and end")
    parser.add_argument("--dry-run", action="store_true", help="with --once: change nothing and tell nobody")
    chosen = parser.parse_args()
    if chosen.dry_run and not chosen.once:
        parser.error("--dry-run goes with --once")
    if not chosen.once:
        run(build_app, lambda settings: settings.worker_port)
    try:
        settings = load_settings()
        configure_logging(settings)
        asyncio.run(sweep_once(settings, dry_run=chosen.dry_run))
    except (ConfigurationError, StoreUnavailable) as error:
        sys.exit(f"cannot sweep: {error}")


if __name__ == "__main__":
    main()
