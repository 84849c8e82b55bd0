"""Where a search came from: who ran what, at which commit, with which versions."""

import getpass
import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path

PACKAGES = ("torch", "ray", "optuna", "mlflow", "kdtune")
GIT_TIMEOUT_S = 5.0


def versions() -> dict[str, str]:
    """Versions of Python and of the packages a result depends on; absent ones are left out."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def git_state(path: Path) -> dict[str, str]:
    """``commit`` and ``dirty`` (``true`` if tracked files differ from it) of the checkout at path.

    Empty where there is no repository, no commit, or no git.
    """
    commit = _git(path, "rev-parse", "HEAD")
    if not commit:
        return {}
    changed = _git(path, "status", "--porcelain", "--untracked-files=no")
    return {"commit": commit, "dirty": "true" if changed else "false"}


def _git(path: Path, *words: str) -> str:
    # Without optional locks, a look at the status never gets in the way of a commit.
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
    try:
        done = subprocess.run(
            ["git", "-C", str(path), *words],
            capture_output=True,
            text=True,
            env=environment,
            timeout=GIT_TIMEOUT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def origin_tags(path: Path) -> dict[str, str]:
    """MLflow's own tags for user, source and commit, which its UI shows beside every run."""
    tags = {"mlflow.user": _user(), "mlflow.source.type": "LOCAL"}
    tags["mlflow.source.name"] = Path(sys.argv[0]).name if sys.argv and sys.argv[0] else "python"
    state = git_state(path)
    if state:
        tags["mlflow.source.git.commit"] = state["commit"]
        tags["git.dirty"] = state["dirty"]
    return tags


def version_tags() -> dict[str, str]:
    """``versions()`` as tags, ``version.torch`` and so on."""
    return {f"version.{name}": version for name, version in versions().items()}


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return "unknown"
