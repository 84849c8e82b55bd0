"""What searches tell beside their winners: what mattered, what acts on what, which rungs lie."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from kdtune.compare.honesty import Honesty, honesty
from kdtune.compare.importance import Importance, importance
from kdtune.compare.interactions import Interaction, interactions
from kdtune.compare.trials import objective_of
from kdtune.tracking.record import SearchRecord

PARTS = ("importance", "interactions", "rungs")


@dataclass(frozen=True, kw_only=True)
class Effects:
    """Of one search or several; the interactions are of all their runs together.

    Attributes:
        searches: Their names.
        importance: Search by search, then arm by arm.
        interactions: Claim by claim.
        honesty: Search by search.
    """

    searches: tuple[str, ...]
    importance: tuple[Importance, ...] = ()
    interactions: tuple[Interaction, ...] = ()
    honesty: tuple[Honesty, ...] = ()


def effects(
    records: Sequence[SearchRecord],
    *,
    only: Collection[str] = PARTS,
    sizes: Mapping[str, int] | None = None,
) -> Effects:
    """Analyse searches.

    Args:
        records: At least one. Parts that are of trials pass over one that has none.
        only: Which of :data:`PARTS`.
        sizes: As in :func:`~kdtune.compare.interactions.interactions`.

    Raises:
        ValueError: If the interactions of searches with different objectives are asked for.
    """
    tried = [record for record in records if record.of_kind("trial")]
    objectives = {objective_of(record) for record in tried}
    if "interactions" in only and len(objectives) > 1:
        named = ", ".join(sorted(each.metric for each in objectives))
        raise ValueError(
            f"the trials of searches for different things do not mix, got {named}; "
            "leave one out, or interactions (--only importance,rungs)"
        )
    told: list[Interaction] = []
    if "interactions" in only:
        runs = [run for record in records for run in record.runs]
        goal = {"objective": objectives.pop()} if objectives else {}
        told = interactions(runs, sizes=sizes, **goal)
    return Effects(
        searches=tuple(record.name for record in records),
        importance=tuple(each for record in tried for each in importance(record))
        if "importance" in only
        else (),
        interactions=tuple(told),
        honesty=tuple(map(honesty, tried)) if "rungs" in only else (),
    )
