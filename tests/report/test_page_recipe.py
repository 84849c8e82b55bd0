"""The recipe that the report offers can be pasted, and is the one that was found."""

import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from recorded import FIXED, Recorded, rising, whole_search
from typer.testing import CliRunner

from kdtune.cli import app
from kdtune.config import parse
from kdtune.contracts import Scalar
from kdtune.report.page.answer import recommended
from kdtune.report.page.facts import Facts, recipe
from kdtune.report.page.recipe import Recipe
from kdtune.report.page.recipe import recipe as recipe_to_paste
from kdtune.search.request import SearchRequest
from kdtune.search.space import load

BUDGET: dict[str, Scalar] = {"train.epochs": 8, "teacher.store": "/data/results/teachers"}


def pasted(made: Recorded) -> Recipe:
    facts = Facts.of(made.record())
    found = recipe_to_paste(facts, recommended(facts))
    assert found is not None
    return found


def request_of(command: str, monkeypatch: pytest.MonkeyPatch) -> SearchRequest:
    """What ``kdtune`` would run."""
    asked: list[SearchRequest] = []

    def run_search(request: SearchRequest, **_: Any) -> int:
        asked.append(request)
        return 0

    monkeypatch.setattr("kdtune.search.session.run_search", run_search)
    program, *words = shlex.split(command.replace("\\\n", " "))
    assert program == "kdtune"
    outcome = CliRunner().invoke(app, words)
    assert outcome.exit_code == 0, outcome.output
    return asked[0]


def only_recipe(request: SearchRequest) -> dict[str, Scalar]:
    """The one configuration that is left of the space of a request."""
    (arm,) = request.space.arms
    assert not request.space.active(arm.name)
    config = request.space.sample(np.random.default_rng(0))
    return recipe(parse(config).flat())


def test_the_command_searches_the_one_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    request = request_of(pasted(whole_search()).command, monkeypatch)
    best = recommended(Facts.of(whole_search().record()))
    assert best is not None
    assert only_recipe(request) == best.config
    assert (request.trials, request.finalists, request.finalist_seeds) == (1, 1, 5)
    assert request.seed == 0


@pytest.mark.parametrize("arm", load("joint").arm_names)
def test_the_command_finds_the_arm_of_a_joint_space(
    arm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = load("joint").with_overrides({**BUDGET, "dataset": "digits"})
    drawn = parse(space.sample(np.random.default_rng(1), arm)).flat()
    made = Recorded(params={**space.fixed, "search.seed": 3}, tags={"space": "joint"})
    made.trial(*rising(0.5), tags={"space.arm": "kd"})
    made.plain_trial(drawn, *rising(0.9), tags={"space.arm": arm})
    request = request_of(pasted(made.end()).command, monkeypatch)
    assert request.space.arm_names == [arm]
    assert only_recipe(request) == recipe(drawn)
    assert (request.seed, request.storage) == (3, Path("/data/results"))


def test_the_code_holds_the_whole_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[Any, dict[str, Scalar]]] = []
    monkeypatch.setattr("ray.tune.run", lambda run, config: calls.append((run, config)))
    exec(pasted(whole_search()).code, {})
    ((trainable, config),) = calls
    assert trainable.__name__ == "Distill"
    best = recommended(Facts.of(whole_search().record()))
    assert best is not None
    assert recipe(parse(config).flat()) == best.config
    assert (config["role"], config["seed"]) == ("finalist", 1)


def test_the_student_that_is_exported_is_of_the_seed_that_validation_likes() -> None:
    made = Recorded()
    made.trial(*rising(0.9))
    made.final("finalist 1", [0.9], val=0.8)
    made.final("finalist 1", [None, 0.8], val=0.9)
    folder = "/somewhere/kdtune-results/made-up"
    assert pasted(made).export == f"kdtune export {folder}/students/finalist-1-seed-2"


def test_a_folder_that_is_known_is_not_guessed() -> None:
    facts = Facts.of(whole_search().record())
    found = recipe_to_paste(facts, recommended(facts), Path("/elsewhere/made up"))
    assert found is not None
    assert found.export == "kdtune export '/elsewhere/made up/students/finalist-2-seed-1'"


def test_without_finalists_the_recipe_is_the_best_trial() -> None:
    made = Recorded(params=FIXED)
    made.trial(*rising(0.5))
    made.trial(*rising(0.9), temperature=2.5)
    found = pasted(made.end())
    assert found.name == "trial 1"
    assert "--set temperature=2.5" in found.command
    assert found.export == ""


def test_without_a_space_there_is_no_command() -> None:
    made = Recorded(tags={"space": ""})
    made.trial(*rising(0.5))
    assert pasted(made).command == ""
