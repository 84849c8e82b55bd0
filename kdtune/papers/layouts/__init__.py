"""Every table of the papers as it is laid out there, a paper a file; the captions are our own."""

from collections.abc import Mapping

from kdtune.papers.layout import Layout
from kdtune.papers.layouts import chandrasegaran2022, cho2019, park2020, sarfraz2020, wang2020

LAYOUTS: Mapping[str, Mapping[str, Layout]] = {
    "park2020": park2020.LAYOUTS,
    "wang2020": wang2020.LAYOUTS,
    "cho2019": cho2019.LAYOUTS,
    "sarfraz2020": sarfraz2020.LAYOUTS,
    "chandrasegaran2022": chandrasegaran2022.LAYOUTS,
}
"""Paper -> table -> layout."""
