"""What tests say to the auth service."""

from typing import Any

import httpx

ADMIN_SECRET = "admin secret with + and %41, ä, of 32 bytes or more"
GRANT = {"grant_type": "client_credentials"}


class AuthApi:
    """The service as its admin sees it."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http

    async def token(self, client_id: str, secret: str, **fields: str) -> httpx.Response:
        return await self.http.post("/token", data=GRANT | {"client_id": client_id, "client_secret": secret} | fields)

    async def access_token(self, client_id: str, secret: str, **fields: str) -> str:
        answer = await self.token(client_id, secret, **fields)
        assert answer.status_code == 200, answer.text
        token: str = answer.json()["access_token"]
        return token

    async def admin(self, method: str, path: str, **more: Any) -> httpx.Response:
        token = await self.access_token("admin", ADMIN_SECRET)
        return await self.http.request(method, path, headers={"Authorization": f"Bearer {token}"}, **more)

    async def register(self, device_id: str = "car-7", **fields: Any) -> str:
        """Returns the device's secret."""
        answer = await self.admin("POST", "/devices", json={"device_id": device_id} | fields)
        assert answer.status_code == 201, answer.text
        secret: str = answer.json()["client_secret"]
        return secret
