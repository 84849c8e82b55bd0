"""Nobody waits for a library that is not used."""

import subprocess
import sys

import pytest

HEAVY = ("matplotlib", "mlflow", "optuna", "pandas", "plotly", "ray", "scipy", "sklearn", "torch")


@pytest.mark.parametrize(
    ("code", "needed"),
    [
        ("from kdtune.cli import app; app(['--help'], standalone_mode=False)", set()),
        ("from kdtune.cli import app; app(['spaces'], standalone_mode=False)", set()),
        ("import kdtune.contracts", set()),
        ("import kdtune.search.space", set()),
        ("import trainables", {"pandas", "ray", "torch"}),
    ],
)
def test_only_what_is_needed_is_imported(code: str, needed: set[str]) -> None:
    told = f"{code}\nimport sys\nprint('loaded:', *({{*{HEAVY}, 'triton'}} & {{*sys.modules}}))"
    found = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    assert set(found.stdout.splitlines()[-1].split()[1:]) == needed
