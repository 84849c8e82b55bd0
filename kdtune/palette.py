"""The colours of every picture and chart."""

COLOURS = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7"),
    *("#E69F00", "#56B4E9", "#000000", "#F0E442"),
)
"""Okabe and Ito's eight, which colour-blind people tell apart; the faintest last."""

QUIET = "#8a8f98"
"""Grey of what stands back: baselines, lines of reference, trials that were cut."""

SEQUENTIAL = "cividis"
"""Scale of ordered values; the same for colour-blind people."""

DIVERGING = "RdBu"
"""Scale of differences, to be centred on zero."""
