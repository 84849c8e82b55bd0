"""A file that describes a cluster: read strictly, and searched for what should not be in it."""

import re
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from kdtune.cluster.finding import Finding, error, warning
from kdtune.cluster.schema import joined

PLACEHOLDER = "REPLACE"
MAX_BYTES = 1_000_000
LOOPBACK = {"127.0.0.1", "localhost", "::1"}
OPEN_TO_ALL = {"0.0.0.0/0", "::/0"}
SECRETS = {
    "an AWS access key": re.compile(r"\b(AKIA|ASIA)[0-9A-Z]{16}\b"),
    "a private key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
    "a token": re.compile(r"\b(ghp_|gho_|github_pat_|hf_|glpat-|xox[bp]-)[A-Za-z0-9_-]{16,}"),
    "a password in an address": re.compile(r"://[^/\s:@]+:[^/\s@$]+@"),
    "a secret in an environment variable": re.compile(
        r"\b\w*(SECRET|TOKEN|PASSWORD|ACCESS_KEY)\w*=(?![\s$\"']|$)[^\s]{6,}", re.IGNORECASE
    ),
}
_SECRET_NAME = re.compile(r"(^|_)(secret|token|password|access_?key(_id)?)$", re.IGNORECASE)
_HOST = re.compile(r"--(?:dashboard-)?host[= ]+(\S+)")


def read(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is not one YAML mapping, has a key twice, or is larger than a megabyte.
    """
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"'{path}' is larger than a megabyte; a cluster is described in less")
    try:
        document = yaml.load(path.read_text(encoding="utf-8"), Loader=_Strict)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as problem:
        raise ValueError(f"'{path}' is not YAML: {problem}") from problem
    if not isinstance(document, dict):
        raise ValueError(f"'{path}' must hold one mapping, as Ray's cluster files do")
    return document


class _Strict(yaml.SafeLoader):  # type: ignore[misc]  # PyYAML has no types
    """YAML of plain data, whose keys are texts and stand once: the first would be lost silently."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[str, Any]:
        written: set[str] = set()
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                continue
            if key.tag != "tag:yaml.org,2002:str":
                self._refuse(key, "is no text; put it into quotes")
            if key.value in written:
                self._refuse(key, "stands twice")
            written.add(key.value)
        made: dict[str, Any] = super().construct_mapping(node, deep=deep)
        return made

    def _refuse(self, key: yaml.Node, reason: str) -> None:
        text = f"the key '{key.value}' {reason}"
        raise yaml.constructor.ConstructorError(None, None, text, key.start_mark)


def strings(document: object) -> Iterator[tuple[str, str]]:
    """Every string with its place; what an alias repeats comes once."""
    seen: set[int] = set()
    waiting: deque[tuple[str, object]] = deque([("", document)])
    while waiting:
        place, value = waiting.popleft()
        if isinstance(value, str):
            yield place, value
        elif isinstance(value, dict | list) and id(value) not in seen:
            seen.add(id(value))
            items = value.items() if isinstance(value, dict) else enumerate(value)
            waiting += [(joined(place, key), item) for key, item in items]


def common_findings(document: Mapping[str, Any]) -> Iterator[Finding]:
    """What is wrong in a description of any kind: secrets, open networks, placeholders."""
    asked: set[str] = set()
    for place, text in strings(document):
        for word in re.findall(rf"[^\s\"']*{PLACEHOLDER}[^\s\"']*", text):
            if word not in asked:
                asked.add(word)
                yield Finding(level="to fill in", place=place, text=word)
        if text.strip() in OPEN_TO_ALL:
            yield error(place, f"{text} is the whole internet; give the network that you come from")
        for kind, pattern in SECRETS.items():
            if pattern.search(text):
                yield error(
                    place, f"{kind} stands in the file; whoever gets the file gets it, so give the "
                    "machine a role, or mount a file that is not in the repository"
                )  # fmt: skip
        key = place.rsplit(".", 1)[-1]
        if _SECRET_NAME.search(key) and text and not re.match(r"[~/.$]", text):
            yield error(place, "a secret stands in the file; refer to one that is kept elsewhere")


def redacted(text: str) -> str:
    """The text without the secrets that it may quote."""
    for pattern in SECRETS.values():
        text = pattern.sub("***", text)
    return text


def command_findings(place: str, command: str) -> Iterator[Finding]:
    """What is wrong with a shell command: unfinished versions of Ray, doors that it opens."""
    if "ray-wheels/latest" in command or "3.0.0.dev0" in command:
        yield error(place, "installs a nightly Ray; pin the version that constraints.txt has")
    elif re.search(r"pip install\b(?!.*(-c |==|-r ))", command):
        yield warning(place, "installs packages without versions; add -c constraints.txt")
    for host in _HOST.findall(command):
        if host.strip("'\"") not in LOOPBACK:
            yield error(
                place, f"opens a port on {host}, which others than this machine reach; bind it to "
                "127.0.0.1 and look at it through 'ray dashboard' or 'ssh -L'"
            )  # fmt: skip


def image_findings(place: str, image: object, ray_version: str) -> Iterator[Finding]:
    """What is wrong with a container image: no version, or another Ray than the one here."""
    tag = str(image).rpartition("/")[2].partition(":")[2]
    if not tag or tag == "latest" or "nightly" in tag:
        yield error(place, f"'{image}' moves; give the tag of Ray {ray_version}")
    elif not re.search(rf"(^|[^0-9.]){re.escape(ray_version)}($|[^0-9.])", tag):
        yield error(
            place, f"the tag of '{image}' does not name Ray {ray_version}, the one installed here; "
            "Ray refuses nodes of another version"
        )  # fmt: skip
