"""What OpenAPI says of the bodies of requests, which the routes read themselves."""

from typing import Any

from services.auth.models import DeviceChange, NewDevice, Revocation

MOST_REVOCATION = 128 * 1024  # bytes of a list of devices


def _documented(media_type: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": {media_type: {"schema": schema}}}}


# For OpenAPI: what FastAPI cannot see in the signatures of routes that read their own bodies.
NEW_DEVICE = _documented("application/json", NewDevice.model_json_schema())
REVOCATION = _documented("application/json", Revocation.model_json_schema())
DEVICE_CHANGE = _documented("application/json", DeviceChange.model_json_schema())
TOKEN_FORM = _documented(
    "application/x-www-form-urlencoded",
    {
        "type": "object",
        "required": ["grant_type"],
        "properties": {
            "grant_type": {"const": "client_credentials"},
            "scope": {
                "type": "string",
                "description": "Space-separated. By default all that a device has; of `admin` only `admin`.",
            },
            "client_id": {"type": "string", "description": "Unless HTTP Basic carries it."},
            "client_secret": {"type": "string", "format": "password"},
        },
    },
)
