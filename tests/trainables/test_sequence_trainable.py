"""Sequence as Tune drives it: in this process where that is enough, under Tune where it is not."""

from pathlib import Path
from typing import Any

import pytest
from ray import tune

from kdtune.training.sequence import SequenceTrial, parse_sequence
from trainables import Sequence

EPOCHS = 2
MEASURED = (
    "val/",
    "train/",
    "generation",
    "scratch/val",
    "ensemble/",
    "test/",
    "epoch",
    "finished",
)

Report = dict[str, Any]


@pytest.fixture
def flat(tmp_path: Path) -> dict[str, Any]:
    """A tiny sequence with a store of its own."""
    return {
        "chain": "resnet8x0.25,resnet8x0.125",
        "teacher.store": str(tmp_path / "store"),
        "data.train_limit": 200,
        "train.epochs": EPOCHS,
        "train.device": "cpu",
    }


def measured(result: Report) -> Report:
    own = {key: value for key, value in result.items() if key.startswith(MEASURED)}
    own.pop("generation_keys", None)
    return own


def steps(trainable: Sequence, count: int | None = None) -> list[Report]:
    """The reports of so many steps, or of all until it is done."""
    reports: list[Report] = []
    while len(reports) != count and not (reports and reports[-1]["done"]):
        reports.append(trainable.train())
    return reports


def undisturbed(flat: dict[str, Any], store: Path) -> list[Report]:
    """What the sequence reports without Ray, from an empty store."""
    trial = SequenceTrial(parse_sequence({**flat, "teacher.store": str(store)}))
    reports = []
    while not trial.finished:
        reports.append(measured(dict(trial.next_epoch())))
    return reports


def test_a_step_is_an_epoch_and_the_last_one_names_the_networks(
    flat: dict[str, Any], tmp_path: Path
) -> None:
    reports = steps(Sequence(flat))
    assert [measured(report) for report in reports] == undisturbed(flat, tmp_path / "other")
    keys = reports[-1]["generation_keys"].split(",")
    assert len(keys) == 2
    assert all(any((tmp_path / "store" / key).glob("*.safetensors")) for key in keys)
    assert not any(key.startswith("test/") for report in reports for key in report)


def test_a_finalist_is_tested_in_its_last_report_alone(flat: dict[str, Any]) -> None:
    reports = steps(Sequence({**flat, "role": "finalist"}))
    assert ["test/accuracy" in report for report in reports] == [False] * 7 + [True]
    assert "ensemble/generations_test_accuracy" in reports[-1]


def test_a_reused_actor_takes_up_a_paused_sequence_bit_for_bit(
    flat: dict[str, Any], tmp_path: Path
) -> None:
    actor = Sequence(flat)
    begun = steps(actor, 3)
    actor.save(str(tmp_path / "checkpoint"))
    assert actor.reset({**flat, "seed": 1, "ensembles": False})
    steps(actor, 1)
    assert actor.reset(dict(flat))
    actor.restore(str(tmp_path / "checkpoint"))
    reports = [measured(report) for report in [*begun[:-1], *steps(actor)]]
    assert reports == undisturbed(flat, tmp_path / "other")


def test_a_bad_configuration_is_an_error_of_the_first_step(flat: dict[str, Any]) -> None:
    actor = Sequence({**flat, "chain": "resnet8"})
    with pytest.raises(ValueError, match="chain must have 2 networks at least"):
        actor.train()


@pytest.mark.ray
@pytest.mark.usefixtures("ray_session")
def test_tune_run_takes_chains_as_a_grid(flat: dict[str, Any], tmp_path: Path) -> None:
    chains = ["resnet8x0.25,resnet8x0.125", "resnet8x0.125*2"]
    analysis = tune.run(
        Sequence,
        config={**flat, "chain": tune.grid_search(chains)},
        metric="val/accuracy",
        mode="max",
        storage_path=str(tmp_path / "tune"),
        reuse_actors=True,
        max_concurrent_trials=1,
        verbose=0,
    )
    results = {trial.config["chain"]: trial.last_result for trial in analysis.trials}
    assert set(results) == set(chains)
    assert all(result["epoch"] == 4 * EPOCHS for result in results.values())
    for chain, result in results.items():
        alone = undisturbed({**flat, "chain": chain}, tmp_path / chain.replace("*", "x"))
        # The scratch networks of the second chain are those of the first, loaded.
        assert result["val/accuracy"] == alone[-1]["val/accuracy"]
        assert result["ensemble/scratch_accuracy"] == alone[-1]["ensemble/scratch_accuracy"]
