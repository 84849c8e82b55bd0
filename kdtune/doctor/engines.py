"""torch, its GPU, and Ray: each does a little work in a process of its own."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from kdtune.doctor.child import NoAnswer, answer
from kdtune.doctor.finding import Asked, Finding, fail, ok, warn

TORCH = """
import json, torch, torchvision
boxes = torch.tensor([[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 1.0]])
kept = torchvision.ops.nms(boxes, torch.tensor([1.0, 0.5]), 0.5)
print(json.dumps([torch.__version__, torchvision.__version__, kept.tolist()]))
"""
GPU = """
import json, torch
found = {"built": torch.version.cuda, "names": [], "error": ""}
try:
    if torch.version.cuda:
        torch.cuda.init()
        for place in range(torch.cuda.device_count()):
            square = torch.ones(64, 64, device=f"cuda:{place}")
            assert (square @ square).sum().item() == 64.0**3
            found["names"].append(torch.cuda.get_device_name(place))
except Exception as error:
    found["error"] = str(error).splitlines()[0]
print(json.dumps(found))
"""
RAY = """
import json, sys
from kdtune.search.cluster import connected
with connected(sys.argv[1]):
    import ray
    computed = ray.get(ray.remote(lambda: 6 * 7).remote())
    assert computed == 42, computed
    print(json.dumps(ray.cluster_resources()))
"""
CPU_TORCH = "--index-url https://download.pytorch.org/whl/cpu"


def torch(asked: Asked) -> Iterator[Finding]:
    """Whether torch and torchvision fit: an operator of torchvision's own is run."""
    try:
        ours, vision, kept = answer(TORCH, timeout_s=asked.timeout_s)
    except NoAnswer as reason:
        yield fail(
            f"torch with torchvision: {reason}",
            "install both from the same index, as wheels for CUDA and for CPU alone do not mix: "
            f"uv pip install -c constraints.txt --reinstall torch torchvision (or {CPU_TORCH})",
        )
        return
    if kept == [0]:
        yield ok(f"torch {ours} and torchvision {vision} compute")
    else:
        yield fail(
            f"torchvision {vision} kept boxes {kept} of two equal ones, not [0]",
            "uv pip install -c constraints.txt --reinstall torch torchvision",
        )


def gpu(asked: Asked) -> Iterator[Finding]:
    """Whether each GPU that torch sees multiplies matrices, and whether it sees those there are."""
    try:
        found = answer(GPU, timeout_s=asked.timeout_s)
    except NoAnswer as reason:
        yield fail(
            f"GPU: {reason}", "see what 'python -c \"import torch; torch.cuda.init()\"' says"
        )
        return
    there = _of_driver()
    if found["names"] and not found["error"]:
        yield ok(f"{len(found['names'])} usable: {', '.join(found['names'])}")
    elif there and not found["built"]:
        yield warn(
            f"there is {there}, and this torch is built for CPUs alone",
            "uv pip install -c constraints.txt --reinstall torch torchvision, from PyPI",
        )
    elif there:
        yield fail(
            f"there is {there}, and torch (CUDA {found['built']}) cannot use it: {found['error']}",
            "update NVIDIA's driver, or install a torch for an older CUDA; --gpus-per-trial 0 "
            "goes without",
        )
    else:
        yield ok("none; trials run on CPUs")


def _of_driver() -> str:
    """The GPUs that NVIDIA's own tool lists; empty where there is none."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ""
    asked = [tool, "--query-gpu=name,driver_version", "--format=csv,noheader"]
    done = subprocess.run(asked, capture_output=True, text=True, timeout=30, check=False)
    return "; ".join(done.stdout.strip().splitlines()) if done.returncode == 0 else ""


def ray_token(_: Asked) -> Iterator[Finding]:
    """Whether Ray asks for a token, and nobody else can read it."""
    file = Path(os.environ.get("RAY_AUTH_TOKEN_PATH", Path.home() / ".ray" / "auth_token"))
    if os.environ.get("RAY_AUTH_MODE") == "disabled":
        yield warn(
            "RAY_AUTH_MODE=disabled: whoever reaches Ray's ports runs code as this user",
            "unset RAY_AUTH_MODE, or use RAY_AUTH_MODE=token; see SECURITY.md",
        )
    elif file.is_file() and file.stat().st_mode & 0o077:
        yield warn(f"other users of this machine may read '{file}'", f"chmod 600 '{file}'")
    else:
        yield ok(f"'{file}' is this user's" if file.is_file() else "made by the first Ray")


def ray(asked: Asked) -> Iterator[Finding]:
    """Whether Ray starts, or lets us in, and runs a task."""
    if not asked.start_ray:
        yield ok("not asked for")
        return
    where = f"at '{asked.address}'" if asked.address else "started here"
    try:
        found = answer(RAY, timeout_s=asked.timeout_s, arguments=(asked.address,))
    except NoAnswer as reason:
        yield fail(
            f"Ray {where}: {reason}",
            "give --address as 'ray start' printed it, and RAY_AUTH_MODE=token with the cluster's "
            "token"
            if asked.address
            else "end what is left of earlier ones ('ray stop'), and see the logs in "
            "/tmp/ray/session_latest/logs",
        )
        return
    cpus, gpus = found.get("CPU", 0), found.get("GPU", 0)
    if cpus:
        yield ok(f"{where} it runs tasks, with {cpus:g} CPUs and {gpus:g} GPUs")
    else:
        yield warn(f"Ray {where} has no CPUs now", "start a worker node, or let it scale up")
