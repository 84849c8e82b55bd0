"""A method is one new file: whatever lists, parses, checks or documents methods finds it there.

The file is the example of CONTRIBUTING.md, added to a copy of the code.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
COPIED = ("kdtune", "search_spaces", "trainables", "docs", "tests/objectives", "tests/conftest.py")
COPIED += ("tests/test_docs.py", "pyproject.toml")

IMPORTS = '''"""Regression of the teacher's logits, an example."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field
from torch import Tensor
from torch.nn import functional

from kdtune.contracts import Moment, Step
from kdtune.objectives.base import OBJECTIVES
from kdtune.objectives.guided import Guided


'''
TRIAL = """
from kdtune.config import ConfigError, parse
from kdtune.training.trial import run_trial

try:
    parse({"method": "logit_mse", "method.bta": 0.5})
except ConfigError as error:
    print(error)
config = parse({
    "method": "logit_mse", "method.beta": 0.5, "alpha": 0.0, "student": "resnet8x0.125",
    "teacher": "resnet8x0.125", "teacher.full_epochs": 1, "teacher.store": "teachers",
    "data.train_limit": 64, "train.epochs": 1, "train.device": "cpu",
})
found = run_trial(config)
print(found["weighted/mse"] == 0.5 * found["train/mse"] > 0)
"""


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the code with one file more."""
    folder = tmp_path_factory.mktemp("copy")
    skipped = shutil.ignore_patterns("__pycache__")
    for name in COPIED:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=skipped)
        else:
            shutil.copy(ROOT / name, folder / name)
    text = (ROOT / "CONTRIBUTING.md").read_text()
    example = re.search(r"### A method\n.*?```python\n(.*?)```", text, re.DOTALL)
    assert example is not None
    (folder / "kdtune/objectives/logit_mse.py").write_text(IMPORTS + example[1])
    return folder


def run(folder: Path, *arguments: str) -> str:
    """What Python prints in that folder, with its code before the installed one."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), "COLUMNS": "200", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def verb(folder: Path, *words: str) -> str:
    """What a verb of the command line prints."""
    program = f"import sys; from kdtune.cli import main; sys.argv = {['kdtune', *words]!r}; main()"
    return run(folder, "-c", program)


def test_it_is_listed(copy: Path) -> None:
    listed = verb(copy, "methods")
    assert re.search(r"logit_mse +temperature, alpha, .*method\.beta +CE \+ beta \* MSE", listed)


def test_it_is_documented(copy: Path) -> None:
    page = verb(copy, "methods", "--markdown")
    assert "### `logit_mse`\n\nRegression of the teacher's logits, an example." in page
    assert "| [`logit_mse`](#logit_mse) | `CE + beta * MSE of the logits`. |" in page


def test_it_is_parsed_and_trained(copy: Path) -> None:
    refusal, trained = run(copy, "-c", TRIAL).splitlines()
    assert "unknown key 'method.bta' for method 'logit_mse'; did you mean 'method.beta'?" in refusal
    assert trained == "True"


def test_the_laws_and_the_checks_of_the_docs_hold_for_it(copy: Path) -> None:
    tests = ("tests/objectives/test_laws.py", "tests/test_docs.py")
    options = ("-q", "-rA", "-p", "no:cacheprovider", "-k", "logit_mse or documented or stale")
    report = run(copy, "-m", "pytest", *options, *tests)
    assert "test_every_term_is_a_finite_scalar[logit_mse]" in report
    assert "test_whatever_registers_itself_is_on_the_page_that_is_written[logit_mse]" in report
    assert "failed" not in report
