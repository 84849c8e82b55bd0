"""What Ray lets pass in a cluster launcher file for AWS."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from kdtune.cluster import instances
from kdtune.cluster.finding import Finding, error, warning
from kdtune.registry import nearest

PROVIDER_KEYS = {
    "type",
    "region",
    "availability_zone",
    "aws_credentials",
    "cache_stopped_nodes",
    "cloudwatch",
    "disable_launch_config_check",
    "disable_node_updaters",
    "foreground_node_launch",
    "key_pair",
    "security_group",
    "use_external_head_ip",
    "use_internal_ips",
    "worker_liveness_check",
}
"""What Ray reads of ``provider``; it ignores all others."""

RAYS_OWN = {"SubnetIds"}
"""What Ray understands in a ``node_config`` beside EC2's request."""


def findings(config: Mapping[str, Any]) -> list[Finding]:
    """All that is wrong with the parts for AWS; the file passed Ray's validation."""
    found = [*_provider(config["provider"]), *_security(config)]
    model = instances.ec2_model()
    if model is None:
        text = "regions, node_config and instance types; pip install 'kdtune[cluster]'"
        found.append(Finding(level="not checked", place="", text=text))
    else:
        found += _region(config["provider"])
    for name, node in config["available_node_types"].items():
        place = f"available_node_types.{name}"
        if model is not None:
            found += _request(f"{place}.node_config", node["node_config"], model)
        found += _resources(place, node)
        found += _disks(f"{place}.node_config", node["node_config"])
    return found


def _provider(provider: Mapping[str, Any]) -> Iterator[Finding]:
    for key in sorted(set(provider) - PROVIDER_KEYS):
        hint = nearest(key, PROVIDER_KEYS)
        yield error(f"provider.{key}", f"unknown key '{key}', which Ray ignores{hint}")
    if not provider.get("region"):
        yield error("provider.region", "is missing")
    if provider.get("cache_stopped_nodes", True):
        yield error(
            "provider.cache_stopped_nodes", "must be false: Ray would stop nodes, not terminate "
            "them, and the disks of stopped ones go on costing"
        )  # fmt: skip
    if provider.get("aws_credentials"):
        yield error(
            "provider.aws_credentials", "Ray copies them to the head; give the head a role "
            "(IamInstanceProfile), and have your own in ~/.aws"
        )  # fmt: skip


def _region(provider: Mapping[str, Any]) -> Iterator[Finding]:
    region, zones = str(provider.get("region", "")), str(provider.get("availability_zone", ""))
    known = instances.regions()
    if region and region not in known:
        yield error("provider.region", f"no region '{region}'{instances.closest(region, known)}")
    for zone in filter(None, (zone.strip() for zone in zones.split(","))):
        if region and not re.fullmatch(re.escape(region) + "(-[a-z0-9-]+)?[a-z]", zone):
            text = f"'{zone}' is not a zone of {region}, as {region}a is"
            yield error("provider.availability_zone", text)


def _security(config: Mapping[str, Any]) -> Iterator[Finding]:
    for name, node in config["available_node_types"].items():
        asked = node["node_config"]
        place = f"available_node_types.{name}.node_config"
        if not (asked.get("SecurityGroupIds") or asked.get("NetworkInterfaces")):
            yield error(
                f"{place}.SecurityGroupIds", "is missing; Ray then makes a group that is open for "
                "SSH to the whole internet, whatever provider.security_group says"
            )  # fmt: skip
        if not asked.get("ImageId"):
            yield error(
                f"{place}.ImageId", "is missing; Ray then takes Ubuntu 18.04 with CUDA 11.2, too "
                "old for this PyTorch; give an image with an NVIDIA driver of 580 or newer"
            )  # fmt: skip
        if not asked.get("IamInstanceProfile"):
            rights = "all rights on EC2 and S3" if name == config["head_node_type"] else "none"
            text = f"is missing; the machine gets {rights}; name a profile for the bucket"
            yield warning(f"{place}.IamInstanceProfile", text)


def _request(place: str, asked: Mapping[str, Any], model: Any) -> Iterator[Finding]:
    """What EC2 would refuse of a ``node_config``, by its own description of the request."""
    from botocore.validate import ParamValidator

    shape = model.operation_model("RunInstances").input_shape
    own = {key: value for key, value in asked.items() if key not in RAYS_OWN}
    for key in sorted(set(own) - set(shape.members)):
        yield error(f"{place}.{key}", f"unknown key '{key}'{nearest(key, shape.members)}")
    own = {key: value for key, value in own.items() if key in shape.members}
    report = ParamValidator().validate({**own, "MinCount": 1, "MaxCount": 1}, shape)
    for line in report.generate_report().splitlines():
        yield error(place, line)
    known = list(model.shape_for("InstanceType").enum)
    instance = str(asked.get("InstanceType", ""))
    if not instance:
        yield error(f"{place}.InstanceType", "is missing")
    elif instance not in known:
        hint = instances.closest(instance, known) or "; a newer boto3 may know it"
        yield error(f"{place}.InstanceType", f"no instance type '{instance}'{hint}")


def _resources(place: str, node: Mapping[str, Any]) -> Iterator[Finding]:
    """What ``resources`` promise of a machine that does not have it."""
    instance = str(node["node_config"].get("InstanceType", ""))
    has = {"CPU": instances.vcpus(instance), "GPU": instances.gpus(instance)}
    for kind, there in has.items():
        asked = node["resources"].get(kind)
        if asked is None or there is None:
            continue
        if asked > there:
            text = f"{asked} {kind}s, but {instance} has {there}; trials would crowd it"
            yield error(f"{place}.resources.{kind}", text)
        elif kind == "GPU" and asked < there:
            text = f"{asked} of the {there} GPUs of {instance} are used; all cost"
            yield warning(f"{place}.resources.{kind}", text)


def _disks(place: str, asked: Mapping[str, Any]) -> Iterator[Finding]:
    disks = asked.get("BlockDeviceMappings")
    for number, disk in enumerate(disks if isinstance(disks, list) else []):
        ebs = disk.get("Ebs") if isinstance(disk, dict) else None
        if isinstance(ebs, dict) and ebs.get("DeleteOnTermination") is False:
            where = f"{place}.BlockDeviceMappings.{number}.Ebs.DeleteOnTermination"
            yield warning(where, "false: the disk stays, and costs, when the node is gone")
