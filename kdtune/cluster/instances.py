"""Amazon's machines: which there are, and how many vCPUs and GPUs one has."""

import difflib
import re
from functools import cache
from typing import Any

_ONE_GPU = {"xlarge": 1, "2xlarge": 1, "4xlarge": 1, "8xlarge": 1, "16xlarge": 1}
GPUS: dict[str, dict[str, int]] = {
    "p3": {"2xlarge": 1, "8xlarge": 4, "16xlarge": 8},
    "p3dn": {"24xlarge": 8},
    "p4d": {"24xlarge": 8},
    "p4de": {"24xlarge": 8},
    "p5": {"4xlarge": 1, "48xlarge": 8},
    "p5e": {"48xlarge": 8},
    "p5en": {"48xlarge": 8},
    "p6-b200": {"48xlarge": 8},
    "g4dn": {**_ONE_GPU, "12xlarge": 4, "metal": 8},
    "g5": {**_ONE_GPU, "12xlarge": 4, "24xlarge": 4, "48xlarge": 8},
    "g6": {**_ONE_GPU, "12xlarge": 4, "24xlarge": 4, "48xlarge": 8},
    "g6e": {**_ONE_GPU, "12xlarge": 4, "24xlarge": 4, "48xlarge": 8},
    "gr6": {"4xlarge": 1, "8xlarge": 1},
}
"""NVIDIA GPUs of an instance by family and size (AWS, "Amazon EC2 instance types: accelerated
computing"); families that are not here are not judged."""

_GPU_FAMILY = re.compile(r"(g|gr|p)\d")
_ORDINARY_FAMILY = re.compile(r"[cmr][5-8][a-z]*$")


def gpus(instance: str) -> int | None:
    """NVIDIA GPUs of an instance type; None where that is not known here."""
    family, _, size = instance.partition(".")
    if not _GPU_FAMILY.match(family):
        return 0 if _ORDINARY_FAMILY.match(family) else None
    return GPUS.get(family, {}).get(size)


def vcpus(instance: str) -> int | None:
    """vCPUs of an instance type, four to an 'xlarge'; None where that is not known here."""
    family, _, size = instance.partition(".")
    if family not in GPUS and not _ORDINARY_FAMILY.match(family):
        return None
    count = re.fullmatch(r"(\d*)xlarge", size)
    return 4 * int(count[1] or 1) if count else None


def closest(instance: str, known: list[str]) -> str:
    """A sentence ending with the instance types that look most like a mistyped one."""
    close = difflib.get_close_matches(instance, known, n=3, cutoff=0.6)
    return f"; did you mean {' or '.join(repr(name) for name in close)}?" if close else ""


@cache
def ec2_model() -> Any:
    """EC2's own description of its requests, as botocore has it; None without botocore."""
    try:
        import botocore.session
    except ImportError:
        return None
    return botocore.session.get_session().get_service_model("ec2")


@cache
def regions() -> list[str]:
    """The regions that EC2 has, as botocore knows them."""
    import botocore.session

    return sorted(botocore.session.get_session().get_available_regions("ec2"))
