import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from runs import advance, reports, rest

from kdtune.config import ConfigError, parse
from kdtune.students import load_student
from kdtune.teachers.store import TeacherStore
from kdtune.training.data import load_trial_data
from kdtune.training.delivery import deliver
from kdtune.training.finetune import RECIPE, finetune, finetune_trial, with_errors
from kdtune.training.initial import initial_network
from kdtune.training.trial import Trial

DIGITS = {"data.train_limit": 300, "train.device": "cpu"}
CLASSES = ("dark", "grey", "light")


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student of the digits, trained for a while."""
    return _saved(tmp_path_factory.mktemp("student"), {"train.epochs": 12})


@pytest.fixture(scope="module")
def pruned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student without half of the filters that can go."""
    return _saved(tmp_path_factory.mktemp("pruned"), {"train.epochs": 2, "prune_ratio": 0.5})


@pytest.fixture
def shades(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Three classes of grey images, told apart by their brightness."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return _folder(tmp_path / "shades", "L", side=12)


def _saved(folder: Path, settings: dict[str, Any]) -> Path:
    flat = {"student": "resnet8x0.25", "method": "scratch", "role": "finalist", **DIGITS}
    trial = Trial(parse({**flat, **settings}))
    rest(trial)
    deliver(trial, folder, {})
    return folder


def _folder(root: Path, mode: str, *, side: int) -> str:
    draws = np.random.default_rng(0)
    for split, count in (("train", 20), ("test", 6)):
        for shade, name in enumerate(CLASSES):
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = draws.integers(80 * shade, 80 * shade + 90, (side, side), dtype=np.uint8)
                image = Image.fromarray(pixels).convert(mode)
                image.save(root / split / name / f"{number}.png")
    return f"folder:{root}"


def _flat(init: Path | str, **more: Any) -> dict[str, Any]:
    return {**DIGITS, "init": str(init), "train.epochs": 2, **more}


def test_the_recipe_cuts_the_rate_by_ten_every_three_epochs(student: Path) -> None:
    config = finetune_trial({"init": str(student), "train.device": "cpu"})
    assert (config.train.epochs, config.train.lr, config.method) == (12, 0.1, "scratch")
    history = reports(finetune_trial(_flat(student, **{"train.epochs": 12})).flat())
    assert [report["lr"] for report in history] == pytest.approx(
        [rate for rate in (0.1, 0.01, 0.001, 0.0001) for _ in range(3)]
    )


def test_all_but_the_classifier_starts_as_it_was(student: Path) -> None:
    trial = Trial(finetune_trial(_flat(student)))
    model, _ = load_student(student)
    before, now = model.state_dict(), trial.student.state_dict()
    new = [name for name in before if not torch.equal(before[name], now[name])]
    assert new == ["classifier.weight", "classifier.bias"]


def test_every_layer_is_trained(student: Path) -> None:
    trial = Trial(finetune_trial(_flat(student)))
    before = {name: p.detach().clone() for name, p in trial.student.named_parameters()}
    advance(trial, 1)
    assert all(not torch.equal(before[n], p) for n, p in trial.student.named_parameters())


def test_the_seed_draws_the_classifier(student: Path) -> None:
    heads = [
        Trial(finetune_trial(_flat(student, seed=seed))).student.get_submodule("classifier").weight
        for seed in (0, 0, 1)
    ]
    assert torch.equal(heads[0], heads[1])  # type: ignore[arg-type]
    assert not torch.equal(heads[0], heads[2])  # type: ignore[arg-type]


def test_what_was_learned_helps(student: Path) -> None:
    settings = {"train.epochs": 3, "train.lr": 0.05, "data.seed": 1}
    flat = finetune_trial(_flat(student, **settings)).flat()
    scratch = {key: value for key, value in flat.items() if key != "init"}
    assert reports(flat)[-1]["val/accuracy"] > reports(scratch)[-1]["val/accuracy"] + 0.1


def test_another_dataset_brings_its_classes_and_its_size(student: Path, shades: str) -> None:
    result = finetune(str(student), dataset=shades, seeds=(0, 1), settings={"train.device": "cpu"})
    assert result.config["student"] == "resnet8x0.25"
    assert result.best.metrics["val/accuracy"] > 0.8
    assert result.runs[0].metrics["test/top5_error"] == 0


def test_each_seed_is_a_run_that_is_tested_once_at_its_end(
    student: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tested: list[int] = []
    told: list[tuple[int, float]] = []
    test = Trial.test

    def count(trial: Trial) -> dict[str, float]:
        tested.append(trial.epoch)
        return test(trial)

    monkeypatch.setattr(Trial, "test", count)
    result = finetune(
        str(student),
        dataset="digits",
        seeds=(3, 5),
        settings={**DIGITS, "train.epochs": 2},
        on_epoch=lambda seed, metrics: told.append((seed, metrics["epoch"])),
    )
    assert tested == [2, 2]
    assert told == [(3, 1), (3, 2), (5, 1), (5, 2)]
    assert [run.seed for run in result.runs] == [3, 5]
    errors = [1 - run.metrics["test/accuracy"] for run in result.runs]
    spread = result.spread("test/top1_error")
    assert spread.mean == pytest.approx(statistics.fmean(errors))
    assert spread.std == pytest.approx(statistics.stdev(errors))
    assert spread.n == 2
    assert set(result.summary()) == {
        *("val/top1_error", "val/top5_error", "test/top1_error", "test/top5_error")
    }


def test_one_seed_has_no_deviation(student: Path) -> None:
    settings = {**DIGITS, "train.epochs": 1}
    result = finetune(str(student), dataset="digits", seeds=(0,), settings=settings)
    assert result.spread("val/top1_error").std is None


def test_the_run_that_validation_chooses_is_kept(student: Path, tmp_path: Path) -> None:
    settings = {**DIGITS, "train.epochs": 2}
    result = finetune(
        str(student), dataset="digits", seeds=(0, 1, 2), settings=settings, folder=tmp_path
    )
    scores = [run.metrics["val/accuracy"] for run in result.runs]
    assert result.best.seed == scores.index(max(scores))
    _, card = load_student(tmp_path)
    assert card.metadata["seed"] == result.best.seed
    assert card.metadata["test/accuracy"] == result.best.metrics["test/accuracy"]


def test_the_best_epoch_is_reported_beside_the_last(student: Path) -> None:
    history: list[float] = []
    result = finetune(
        str(student),
        dataset="digits",
        seeds=(0,),
        settings={**DIGITS, "train.epochs": 4},
        on_epoch=lambda _, metrics: history.append(metrics["val/accuracy"]),
    )
    metrics = result.runs[0].metrics
    assert metrics["val/accuracy"] == history[-1]
    assert metrics["val/best_accuracy"] == max(history)
    assert metrics["val/best_epoch"] == history.index(max(history)) + 1


def test_a_pruned_student_stays_as_small_as_it_is(pruned: Path, tmp_path: Path) -> None:
    small, card = load_student(pruned)
    result = finetune(str(pruned), dataset="digits", seeds=(0,), settings=DIGITS, folder=tmp_path)
    params = sum(p.numel() for p in small.parameters())
    assert result.runs[0].metrics["student/params"] == params
    tuned, new_card = load_student(tmp_path)
    assert sum(p.numel() for p in tuned.parameters()) == params
    assert new_card.pruned == card.pruned


def test_the_zeros_of_a_student_pruned_by_magnitude_stay(tmp_path: Path) -> None:
    settings = {"train.epochs": 2, "prune_ratio": 0.5, "prune.method": "magnitude"}
    sparse = _saved(tmp_path / "sparse", settings)
    finetune(str(sparse), dataset="digits", seeds=(0,), settings=DIGITS, folder=tmp_path / "tuned")
    before, tuned = (load_student(path)[0] for path in (sparse, tmp_path / "tuned"))
    convs = [n for n, m in before.named_modules() if isinstance(m, torch.nn.Conv2d)]
    kept = [model.get_submodule(n).weight for n in convs for model in (before, tuned)]
    pairs = list(zip(kept[::2], kept[1::2], strict=True))
    assert any((old == 0).any() for old, _ in pairs)  # type: ignore[union-attr, operator]
    assert all(torch.equal(old == 0, new == 0) for old, new in pairs)  # type: ignore[arg-type]
    assert all(not torch.equal(old, new) for old, new in pairs)  # type: ignore[arg-type]


def test_a_stored_teacher_serves_as_well(tmp_path: Path) -> None:
    store = {"teacher.store": str(tmp_path)}
    flat = {"student": "resnet8x0.125", "method": "scratch", "role": "teacher", **DIGITS, **store}
    trial = Trial(parse({**flat, "train.epochs": 1}))
    rest(trial)
    key = trial.publish()
    started = Trial(finetune_trial(_flat(f"store:{key}", **store)))
    weights, _ = TeacherStore(tmp_path).read(key)
    now = started.student.state_dict()
    new = {name for name in weights if not torch.equal(weights[name], now[name])}
    assert new == {"classifier.weight", "classifier.bias"}


def test_a_restored_fine_tuning_continues_bit_for_bit(student: Path, tmp_path: Path) -> None:
    flat = finetune_trial(_flat(student, **{"train.epochs": 3})).flat()
    advance(first := Trial(parse(flat)), 1).save(tmp_path)
    second = Trial(parse(flat))
    second.load(tmp_path)
    assert rest(second) == rest(first)


def test_distillation_may_start_from_a_finished_student(pruned: Path) -> None:
    teacher = {"teacher": "resnet8x0.5", "teacher.weights": "", "alpha": 0.0}
    config = finetune_trial({**_flat(pruned), "method": "kd", **teacher})
    network = initial_network(config, load_trial_data(config), seed=0)
    assert network.training
    assert all(p.requires_grad for p in network.parameters())


def test_nothing_is_drawn_from_the_global_generator(student: Path) -> None:
    torch.manual_seed(3)
    Trial(finetune_trial(_flat(student)))
    after = torch.rand(1)
    torch.manual_seed(3)
    assert torch.equal(after, torch.rand(1))


def test_errors_are_what_accuracies_leave() -> None:
    found = with_errors({"val/accuracy": 0.75, "val/top5": 1.0, "lr": 0.1})
    assert found == {
        **{"val/accuracy": 0.75, "val/top5": 1.0, "lr": 0.1},
        **{"val/top1_error": 0.25, "val/top5_error": 0.0},
    }


def test_other_channels_are_refused_before_any_work(
    student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    coloured = _folder(tmp_path / "colours", "RGB", side=8)
    with pytest.raises(ConfigError, match=r"reads images of 1 channel\(s\), and those of.* have 3"):
        finetune(str(student), dataset=coloured, seeds=(0,))


def test_a_network_of_a_fixed_size_is_refused_on_another(tmp_path: Path, shades: str) -> None:
    store = {"teacher.store": str(tmp_path / "store")}
    trial = Trial(
        parse({"student": "resnet8x0.125", "method": "scratch", "role": "teacher", **store})
    )
    state = {"conv_proj.weight": torch.zeros(8, 1, 2, 2), "heads.head.weight": torch.zeros(10, 8)}
    identity = {"config": {**trial.config.flat(), "student": "vit_b_16"}}
    key = TeacherStore(tmp_path / "store").publish(identity, state, val_accuracy=0.5)
    with pytest.raises(ValueError, match=r"vit_b_16"):
        finetune(f"store:{key}", dataset=shades, seeds=(0,), settings=store)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"init": None}, "init must name what is fine-tuned: the folder of a student"),
        ({"init": "store:0123"}, "no network '0123' in the teacher store"),
        ({"student": "resnet8"}, r"holds a resnet8x0\.25, and student is 'resnet8'"),
        ({"prune_ratio": 0.5}, r"prune_ratio must be 0 for fine-tuning, got 0\.5"),
        ({"role": "teacher"}, "a published teacher must start from 'store:' and a key"),
        ({"train.lrr": 0.1}, r"unknown key 'train\.lrr'"),
    ],
)
def test_a_fine_tuning_is_checked_before_any_work(
    student: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        Trial(finetune_trial({**_flat(student), **change}))


def test_a_pruned_student_is_not_pruned_again(pruned: Path) -> None:
    flat = {**RECIPE, **_flat(pruned), "student": "resnet8x0.25", "prune_ratio": 0.5}
    with pytest.raises(ConfigError, match="which is pruned already"):
        Trial(parse(flat))


def test_a_student_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no student in"):
        finetune(str(tmp_path / "nowhere"), dataset="digits")


@pytest.mark.parametrize("seeds", [(), (1, 1)])
def test_seeds_are_different_numbers(student: Path, seeds: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="seeds must be one or more different numbers"):
        finetune(str(student), dataset="digits", seeds=seeds)
