"""A cluster's description, judged offline."""

from dataclasses import replace
from pathlib import Path

from kdtune.cluster import launcher, rayjob
from kdtune.cluster.description import common_findings, read, redacted
from kdtune.cluster.finding import Finding

ORDER = {"error": 0, "warning": 1, "not checked": 2, "to fill in": 3}


def check(path: Path) -> list[Finding]:
    """What is wrong with, costs money in, or is to be filled in a cluster's description.

    Args:
        path: A file of Ray's cluster launcher, or a ``RayJob`` of KubeRay. Files that it mounts are
            looked for from the current folder, as ``ray up`` does.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is neither.
    """
    document = read(path)
    kind = document.get("kind")
    if kind is None:
        found = launcher.findings(document)
    elif kind == "RayJob":
        found = rayjob.findings(document)
    else:
        raise ValueError(
            f"'{path}' has the kind '{kind}'; known are Ray's cluster files and KubeRay's RayJob"
        )
    found += common_findings(document)
    found = [replace(finding, text=redacted(finding.text)) for finding in found]
    return sorted(found, key=lambda finding: ORDER[finding.level])
