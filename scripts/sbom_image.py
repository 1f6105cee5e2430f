"""Lists the packages of a built image, in CycloneDX 1.6: `python -m scripts.sbom_image IMAGE WHEEL_SBOM OUTPUT`.

The image is asked itself: its Python, the Python packages that are installed, and its Debian packages. WHEEL_SBOM was
written by `make sbom`: hashes come from there. One image gives the same bytes each time.
"""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

Component = dict[str, Any]

# Runs in the image. What pip installed into the base itself lies in site-packages; Debian's own Python has none there.
_QUESTIONS = """
import importlib.metadata, json, platform, subprocess, sys
base = f"{sys.base_prefix}/lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
fields = ("db:Status-Abbrev", "Package", "Version", "Architecture", "source:Package", "source:Version")
query = ["dpkg-query", "-W", "-f", r"\\t".join("${" + field + "}" for field in fields) + r"\\n"]
print(json.dumps({
    "system": platform.freedesktop_os_release(),
    "python": platform.python_version(),
    "packages": [(one.name, one.version) for one in importlib.metadata.distributions(path=[*sys.path, base])],
    "debian": subprocess.run(query, check=True, capture_output=True, text=True).stdout,
}))
"""
_CONFINED = ["--rm", "--network", "none", "--read-only", "--cap-drop", "ALL", "--entrypoint", "python"]


def main(image: str, wheel: Path, output: Path) -> None:
    """Writes the document, if it is valid. SystemExit says how to go on where the image cannot be asked."""
    identity = _docker(image, "image", "inspect", "-f", "{{.Id}}", image).strip()
    answers = json.loads(_docker(image, "run", *_CONFINED, identity, "-c", _QUESTIONS))
    name = PackageURL("oci", name=image.partition("@")[0].rpartition("/")[2].partition(":")[0], version=identity)
    root = _component("container", image, identity, name)
    parts = {one["bom-ref"]: one for one in _components(answers, json.loads(wheel.read_text(encoding="utf-8")))}
    document = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": root},
        "components": [parts[reference] for reference in sorted(parts)],
        "dependencies": [{"ref": root["bom-ref"], "dependsOn": sorted(parts)}],
    }
    text = json.dumps(document, indent=2) + "\n"
    if error := JsonStrictValidator(SchemaVersion.V1_6).validate_str(text):
        sys.exit(f"{image}: its SBOM is not valid: {error}")
    output.write_text(text, encoding="utf-8")


def _docker(image: str, *command: str) -> str:
    program = shutil.which("docker")
    if not program:
        sys.exit("docker is not on the PATH: the image has to be run to be asked")
    done = subprocess.run([program, *command], capture_output=True, text=True, check=False)  # noqa: S603  # no shell
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line and not line.startswith("Run 'docker")]
        reason = said[-1] if said else "no reason given"
        sys.exit(f"{image} cannot be asked: {reason}\nBuild it by deploy/images/hiper/Dockerfile, upon Debian.")
    return done.stdout


def _components(answers: dict[str, Any], wheel: dict[str, Any]) -> Iterator[Component]:
    system, python = answers["system"], answers["python"]
    yield _component("operating-system", system["ID"], system["VERSION_ID"], None)
    cpe = f"cpe:2.3:a:python:python:{python}:*:*:*:*:*:*:*"
    yield _component("application", "python", python, PackageURL("generic", name="python", version=python)) | {
        "cpe": cpe
    }
    yield from _python_packages(answers["packages"], wheel)
    yield from _debian_packages(answers["debian"], f"{system['ID']}-{system['VERSION_ID']}")


def _python_packages(installed: list[tuple[str, str]], wheel: dict[str, Any]) -> Iterator[Component]:
    known = {(one["name"], one["version"]): one for one in (wheel["metadata"]["component"], *wheel["components"])}
    for spelled, version in installed:
        name = re.sub(r"[-_.]+", "-", spelled).lower()  # PEP 503
        found = known.get((name, version), {})
        kept = {key: found[key] for key in ("licenses", "externalReferences") if key in found}
        kind = found.get("type", "library")
        yield _component(kind, name, version, PackageURL("pypi", name=name, version=version)) | kept


def _debian_packages(listing: str, distribution: str) -> Iterator[Component]:
    """Scanners match advisories by the source package: `upstream`, as syft writes it."""
    for line in listing.splitlines():
        status, name, version, architecture, source, source_version = line.split("\t")
        if not status.startswith("ii"):  # the rest of a package that was removed
            continue
        upstream = source if source_version == version else f"{source}@{source_version}"
        qualifiers = {"arch": architecture, "distro": distribution, "upstream": upstream}
        yield _component("library", name, version, PackageURL("deb", "debian", name, version, qualifiers))


def _component(kind: str, name: str, version: str, purl: PackageURL | None) -> Component:
    named = {"type": kind, "name": name, "version": version}
    return named | ({"bom-ref": str(purl), "purl": str(purl)} if purl else {"bom-ref": f"{name}@{version}"})


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
