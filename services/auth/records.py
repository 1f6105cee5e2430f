"""Reading the record of a device, which somebody may have damaged: by hand, by a restore, by a full disk."""

import structlog
from pydantic import ValidationError

from libs.common.problems import Kind, Problem
from libs.common.security import audit
from libs.common.security.audit_trail import record
from libs.common.security.recent import Recent
from libs.common.storage import ObjectNotFound, ObjectStore
from libs.common.uploads.layout import device_key
from services.auth.models import Device, valid_device_id

MOST_BYTES = 64 * 1024  # of a record
TOLD_FOR = 3600.0  # seconds in which a damaged record is reported once

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(__name__)


class Records:
    """Reads `devices/{device_id}.json`, and reports those that are damaged."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._told = Recent[str](TOLD_FOR, 10_000)

    async def find(self, device_id: str) -> Device | None:
        """The device, if there is one. Raises Problem DEVICE_DAMAGED, and StoreUnavailable."""
        if not valid_device_id(device_id):
            return None
        try:
            device = Device.model_validate_json(await self._read(device_id))
        except ObjectNotFound:
            return None
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(map(str, first["loc"]))[:64]
            raise self._damaged(device_id, f"{where}: {first['msg']}"[:200]) from None
        if device.device_id != device_id:
            raise self._damaged(device_id, "it is the record of another device")
        return device

    async def _read(self, device_id: str) -> bytes:
        body = bytearray()
        async with self._store.get(device_key(device_id)) as blocks:
            async for block in blocks:
                body += block
                if len(body) > MOST_BYTES:
                    raise self._damaged(device_id, f"it has more than {MOST_BYTES} bytes")
        return bytes(body)

    def _damaged(self, device_id: str, why: str) -> Problem:
        key = device_key(device_id)
        if self._told.get(device_id) != why:
            self._told.put(device_id, why)
            remedy = f"restore {key}, or delete the device and register it anew"
            log.error("device_damaged", device=device_id, key=key, error=why, remedy=remedy)
            record(audit.DeviceDamaged(device=device_id), "refused", f"{key}: {why}")
        detail = (
            f"{key} cannot be read. An operator must restore it, or delete the device (DELETE /devices/{device_id}) "
            "and register it anew. The log of auth says what is wrong with it."
        )
        return Problem(Kind.DEVICE_DAMAGED, detail)
