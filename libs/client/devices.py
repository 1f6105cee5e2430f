"""Registering and revoking devices: needs the scope `admin`; purging them: `fleet:manage`."""

import json
from collections.abc import AsyncIterator, Sequence
from urllib.parse import quote

from libs.client.models import Device, DevicePage, ListedDevice, NewDevice, PurgedFile, PurgePage, RevocationResult
from libs.client.retry import Patience
from libs.client.transport import Request, Transport

PAGE = 1000  # devices in one page of a listing
PURGED_AT_ONCE = 500  # files; the server waits 2 seconds for each page


class Devices:
    """The routes under /devices. `retry_for`: seconds that a call goes on trying while the server is away."""

    def __init__(self, transport: Transport, retry_for: float) -> None:
        self._transport = transport
        self._retry_for = retry_for

    async def register(
        self, device_id: str, scopes: Sequence[str] | None = None, device_class: str | None = None
    ) -> NewDevice:
        """Make a device known. Its secret is in the answer and nowhere else. The server's default counts for what is
        None. Tried once: after a lost answer, a second attempt would only find the id taken."""
        wanted = {"device_id": device_id, "scopes": scopes and list(scopes), "device_class": device_class}
        document = {name: value for name, value in wanted.items() if value is not None}
        headers = {"Content-Type": "application/json"}
        request = Request("POST", "/devices", headers=headers, body=json.dumps(document).encode())
        return self._transport.parse(NewDevice, await self._transport.once(request))

    async def list(self) -> AsyncIterator[ListedDevice]:
        """All devices, in the order of their ids; at the end of each page those whose record is damaged."""
        cursor: str | None = ""
        while cursor is not None:
            query = {"limit": str(PAGE)} | ({"after": cursor} if cursor else {})
            answer = await self._transport.call(Request("GET", "/devices", query), Patience(self._retry_for))
            page = self._transport.parse(DevicePage, answer)
            for device in page.devices:
                yield device
            for device_id in page.damaged:
                yield ListedDevice(device_id=device_id, scopes=[], damaged=True)
            cursor = page.next

    async def classify(self, device_id: str, device_class: str) -> Device:
        """Put a device into another class, whose limits count from its next token on. Raises NotFoundError."""
        body = json.dumps({"device_class": device_class}).encode()
        path = f"/devices/{quote(device_id, safe='')}"
        request = Request("PATCH", path, headers={"Content-Type": "application/json"}, body=body)
        return self._transport.parse(Device, await self._transport.call(request, Patience(self._retry_for)))

    async def revoke_all(self, device_ids: Sequence[str]) -> Sequence[str]:
        """Forget devices, in calls of up to 1,000: no token of theirs is taken any more within 30 s, and no secret at
        once. Of `admin` only the tokens end. Returns the ids that no device has."""
        unknown = list[str]()
        for first in range(0, len(device_ids), PAGE):
            wanted = {"device_ids": list(device_ids[first : first + PAGE]), "forget": True}
            headers = {"Content-Type": "application/json"}
            request = Request("POST", "/devices/revoke", headers=headers, body=json.dumps(wanted).encode())
            answer = await self._transport.call(request, Patience(self._retry_for))
            unknown += self._transport.parse(RevocationResult, answer).unknown
        return unknown

    async def revoke(self, device_id: str) -> None:
        """Forget a device, not its files: its secret is refused at once, its tokens everywhere within 30 s. Raises
        NotFoundError (also when an attempt whose answer was lost did it)."""
        request = Request("DELETE", f"/devices/{quote(device_id, safe='')}")
        await self._transport.call(request, Patience(self._retry_for))

    async def purge(self, device_id: str, *, dry_run: bool) -> AsyncIterator[PurgedFile]:
        """Delete everything that a device has, and cancel its uploads; with `dry_run` only say what would go. Of each
        file that comes no chunk is acknowledged any more; it is gone some seconds later. Call it again if it broke
        off."""
        cursor: str | None = ""
        while cursor is not None:
            query = {"owner": device_id, "dry_run": str(dry_run).lower(), "limit": str(PURGED_AT_ONCE)}
            request = Request("DELETE", "/files", query | ({"after": cursor} if cursor else {}))
            answer = await self._transport.call(request, Patience(self._retry_for))
            page = self._transport.parse(PurgePage, answer)
            for file in page.files:
                yield file
            cursor = page.next
