"""Python and packages: what kdtune asks for, what they ask of each other, what is unsafe."""

import platform
from collections.abc import Iterator
from importlib import metadata
from typing import NamedTuple

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from kdtune.doctor.finding import Asked, Finding, fail, ok, warn

OURS = "kdtune"
INSTALL = "uv pip install -c constraints.txt -e ."


class Known(NamedTuple):
    """Versions that install and are better not used, though no package forbids them."""

    package: str
    versions: str
    why: str
    source: str


KNOWN = (
    Known(
        "torch", "<2.10", "a damaged checkpoint can overwrite memory", "CVE-2026-24747, 2026-01-27"
    ),
    Known(
        "mlflow",
        "<3.11",
        "whoever reaches its server can read files and overwrite models",
        "CVE-2026-2614, CVE-2026-2651 and CVE-2026-4137, 2026-05-11",
    ),
    Known(
        "starlette",
        "<1.0.1",
        "a forged Host header passes MLflow's checks",
        "CVE-2026-48710, 2026-05-26",
    ),
    Known("onnx", "<1.21", "a model can read files outside its folder", "CVE-2026-27489"),
)


def python(_: Asked) -> Iterator[Finding]:
    """The interpreter, against what the package declares."""
    found, wanted = platform.python_version(), metadata.metadata(OURS)["Requires-Python"]
    if SpecifierSet(wanted).contains(found, prereleases=True):
        yield ok(f"Python {found}")
    else:
        yield fail(
            f"Python {found}, and kdtune runs on {wanted}",
            "make another environment, such as: uv venv --python 3.12",
        )


def packages(_: Asked) -> Iterator[Finding]:
    """kdtune's own requirements, and those of everything that they bring."""
    broken = list(_broken(OURS, set()))
    for package, requirement, found in broken:
        text = f"{package} asks for {requirement}, and there is {found or 'none'}"
        if package == OURS:
            yield fail(text, INSTALL)
        else:
            yield warn(text, f"{INSTALL}, which has versions that fit each other")
    if not broken:
        shown = ("torch", "torchvision", "ray", "mlflow", "optuna", "numpy", "pyarrow")
        yield ok(", ".join(f"{name} {metadata.version(name)}" for name in shown))


def known_problems(_: Asked) -> Iterator[Finding]:
    """Versions that are known to be unsafe."""
    found = False
    for known in KNOWN:
        version = _version(known.package)
        if version and SpecifierSet(known.versions).contains(version, prereleases=True):
            found = True
            yield warn(
                f"{known.package} {version}: {known.why} ({known.source})",
                f"uv pip install -c constraints.txt '{known.package}>={known.versions[1:]}'",
            )
    if not found:
        yield ok(f"none of the {len(KNOWN)} versions that are known to be unsafe")


def _broken(package: str, seen: set[str]) -> Iterator[tuple[str, Requirement, str]]:
    """Requirements that are not met, of a package and of all that it needs."""
    seen.add(package)
    for text in metadata.requires(package) or ():
        requirement = Requirement(text)
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        name, found = canonicalize_name(requirement.name), _version(requirement.name)
        if not requirement.specifier.contains(found or "0", prereleases=True) or not found:
            yield package, requirement, found
        elif name not in seen:
            yield from _broken(name, seen)


def _version(package: str) -> str:
    """Empty if it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""
