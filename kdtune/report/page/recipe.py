"""The best recipe, ready to paste: as a configuration, and as the command that trains it again."""

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kdtune.config import ConfigError, parse
from kdtune.contracts import Scalar
from kdtune.report.page.facts import Arm, Facts, Trial
from kdtune.report.page.facts import recipe as recipe_of
from kdtune.report.settings import AXES
from kdtune.tracking.canonical import canonical

FIRST = ("dataset", "teacher", "student", "method", *AXES)
CHOICES = ("dataset", "teacher", "student", "method", "augment", "teacher.augment", "prune_ratio")
"""What decides which settings there are, and their defaults."""
USUAL_STORAGE = "kdtune-results"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One recipe.

    Attributes:
        name: Of the finalist, or of the trial where there are none.
        code: Python that runs it once.
        command: A search of this one configuration, with its seeds and baselines; empty where the
            record does not say which space it is from.
        export: The command that exports its student; empty if none was kept.
    """

    name: str
    code: str
    command: str
    export: str


def recipe(facts: Facts, arm: Arm | None, folder: Path | None = None) -> Recipe | None:
    """The recipe of ``arm``, or of the best trial; None if no trial finished.

    Args:
        facts: Of the search.
        arm: A finalist.
        folder: Of the search's results; guessed from where its teachers lie if not given.
    """
    trial = facts.trial_of(arm) if arm else next(iter(facts.finished), None)
    if arm is None and trial is None:
        return None
    config = arm.config if arm else recipe_of(trial.row.config) if trial else {}
    folder = folder or _folder(facts)
    export = ""
    if arm and arm.chosen_by and folder:
        seed = min(arm.chosen_by, key=lambda seed: facts.goal.cost(arm.chosen_by[seed]))
        student = folder / "students" / f"{arm.name.replace(' ', '-')}-seed-{seed}"
        export = shlex.join(["kdtune", "export", str(student)])
    return Recipe(
        name=arm.name if arm else f"trial {trial.row.trial}" if trial else "",
        code=_code(config, next(iter(arm.scores), 0) if arm else 0),
        command=_command(facts, config, trial),
        export=export,
    )


def _code(config: Mapping[str, Scalar], seed: int) -> str:
    lines = "\n".join(f"    {_python(key)}: {_python(config[key])}," for key in _ordered(config))
    named = f"CONFIG = {{\n{lines}\n}}\n"
    if "method" not in config:  # Of a trainable that is not ours.
        return named
    return (
        f"from ray import tune\n\nfrom trainables import Distill\n\n{named}"
        f'tune.run(Distill, config={{**CONFIG, "role": "finalist", "seed": {seed}}})\n'
    )


def _python(value: Scalar) -> str:
    return json.dumps(value) if isinstance(value, str) else repr(value)


def _ordered(config: Mapping[str, Scalar], without: Sequence[str] = ()) -> list[str]:
    """The keys, what is asked first in front."""
    own = [key for key in FIRST if key in config]
    return [k for k in (*own, *(k for k in config if k not in FIRST)) if k not in without]


def _command(facts: Facts, config: Mapping[str, Scalar], trial: Trial | None) -> str:
    """One option a line."""
    search = facts.record.search
    space = search.tags.get("space")
    if not space or "method" not in config:
        return ""
    options = [f"--set {shlex.quote(text)}" for text in _settings(facts, config, trial)]
    options += list(_options(search.params))
    return " \\\n  ".join([shlex.join(["kdtune", "search", space]), *options])


def _settings(facts: Facts, config: Mapping[str, Scalar], trial: Trial | None) -> Iterator[str]:
    """``KEY=VALUE`` of all that the space leaves open, or that may not be as the space has it."""
    yield f"arm={trial.arm}" if trial and trial.arm else f"method={config['method']}"
    defaults = _defaults(config)
    stated = {*facts.record.search.params, *facts.keys, *AXES}
    for key in _ordered(config, without=("method", "data.root")):
        value = config[key]
        if value is not None and (key in stated or value != defaults.get(key)):
            yield f"{key}={canonical(value)}"


def _defaults(config: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """What a trial of the same choices has where nothing is said."""
    try:
        return parse({key: config[key] for key in CHOICES if key in config}).flat()
    except ConfigError:  # A choice that does not go without further settings: all are stated.
        return {}


def _options(params: Mapping[str, str]) -> Iterator[str]:
    """The options of the command besides settings."""
    yield f"--trials 1 --finalists 1 --finalist-seeds {params.get('search.finalist_seeds', '5')}"
    yield f"--seed {params.get('search.seed', '0')}"
    if params.get("search.finalists_on", "train") != "train":
        yield f"--finalists-on {params['search.finalists_on']}"
    if "data.root" in params:
        yield f"--data-root {shlex.quote(params['data.root'])}"
    storage = _storage(params.get("teacher.store", ""))
    if Path(storage).name not in ("", USUAL_STORAGE):
        yield f"--storage {shlex.quote(storage)}"


def _storage(store: str) -> str:
    """Where the folder or URI of the teachers lies."""
    place, mark, query = store.partition("?") if "://" in store else (store, "", "")
    return place.rpartition("/")[0] + mark + query


def _folder(facts: Facts) -> Path | None:
    """Of the results: beside the teachers, unless somebody put these elsewhere."""
    store = facts.record.search.params.get("teacher.store")
    return Path(store).parent / facts.record.name if store and "://" not in store else None
