"""``kdtune cluster check``: what ships is right, and every mistake is named at its place."""

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from kdtune.cli import app
from kdtune.cluster import aws
from kdtune.cluster.check import check
from kdtune.cluster.description import read

ROOT = Path(__file__).parents[2]
GONE = object()
GPU, HEAD = "available_node_types.gpu_spot", "available_node_types.head"
JOB = "spec.rayClusterSpec"


@pytest.fixture(autouse=True)
def _a_checkout_with_a_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the user has it: the current folder is the checkout, and there is a token at home."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("0" * 64)


@pytest.mark.parametrize("name", ["cluster.yaml", "rayjob.yaml"])
def test_what_ships_has_no_mistake_and_says_what_to_fill_in(name: str) -> None:
    found = check(ROOT / name)
    assert {finding.level for finding in found} == {"to fill in"}
    assert len(found) >= 3


def test_every_key_of_the_launcher_file_is_explained() -> None:
    blocks = re.split(r"^(?=\w)", (ROOT / "cluster.yaml").read_text(), flags=re.MULTILINE)[1:]
    assert len(blocks) > 15
    assert [block.splitlines()[0] for block in blocks if "# " not in block] == []


@pytest.mark.parametrize(
    ("place", "value", "found_at", "words"),
    [
        ("cluster_name", GONE, "cluster_name", "'default'"),
        ("min_workers", 1, "min_workers", "dropped by Ray"),
        ("setup_commands", GONE, "setup_commands", "nightly"),
        ("head_start_ray_commands", GONE, "head_start_ray_commands", "0.0.0.0"),
        ("setup_comands", [], "setup_comands", "did you mean 'setup_commands'"),
        (f"{GPU}.resorces", {}, f"{GPU}.resorces", "did you mean 'resources'"),
        (f"{GPU}.resources.GPU", 0.5, f"{GPU}.resources.GPU", "integer"),
        (f"{GPU}.max_workers", 9, f"{GPU}.max_workers", "above the cluster's 8"),
        (f"{GPU}.min_workers", 20, "", "max_workers"),
        ("provider.type", "amazon", "", "Ray refuses"),
        ("provider.cache_stoped_nodes", False, "provider.cache_stoped_nodes", "did you mean"),
        ("provider.cache_stopped_nodes", GONE, "provider.cache_stopped_nodes", "must be false"),
        ("provider.region", "us-wset-2", "provider.region", "'us-west-2'"),
        ("provider.availability_zone", "us-east-1a", "provider.availability_zone", "us-west-2"),
        ("provider.aws_credentials", {"x": "y"}, "provider.aws_credentials", "role"),
        (f"{GPU}.node_config.InstanceType", "g5.2xlrge", f"{GPU}.node_config.InstanceType", "g5.2"),
        (f"{GPU}.node_config.ImageID", "ami-1", f"{GPU}.node_config.ImageID", "'ImageId'"),
        (f"{GPU}.node_config.ImageId", GONE, f"{GPU}.node_config.ImageId", "CUDA 11"),
        (f"{GPU}.node_config.SecurityGroupIds", GONE, f"{GPU}.node_config.SecurityGroupIds", "SSH"),
        (f"{GPU}.node_config.InstanceMarketOptions", {"MarkteType": "spot"}, None, "MarketType"),
        (f"{GPU}.resources.GPU", 2, f"{GPU}.resources.GPU", "has 1"),
        (f"{GPU}.resources.CPU", 16, f"{GPU}.resources.CPU", "has 8"),
        ("file_mounts", {"/x": "nowhere", "/h/.ray/auth_token": "."}, "file_mounts./x", "nowhere"),
        ("file_mounts", {}, "file_mounts", "auth_token"),
        ("docker.image", "rayproject/ray:latest", "docker.image", "moves"),
        ("docker.image", "rayproject/ray:2.6.0-py311", "docker.image", "another version"),
        ("setup_commands", ["pip install ray-3.0.0.dev0.whl"], "setup_commands.0", "nightly"),
        (
            "head_start_ray_commands",
            ["ray start --head --autoscaling-config=x --dashboard-host 0.0.0.0"],
            "head_start_ray_commands.0",
            "127.0.0.1",
        ),
        ("head_start_ray_commands", ["ray start --head"], "head_start_ray_commands", "autoscaling"),
        (
            "provider.security_group",
            {"IpPermissions": [{"IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]},
            "provider.security_group.IpPermissions.0.IpRanges.0.CidrIp",
            "whole internet",
        ),
        ("setup_commands", ["export HF_TOKEN=hf_" + "a" * 24], "setup_commands.0", "a token"),
        (f"{GPU}.resources.GPU", "AKIA" + "A" * 16, f"{GPU}.resources.GPU", "access key"),
        ("auth.ssh_private_key", "AKIA" + "A" * 16, "auth.ssh_private_key", "access key"),
    ],
)
def test_a_mistake_in_a_launcher_file_is_an_error_at_its_place(
    tmp_path: Path, place: str, value: object, found_at: str | None, words: str
) -> None:
    found = [f for f in check(_edited(tmp_path, "cluster.yaml", place, value))]
    errors = [f for f in found if f.level == "error"]
    named = [f for f in errors if words in f.text and found_at in (None, f.place)]
    assert named, errors
    assert not any("AAAAAAAA" in f.text or "aaaaaaaa" in f.text for f in found), "shows the secret"


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        (f"{GPU}.min_workers", 1, "all the time"),
        ("idle_timeout_minutes", GONE, "idle nodes cost"),
        ("idle_timeout_minutes", 600, "idle nodes cost"),
        (f"{HEAD}.resources", {"CPU": 8}, "beside the driver"),
        (f"{HEAD}.node_config.IamInstanceProfile", GONE, "all rights on EC2 and S3"),
        (f"{GPU}.node_config.InstanceType", "g5.12xlarge", "1 of the 4 GPUs"),
        ("docker.run_options", [], "RAY_AUTH_MODE=token"),
        ("setup_commands", ["pip install torch"], "without versions"),
    ],
)
def test_what_costs_money_or_is_open_is_a_warning(
    tmp_path: Path, place: str, value: object, words: str
) -> None:
    found = check(_edited(tmp_path, "cluster.yaml", place, value))
    assert {f.level for f in found} <= {"warning", "to fill in"}
    assert any(f.level == "warning" and words in f.text for f in found), found


@pytest.mark.parametrize(
    ("place", "value", "level", "words"),
    [
        ("spec.entrypont", "x", "error", "did you mean 'entrypoint'"),
        (f"{JOB}.headGroupSpec.serviceType", "LoadBalancer", "error", "port-forward"),
        (f"{JOB}.headGroupSpec.enableIngress", True, "error", "outside"),
        (f"{JOB}.rayVersion", "2.9.0", "error", "installed here"),
        (f"{JOB}.workerGroupSpecs.0.maxReplicas", GONE, "error", "two billion"),
        (f"{JOB}.workerGroupSpecs.0.replicas", 9, "error", "maxReplicas 4"),
        (
            f"{JOB}.workerGroupSpecs.0.template.spec.containers.0.resources",
            GONE,
            "error",
            "no limit of memory",
        ),
        (
            f"{JOB}.headGroupSpec.template.spec.containers.0.env",
            [{"name": "AWS_SECRET_ACCESS_KEY", "value": "x"}],
            "error",
            "Secret",
        ),
        ("spec.entrypoint", "kdtune search --storage s3://b/k", "error", "--resume"),
        ("spec.entrypoint", "kdtune search --resume", "error", "--storage"),
        ("spec.shutdownAfterJobFinishes", False, "warning", "cost"),
        (f"{JOB}.authOptions", GONE, "warning", "run code"),
        (f"{JOB}.workerGroupSpecs.0.minReplicas", 0.5, "error", "integer"),
    ],
)
def test_a_mistake_in_a_rayjob_is_found(
    tmp_path: Path, place: str, value: object, level: str, words: str
) -> None:
    found = check(_edited(tmp_path, "rayjob.yaml", place, value))
    assert any(f.level == level and words in f.text for f in found), found


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [", "not YAML"),
        ("- a", "one mapping"),
        ("a: 1\na: 2", "stands twice"),
        ("a: {on: 1}", "no text"),
        ("a: {[1]: 1}", "no text"),
        ("kind: Deployment", "RayJob"),
        ("\x00", "not YAML"),
    ],
)
def test_a_file_that_is_none_is_refused_with_the_reason(
    tmp_path: Path, text: str, words: str
) -> None:
    (tmp_path / "c.yaml").write_text(text)
    result = CliRunner().invoke(app, ["cluster", "check", str(tmp_path / "c.yaml")])
    assert result.exit_code == 2
    assert words in " ".join(result.output.split())


def test_the_exit_code_tells_errors_from_none(tmp_path: Path) -> None:
    run = CliRunner()
    assert run.invoke(app, ["cluster", "check"]).exit_code == 0
    broken = _edited(tmp_path, "cluster.yaml", "cluster_name", GONE)
    assert run.invoke(app, ["cluster", "check", str(broken)]).exit_code == 1
    assert run.invoke(app, ["cluster", "check", "nowhere.yaml"]).exit_code == 2


def test_without_boto3_what_cannot_be_checked_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kdtune.cluster.instances.ec2_model", lambda: None)
    assert {f.level for f in check(ROOT / "cluster.yaml")} == {"not checked", "to fill in"}


def test_the_keys_that_ray_reads_of_a_provider_are_the_known_ones() -> None:
    """A key that a newer Ray reads would be called unknown; this says so first."""
    import ray.autoscaler

    folder = Path(ray.autoscaler.__file__).parent / "_private" / "aws"
    pattern = re.compile(r"""(?:provider_config|\["provider"\])(?:\.get\(|\[)\s*"(\w+)\"""")
    read_by_ray = {key for f in folder.rglob("*.py") for key in pattern.findall(f.read_text())}
    assert len(read_by_ray) >= 6
    assert read_by_ray <= aws.PROVIDER_KEYS


def _edited(folder: Path, name: str, place: str, value: object) -> Path:
    """A copy of a shipped file with one change."""
    document: Any = copy.deepcopy(read(ROOT / name))
    at = document
    *way, last = [int(part) if part.isdigit() else part for part in place.split(".")]
    for part in way:
        at = at[part]
    if value is GONE:
        del at[last]
    else:
        at[last] = value
    file = folder / name
    file.write_text(yaml.safe_dump(document))
    return file
