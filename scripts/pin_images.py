"""Pins the images that are pulled: `python -m scripts.pin_images` asks the registries which digest each tag of
deploy/images/bases.txt has now, and writes it there and wherever the image is named.

The digest is that of the list of all platforms, so that amd64 and arm64 build from one line. `docker manifest inspect`
does not print it; each of these does.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
BASES = Path("deploy/images/bases.txt")
PLACES = (
    Path("deploy/images/hiper/Dockerfile"),
    Path("deploy/images/minio/Dockerfile"),
    Path("deploy/compose.yaml"),
    Path("deploy/helm/hiper/README.md"),
)
TOOLS = (
    ("docker", "buildx", "imagetools", "inspect", "--format", "{{.Manifest.Digest}}"),
    ("skopeo", "inspect", "--format", "{{.Digest}}"),
    ("crane", "digest"),
)
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def listed(text: str) -> list[str]:
    """The images of bases.txt: name:tag, with @digest where one is known."""
    return [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]


def pin(root: Path) -> None:
    """Renews every digest below a root. SystemExit names a tag that has no answer; nothing is written then."""
    tags = [image.partition("@")[0] for image in listed((root / BASES).read_text(encoding="utf-8"))]
    tool = _tool()
    pinned = {tag: f"{tag}@{_digest(tool, tag)}" for tag in tags}
    for place in (BASES, *PLACES):
        text = (root / place).read_text(encoding="utf-8")
        (root / place).write_text(_renewed(text, pinned), encoding="utf-8")
    print("\n".join(pinned.values()))


def _tool() -> tuple[str, ...]:
    for program, *arguments in TOOLS:
        found = shutil.which(program)
        if found and (program != "docker" or _run(found, "buildx", "version").returncode == 0):
            return (found, *arguments)
    sys.exit("Nothing here can ask a registry for digests: install docker with buildx, skopeo or crane.")


def _digest(tool: tuple[str, ...], tag: str) -> str:
    # skopeo wants the kind of place and no short names: everywhere else these mean docker.io
    address = f"docker://{_with_registry(tag)}" if "skopeo" in Path(tool[0]).name else _with_registry(tag)
    done = _run(*tool, address)
    answer = done.stdout.strip()
    if done.returncode or not DIGEST.fullmatch(answer):
        sys.exit(f"{tag}: no digest from {Path(tool[0]).name}: {done.stderr.strip() or answer}\nNothing was changed.")
    return answer


def _with_registry(tag: str) -> str:
    """The registry is named where the first part is a host: it has a dot or a port (distribution/reference)."""
    first, slash, _ = tag.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return tag
    return f"docker.io/{tag}" if slash else f"docker.io/library/{tag}"


def _renewed(text: str, pinned: dict[str, str]) -> str:
    """Gives each of these images its new digest, where it is a whole line or the value of a variable (`=`, `:-`)."""
    for tag, image in pinned.items():
        here = rf"(?:^|(?<==)|(?<=:-)){re.escape(tag)}(?:@{DIGEST.pattern})?(?=\s|}}|$)"
        text = re.sub(here, image, text, flags=re.MULTILINE)
    return text


def _run(*command: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  # no shell


if __name__ == "__main__":
    pin(ROOT)
