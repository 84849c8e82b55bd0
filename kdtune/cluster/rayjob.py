"""KubeRay's ``RayJob``: its fields, and what is dangerous or costs money in it."""

import json
import shlex
from collections.abc import Iterator, Mapping
from importlib import resources
from typing import Any

import ray

from kdtune.cluster.description import command_findings, image_findings
from kdtune.cluster.finding import Finding, error, warning
from kdtune.cluster.schema import violations

_SECRET_WORDS = ("SECRET", "TOKEN", "PASSWORD", "ACCESS_KEY")


def findings(document: Mapping[str, Any]) -> list[Finding]:
    """All that is wrong with a ``RayJob``; one that KubeRay would refuse is not judged further."""
    schema = json.loads(resources.files(__package__).joinpath("rayjob.schema.json").read_text())
    found = list(violations(document, schema))
    if found:
        return found
    spec = document["spec"]
    cluster = spec["rayClusterSpec"]
    found += [*_job(spec), *_doors(cluster), *_workers(cluster)]
    for place, container in _containers(cluster):
        found += _container(place, container)
    return found


def _job(spec: Mapping[str, Any]) -> Iterator[Finding]:
    yield from command_findings("spec.entrypoint", spec["entrypoint"])
    try:
        words = shlex.split(spec["entrypoint"])
    except ValueError as problem:
        yield error("spec.entrypoint", f"is not a command: {problem}")
        return
    if spec.get("backoffLimit") and "search" in words and "--resume" not in words:
        yield error("spec.entrypoint", "is run again after a failure; add --resume to go on then")
    if "search" in words and "--storage" not in words:
        yield error("spec.entrypoint", "the results would go with the pods; add --storage s3://...")
    if not spec.get("shutdownAfterJobFinishes"):
        yield warning("spec.shutdownAfterJobFinishes", "not true: the pods stay, and cost")
    version = spec["rayClusterSpec"].get("rayVersion")
    if version != ray.__version__:
        text = f"'{version}', but Ray {ray.__version__} is installed here, for which this was made"
        yield error("spec.rayClusterSpec.rayVersion", text)


def _doors(cluster: Mapping[str, Any]) -> Iterator[Finding]:
    place = "spec.rayClusterSpec"
    head = cluster["headGroupSpec"]
    service = (head.get("headService") or {}).get("spec") or {}
    kinds = {"serviceType": head.get("serviceType"), "headService.spec.type": service.get("type")}
    for key, kind in kinds.items():
        if kind in ("LoadBalancer", "NodePort"):
            yield error(
                f"{place}.headGroupSpec.{key}", f"{kind} shows the dashboard, which runs any code, "
                "outside of the Kubernetes cluster; give ClusterIP and use kubectl port-forward"
            )  # fmt: skip
    if head.get("enableIngress"):
        text = "shows the dashboard, which runs any code, outside of the Kubernetes cluster"
        yield error(f"{place}.headGroupSpec.enableIngress", text)
    if (cluster.get("authOptions") or {}).get("mode") != "token":
        text = "not token: every pod of the Kubernetes cluster may run code on this one"
        yield warning(f"{place}.authOptions.mode", text)
    if str((head.get("rayStartParams") or {}).get("num-cpus")) != "0":
        text = 'not "0": trials run beside the driver, and one can take it down'
        yield warning(f"{place}.headGroupSpec.rayStartParams.num-cpus", text)


def _workers(cluster: Mapping[str, Any]) -> Iterator[Finding]:
    if not cluster.get("enableInTreeAutoscaling"):
        text = "not true: all replicas run, and cost, from the beginning to the end"
        yield warning("spec.rayClusterSpec.enableInTreeAutoscaling", text)
    for number, group in enumerate(cluster.get("workerGroupSpecs") or []):
        place = f"spec.rayClusterSpec.workerGroupSpecs.{number}"
        least, most = group.get("minReplicas", 0), group.get("maxReplicas")
        if most is None:
            yield error(f"{place}.maxReplicas", "is missing; KubeRay's default is two billion")
        elif not least <= group.get("replicas", least) <= most:
            text = f"must lie between minReplicas {least} and maxReplicas {most}"
            yield error(f"{place}.replicas", text)
        if least:
            yield warning(f"{place}.minReplicas", "so many pods run, and cost, all the time")


def _containers(cluster: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The containers that run Ray: the first of each pod."""
    groups = [("headGroupSpec", cluster["headGroupSpec"])]
    workers = cluster.get("workerGroupSpecs") or []
    groups += [(f"workerGroupSpecs.{number}", group) for number, group in enumerate(workers)]
    for name, group in groups:
        place = f"spec.rayClusterSpec.{name}.template.spec.containers.0"
        yield place, group["template"]["spec"]["containers"][0]


def _container(place: str, container: Mapping[str, Any]) -> Iterator[Finding]:
    yield from image_findings(f"{place}.image", container.get("image", ""), ray.__version__)
    limits = (container.get("resources") or {}).get("limits") or {}
    for kind in ("cpu", "memory"):
        if kind not in limits:
            text = f"no limit of {kind}; KubeRay tells Ray what a pod has from its limits"
            yield error(f"{place}.resources.limits.{kind}", text)
    for number, variable in enumerate(container.get("env") or []):
        name = variable["name"].upper()
        if variable.get("value") and any(word in name for word in _SECRET_WORDS):
            text = f"the value of {name} stands in the file; take it from a Secret (valueFrom)"
            yield error(f"{place}.env.{number}.value", text)
