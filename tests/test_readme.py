"""What the README shows in Python runs as it stands there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parent.parent / "README.md"
TESTED = re.compile(r"^<!-- tested -->\n+```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks() -> list[str]:
    """The Python blocks that are marked as tested, in their order."""
    found = TESTED.findall(README.read_text())
    assert found, f"{README} has no Python block behind a line '<!-- tested -->'"
    return list(found)


@pytest.mark.ray
@pytest.mark.slow
def test_the_python_of_the_readme_runs(tmp_path: Path) -> None:
    """All blocks in one process, as somebody would who tries them one after the other."""
    script = tmp_path / "reader.py"
    start = "import ray\n\nray.init('local', num_cpus=2, include_dashboard=False)\n"
    script.write_text("\n".join([start, *blocks()]))
    outside = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "TUNE_"))}
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path,
        env={**outside, "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "'augment':" in done.stdout.splitlines()[-1], "the last line shows a configuration"
