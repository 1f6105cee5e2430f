"""Ids that people take for one another: they are refused where a device is registered. Ids of devices that are
registered already go on working, whatever they look like."""

from libs.common.files.names import FLEET
from libs.common.storage import ObjectStore
from libs.common.uploads.layout import DEVICES, device_key, parse_device_key
from libs.common.uploads.ours import ours

ADMIN_ID = "admin"
TEST_DEVICE_ID = "helm-test"
OF_SETTINGS = (ADMIN_ID, TEST_DEVICE_ID)  # clients whose secrets are settings
_ALIKE = str.maketrans({"0": "o", "1": "l", "i": "l", "-": None, "_": None, ".": None})


def looks_reserved(device_id: str) -> bool:
    """Whether it looks like an id that no device may have: `Fleet`, `ADMIN`, `adm1n`, `ad-min`."""
    return _skeleton(device_id) in {_skeleton(name) for name in (FLEET, *OF_SETTINGS)}


def _skeleton(device_id: str) -> str:
    """What is left once characters that look alike are one (as in Unicode TS 39, section 4, for ASCII)."""
    return device_id.casefold().translate(_ALIKE).replace("rn", "m")


async def namesake(store: ObjectStore, device_id: str) -> str | None:
    """The id of a device that differs from this one in case alone. It takes one listing where there are up to 1,000
    devices, else two more for each character until so few have the same beginning. Raises StoreUnavailable."""
    beginnings = [""]
    for character in device_id:
        longer = list[str]()
        for beginning in beginnings:
            listing = await store.list(DEVICES + beginning)
            for other, _ in ours(listing.objects, parse_device_key):
                if _differ_in_case(other, device_id):
                    return other
            if listing.truncated:
                longer += [beginning + variant for variant in {character.lower(), character.upper()}]
        beginnings = longer
    for other in beginnings:
        if other != device_id and (await store.list(device_key(other), limit=1)).objects:
            return other
    return None


def _differ_in_case(one: str, other: str) -> bool:
    return one != other and one.casefold() == other.casefold()
