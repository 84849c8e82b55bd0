"""Ray's cluster launcher file: Ray's own validation, and what Ray lets pass."""

import copy
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import ray
from ray.autoscaler._private.util import prepare_config, validate_config

from kdtune.cluster import aws
from kdtune.cluster.description import command_findings, image_findings
from kdtune.cluster.finding import Finding, error, warning
from kdtune.cluster.schema import joined, violations

COMMANDS = (
    "initialization_commands",
    "setup_commands",
    "head_setup_commands",
    "worker_setup_commands",
    "head_start_ray_commands",
    "worker_start_ray_commands",
)
DANGEROUS_IF_MISSING = {
    "cluster_name": "Ray calls it 'default', and two such clusters in one account are one",
    "max_workers": "Ray takes 2; it is the limit of the bill, so say it",
    "head_node_type": "Ray takes one of its own, and then starts its own default machines",
    "available_node_types": "Ray starts its own default machines, with disks of 256 GB",
    "setup_commands": "Ray's default installs a nightly Ray for another Python",
    "head_start_ray_commands": "Ray's default opens the dashboard, which runs any code, on 0.0.0.0",
    "worker_start_ray_commands": "Ray's default may not fit the head's command",
}
MANY_MINUTES = 30


def findings(config: dict[str, Any]) -> list[Finding]:
    """All that is wrong with a cluster launcher file, or costs money; a broken one is not judged
    further."""
    found = [*_missing(config), *_unknown_to_ray(config)]
    if any(finding.level == "error" for finding in found):
        return found
    found += [*_limits(config), *_mounts(config), *_commands(config), *_containers(config)]
    found += [*_token(config), *_costs(config)]
    if config["provider"].get("type") == "aws":
        return [*found, *aws.findings(config)]
    text = f"keys and machines of provider '{config['provider'].get('type')}'; only aws is known"
    return [*found, Finding(level="not checked", place="provider", text=text)]


def _missing(config: Mapping[str, Any]) -> Iterator[Finding]:
    if not isinstance(config.get("provider"), dict):
        yield error("provider", "is missing; give at least its type, as in 'type: aws'")
    for key, consequence in DANGEROUS_IF_MISSING.items():
        if config.get(key) is None:
            yield error(key, f"is missing; {consequence}")
    if "min_workers" in config:
        yield error("min_workers", "is dropped by Ray; set it for each node type")


def _unknown_to_ray(config: dict[str, Any]) -> list[Finding]:
    """What Ray's own preparation and validation refuse."""
    if not isinstance(config.get("provider"), dict):
        return []
    asked = {key: value for key, value in config.items() if key != "min_workers"}
    path = Path(os.path.dirname(ray.__file__)) / "autoscaler" / "ray-schema.json"
    broken = list(violations(asked, json.loads(path.read_text())))
    broken = [b for b in broken if "is a required property" not in b.text or b.place]
    if broken:
        return broken
    try:
        validate_config(prepare_config(copy.deepcopy(asked)))
    except Exception as problem:  # Ray raises what it likes, and all of it means: refused
        text = str(problem) or type(problem).__name__
        return [error("", f"Ray refuses the file: {text.splitlines()[0]}")]
    return []


def _limits(config: Mapping[str, Any]) -> Iterator[Finding]:
    limit = config["max_workers"]
    for name, node in config["available_node_types"].items():
        place = joined("available_node_types", name)
        most, least = node.get("max_workers"), node.get("min_workers", 0)
        if most is not None and most > limit:
            yield error(f"{place}.max_workers", f"{most} is above the cluster's {limit}")
        if least > (limit if most is None else most):
            yield error(f"{place}.min_workers", f"{least} is above the type's max_workers")
        if most is not None and most < 0:
            yield error(f"{place}.max_workers", f"must be 0 or more, got {most}")


def _mounts(config: Mapping[str, Any]) -> Iterator[Finding]:
    for remote, local in (config.get("file_mounts") or {}).items():
        path = Path(str(local)).expanduser()
        if not path.exists():
            token = (
                "; 'ray get-auth-token --generate' makes it" if path.name == "auth_token" else ""
            )
            yield error(joined("file_mounts", remote), f"there is no '{local}' here{token}")


def _commands(config: Mapping[str, Any]) -> Iterator[Finding]:
    owners = [("", config)]
    owners += [(f"available_node_types.{n}", t) for n, t in config["available_node_types"].items()]
    for owner, described in owners:
        for key in COMMANDS:
            for number, command in enumerate(described.get(key) or []):
                yield from command_findings(joined(owner, key, number), command)
    start = " ".join(config["head_start_ray_commands"])
    if "--autoscaling-config" not in start:
        yield error("head_start_ray_commands", "no --autoscaling-config; no worker would start")


def _containers(config: Mapping[str, Any]) -> Iterator[Finding]:
    docker = config.get("docker") or {}
    for key in ("image", "head_image", "worker_image"):
        if docker.get(key):
            yield from image_findings(f"docker.{key}", docker[key], ray.__version__)
    for name, node in config["available_node_types"].items():
        image = (node.get("docker") or {}).get("worker_image")
        if image:
            place = f"available_node_types.{name}.docker.worker_image"
            yield from image_findings(place, image, ray.__version__)


def _token(config: Mapping[str, Any]) -> Iterator[Finding]:
    docker = config.get("docker") or {}
    places = [*docker.get("run_options", []), *config["head_start_ray_commands"]]
    if not any("RAY_AUTH_MODE=token" in str(text) for text in places):
        yield warning(
            "", "without RAY_AUTH_MODE=token whoever reaches a node's ports runs code on it; set "
            "it in docker.run_options and mount ~/.ray/auth_token"
        )  # fmt: skip
    elif not any(str(path).endswith(".ray/auth_token") for path in config.get("file_mounts") or {}):
        yield error("file_mounts", "RAY_AUTH_MODE=token, but no node gets a ~/.ray/auth_token")


def _costs(config: Mapping[str, Any]) -> Iterator[Finding]:
    minutes = config.get("idle_timeout_minutes")
    if minutes is None or minutes == 0 or minutes > MANY_MINUTES:
        said = "is missing" if minutes is None else f"is {minutes}"
        yield warning("idle_timeout_minutes", f"{said}; idle nodes cost, so give 5 or 10")
    head = config["head_node_type"]
    for name, node in config["available_node_types"].items():
        place = f"available_node_types.{name}"
        if node.get("min_workers", 0) > 0:
            yield warning(f"{place}.min_workers", "so many nodes run, and cost, all the time")
        if name != head:
            continue
        resources = node["resources"]
        if resources.get("GPU"):
            yield warning(f"{place}.resources", "the head runs all the time, and its GPU costs")
        if resources.get("CPU", 1):
            text = "trials run beside the driver; with 'CPU: 0' none can take it down"
            yield warning(f"{place}.resources", text)
