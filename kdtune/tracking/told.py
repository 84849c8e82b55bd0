"""What the processes before this one have logged of a run, which a run that goes on tells again.

The log that a search goes on from is written after its journal. So a trial whose driver died
between the two is thought to be an epoch further back than its run is.
"""

from collections.abc import Iterable, Mapping

from kdtune.tracking.events import PARENT, Event, Measured


class Told:
    """The last epoch of each run, and the metrics that it has there.

    Args:
        events: Of the journal that the processes before this one left.
    """

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self._last: dict[str, tuple[int, set[str]]] = {}
        for event in events:
            if isinstance(event, Measured):
                epoch, names = self._last.get(event.key, (0, set()))
                known = names if event.epoch == epoch else set()
                self._last[event.key] = (event.epoch, known | event.metrics.keys())

    def new(self, key: str, epoch: int, metrics: Mapping[str, float]) -> dict[str, float]:
        """What of ``metrics`` the run has not got at ``epoch``.

        All, for the search's own run, whose results change as it grows, and for epoch 0, which is
        every epoch of a warm-up.
        """
        last, names = self._last.get(key, (0, set()))
        if key == PARENT or not 0 < epoch <= last:
            return dict(metrics)
        return {k: v for k, v in metrics.items() if epoch == last and k not in names}
