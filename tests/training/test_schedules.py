import pytest

from kdtune.config import TrainSettings
from kdtune.training.schedules import cycle_ends, early_stop_drops, first_drop, learning_rate


def test_step_milestones_are_shares_of_the_epochs() -> None:
    train = TrainSettings(epochs=240, lr=1.0, schedule="step", milestones="0.625,0.75,0.875")
    assert [learning_rate(train, e) for e in (149, 150, 180, 210)] == pytest.approx(
        [1, 0.1, 0.01, 0.001]
    )


def test_twice_the_epochs_put_the_milestones_twice_as_late() -> None:
    short = TrainSettings(epochs=100, schedule="step", milestones="0.3,0.6,0.9")
    long = TrainSettings(epochs=200, schedule="step", milestones="0.3,0.6,0.9")
    assert all(learning_rate(short, e) == learning_rate(long, 2 * e) for e in range(100))


@pytest.mark.parametrize(
    ("epochs", "drops"),
    [(35, (10, 20, 30)), (50, (15, 30, 45)), (65, (20, 40, 60)), (80, (25, 50, 75))],
)
def test_early_stopped_teachers_drop_where_cho2019_says(
    epochs: int, drops: tuple[int, ...]
) -> None:
    assert early_stop_drops(epochs) == drops


@pytest.mark.parametrize(
    ("schedule", "epoch"), [("step", 15), ("early_stop", 8), ("cosine", None), ("constant", None)]
)
def test_only_a_schedule_with_steps_has_a_first_drop(schedule: str, epoch: int | None) -> None:
    train = TrainSettings(epochs=30, schedule=schedule, milestones="0.5,0.75")  # type: ignore[arg-type]
    assert first_drop(train) == epoch
    if epoch is not None:
        assert learning_rate(train, epoch - 1e-6) == train.lr > learning_rate(train, epoch)


def test_the_cosine_falls_from_the_full_rate_to_nearly_none() -> None:
    train = TrainSettings(epochs=10, lr=0.4, schedule="cosine")
    rates = [learning_rate(train, e) for e in (0, 5, 9.999)]
    assert rates == pytest.approx([0.4, 0.2, 0], abs=1e-6)


def test_warmup_rises_linearly_to_the_full_rate() -> None:
    train = TrainSettings(epochs=10, lr=0.3, schedule="constant", warmup_epochs=2)
    rates = [learning_rate(train, e) for e in (0, 1, 2, 9)]
    assert rates == pytest.approx([0.1, 0.2, 0.3, 0.3])


def test_restarts_end_a_cycle_at_every_rung() -> None:
    train = TrainSettings(
        epochs=20, lr=1.0, schedule="cosine_restarts", first_cycle=2, cycle_factor=3
    )
    assert cycle_ends(2, 3, 20) == [2, 6, 18, 20]
    assert all(learning_rate(train, end - 1e-6) < 1e-6 for end in (2, 6, 18, 20))
    assert all(learning_rate(train, start) == 1.0 for start in (0, 2, 6, 18))
