"""The pairwise effects that five papers claim, as factors, contrasts and the sign they expect."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from kdtune.contracts import Scalar

Settings = Mapping[str, Scalar]
Level = float | str | None
Sizes = Mapping[str, int]

ALONE, DISTILLED = "labels alone", "distilled"
WHOLE, PRUNED = "unpruned", "pruned"
ABSENT = "balanced"


@dataclass(frozen=True, kw_only=True)
class Factor:
    """What runs are sorted by.

    Attributes:
        name: What a person calls it.
        level: Of a run by its settings and the sizes of networks (parameters by name); None for a
            run that takes no part in the claim.
        owns: Settings that change with the factor; one that ends with a dot stands for its group.
        low: Levels that are its low side, in order of preference: the first that there is. Empty
            for numbers, whose sides are the least and the greatest.
    """

    name: str
    level: Callable[[Settings, Sizes], Level]
    owns: tuple[str, ...]
    low: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """A difference, or a difference of differences, between the sides of some factors.

    Attributes:
        of: Names of the factors whose high side less their low side is taken.
        at: Factors that are held at their high side; all others are averaged over.
        expected: Sign that the paper leads one to expect.
        says: What that sign means.
    """

    of: tuple[str, ...]
    at: tuple[str, ...] = ()
    expected: int
    says: str


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What a paper says of how factors act on each other.

    Attributes:
        name: The factors, as people write them.
        paper: Key.
        says: The claim in a line.
        factors: Two or three; the first goes along the chart, the second tells the lines apart.
        contrasts: What is estimated.
        commands: What makes the runs, to be filled with ``networks`` (options that name dataset and
            networks), ``data`` (the dataset alone), ``student``, ``epochs`` and ``more_epochs``.
    """

    name: str
    paper: str
    says: str
    factors: tuple[Factor, ...]
    contrasts: tuple[Contrast, ...]
    commands: tuple[str, ...] = field(default=())


def _number(key: str) -> Callable[[Settings, Sizes], Level]:
    def level(settings: Settings, sizes: Sizes) -> Level:
        value = settings.get(key)
        return float(value) if isinstance(value, int | float) else None

    return level


def _distils(settings: Settings, sizes: Sizes) -> Level:
    return ALONE if settings.get("method") == "scratch" else DISTILLED


def _distils_itself(settings: Settings, sizes: Sizes) -> Level:
    """Around pruning, the unpruned student teaches the pruned one; other phases take no part."""
    if not settings.get("prune_ratio"):
        return _distils(settings, sizes)
    phase = settings.get("prune.phase", "finetune")
    return {"self_distill": DISTILLED, "finetune": ALONE}.get(str(phase))


def _pruned(settings: Settings, sizes: Sizes) -> Level:
    return PRUNED if settings.get("prune_ratio") else WHOLE


def _policy(settings: Settings, sizes: Sizes) -> Level:
    return str(settings["augment"]) if "augment" in settings else None


def _method(settings: Settings, sizes: Sizes) -> Level:
    return str(settings["method"]) if "method" in settings else None


def _gap(settings: Settings, sizes: Sizes) -> Level:
    teacher, student = (sizes.get(str(settings.get(key))) for key in ("teacher", "student"))
    return round(teacher / student, 1) if teacher and student else None


def _imbalance(settings: Settings, sizes: Sizes) -> Level:
    gamma = settings.get("data.imbalance")
    return ABSENT if gamma is None else f"gamma {gamma:g}"


TAUGHT = (
    *("method", "method.", "temperature", "alpha"),
    *("teacher", "teacher.", "teacher_epochs", "label_smoothing"),
)
"""What only a run with a teacher has."""

METHOD = Factor(name="method", level=_method, owns=TAUGHT, low=("scratch",))
DISTILLATION = Factor(name="distillation", level=_distils, owns=TAUGHT, low=(ALONE,))
EPOCHS = Factor(
    name="epochs", level=_number("train.epochs"), owns=("train.epochs", "train.milestones")
)
AUGMENTATION = Factor(
    name="augmentation", level=_policy, owns=("augment", "augment."), low=("none", "standard")
)
GRID = "--sampler grid --scheduler none --finalists 0"

CLAIMS = (
    Claim(
        name="temperature x label smoothing",
        paper="chandrasegaran2022",
        says="A teacher that was trained with smoothed labels teaches well at a low temperature "
        "and badly at a high one.",
        factors=(
            Factor(name="temperature", level=_number("temperature"), owns=("temperature",)),
            Factor(
                name="label smoothing",
                level=_number("label_smoothing"),
                owns=("label_smoothing",),
            ),
        ),
        contrasts=(
            Contrast(
                of=("temperature", "label smoothing"),
                expected=-1,
                says="a higher temperature costs more with a smoothed teacher",
            ),
        ),
        commands=("kdtune reproduce chandrasegaran2022:T2 {networks}",),
    ),
    Claim(
        name="distillation x augmentation x epochs",
        paper="wang2020",
        says="Augmented views are new to soft labels for longer than to hard ones: distillation "
        "gains from more epochs where images are augmented, and from stronger augmentation.",
        factors=(EPOCHS, DISTILLATION, AUGMENTATION),
        contrasts=(
            Contrast(
                of=("distillation", "augmentation"),
                expected=1,
                says="augmentation helps a distilled student more than one on labels alone",
            ),
            Contrast(
                of=("distillation", "epochs"),
                at=("augmentation",),
                expected=1,
                says="with augmentation, more epochs help a distilled student more",
            ),
            Contrast(
                of=("distillation", "augmentation", "epochs"),
                expected=1,
                says="more epochs help a distilled student more than without augmentation",
            ),
        ),
        commands=(
            "for epochs in {epochs} {more_epochs}; do for seed in 0 1 2; do "
            "kdtune search joint {networks} --epochs $epochs --seed $seed --trials 8 "
            f"{GRID} --set arm=kd --set temperature=4 --set alpha=0.9 --set label_smoothing=0 "
            "--set teacher_epochs={epochs} --set teacher.full_epochs={epochs} "
            "--set prune_ratio=0; "
            "kdtune search joint {data} --student {student} --epochs $epochs --seed $seed "
            f"--trials 8 {GRID} --set arm=scratch --set prune_ratio=0; done; done",
        ),
    ),
    Claim(
        name="distillation x pruning",
        paper="park2020",
        says="A pruned network gains more from its unpruned self as teacher than the unpruned one "
        "gained from its own: the surplus is positive.",
        factors=(
            Factor(
                name="pruning",
                level=_pruned,
                # Pruned networks are trained on, for longer in all.
                owns=("prune_ratio", "prune.", *EPOCHS.owns),
                low=(WHOLE,),
            ),
            Factor(name="self-distillation", level=_distils_itself, owns=TAUGHT, low=(ALONE,)),
        ),
        contrasts=(
            Contrast(
                of=("pruning", "self-distillation"),
                expected=1,
                says="the surplus of distilling after pruning",
            ),
        ),
        # One way to distil and one pattern: with several, each has a surplus of its own.
        commands=(
            "kdtune reproduce park2020:T1 {networks} --cells method=scratch,method=kd,"
            "remaining=40/70/90,phase=unpruned,phase=finetune,phase=self_distill",
        ),
    ),
    Claim(
        name="capacity gap x teacher epochs",
        paper="cho2019",
        says="A student cannot follow a teacher that is much larger, and then learns more from one "
        "whose own training was cut short.",
        factors=(
            Factor(
                name="teacher epochs",
                level=_number("teacher_epochs"),
                owns=("teacher_epochs",),
            ),
            Factor(name="capacity gap", level=_gap, owns=("teacher",)),
        ),
        contrasts=(
            Contrast(
                of=("teacher epochs", "capacity gap"),
                expected=-1,
                says="a long training of the teacher helps less across a larger gap",
            ),
        ),
        commands=(
            "for seed in 0 1 2; do kdtune search cho2019 {data} --student {student} "
            f"--epochs {{epochs}} --seed $seed --trials 20 {GRID} --set arm=kd --set alpha=0.9 "
            "--set temperature=4; done",
        ),
    ),
    *(
        Claim(
            name=f"method x {spoilt}",
            paper="sarfraz2020",
            says=f"Distillation keeps its gain over labels alone under {spoilt}.",
            factors=(
                Factor(name=spoilt, level=level, owns=(key,), low=low),
                METHOD,
            ),
            contrasts=(
                Contrast(
                    of=("method",),
                    at=(spoilt,),
                    expected=1,
                    says=f"under {spoilt}, distilled students are better than on labels alone",
                ),
                Contrast(
                    of=("method", spoilt),
                    expected=1,
                    says=f"{spoilt} costs distilled students less than those on labels alone",
                ),
            ),
            commands=tuple(f"kdtune reproduce sarfraz2020:{cells}" for cells in made_by),
        )
        for spoilt, key, level, low, made_by in (
            (
                "label noise",
                "data.label_noise",
                _number("data.label_noise"),
                (),
                ("T5 {networks}",),
            ),
            (
                "imbalance",
                "data.imbalance",
                _imbalance,
                (ABSENT,),
                # T6 has no balanced data; T5 without noise is that.
                ("T6 {networks}", "T5 {networks} --cells label_noise=0"),
            ),
        )
    ),
)
"""Teacher and temperature first, then views, pruning, sizes and data."""
