"""The papers whose figures are kept."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time


@dataclass(frozen=True, kw_only=True)
class Paper:
    """A paper.

    Attributes:
        key: First author and year, such as ``cho2019``.
        title: In full.
        authors: All of them, in their order.
        arxiv: Its number there.
        published: First day on arXiv, which is what runs made of its figures are dated with.
        venue: Where it appeared besides; empty if nowhere that its text names.
        question: What it asks, in one line of our own.
    """

    key: str
    title: str
    authors: tuple[str, ...]
    arxiv: str
    published: date
    venue: str = ""
    question: str

    @property
    def year(self) -> int:
        """Of the key, which is that of the publication cited."""
        return int(self.key[-4:])

    @property
    def citation(self) -> str:
        """Short: ``Cho and Hariharan, 2019``."""
        names = [author.rpartition(" ")[2] for author in self.authors]
        who = f"{names[0]} et al." if len(names) > 2 else " and ".join(names)
        return f"{who}, {self.year}"

    @property
    def published_ms(self) -> int:
        """Noon of that day, UTC, in milliseconds since the epoch."""
        return int(datetime.combine(self.published, time(12), UTC).timestamp() * 1000)


PAPERS: Mapping[str, Paper] = {
    paper.key: paper
    for paper in (
        Paper(
            key="park2020",
            title="On the Orthogonality of Knowledge Distillation with Other Techniques: "
            "From an Ensemble Perspective",
            authors=("SeongUk Park", "Kiyoon Yoo", "Nojun Kwak"),
            arxiv="2009.04120",
            published=date(2020, 9, 9),
            question="Does the gain of distillation add to those of pruning and augmentation?",
        ),
        Paper(
            key="wang2020",
            title="Knowledge Distillation Thrives on Data Augmentation",
            authors=("Huan Wang", "Suhas Lohit", "Michael Jones", "Yun Fu"),
            arxiv="2012.02909",
            published=date(2020, 12, 5),
            question="How much more does a teacher say on mixed images, and over longer training?",
        ),
        Paper(
            key="cho2019",
            title="On the Efficacy of Knowledge Distillation",
            authors=("Jang Hyun Cho", "Bharath Hariharan"),
            arxiv="1910.01348",
            published=date(2019, 10, 3),
            venue="ICCV 2019",
            question="Why do larger teachers teach worse, and does stopping early help?",
        ),
        Paper(
            key="sarfraz2020",
            title="Knowledge Distillation Beyond Model Compression",
            authors=("Fahad Sarfraz", "Elahe Arani", "Bahram Zonooz"),
            arxiv="2007.01922",
            published=date(2020, 7, 3),
            question="How do ways to distil compare under one protocol, noise and imbalance?",
        ),
        Paper(
            key="chandrasegaran2022",
            title="Revisiting Label Smoothing and Knowledge Distillation Compatibility: "
            "What was Missing?",
            authors=(
                "Keshigeyan Chandrasegaran",
                "Ngoc-Trung Tran",
                "Yunqing Zhao",
                "Ngai-Man Cheung",
            ),
            arxiv="2206.14532",
            published=date(2022, 6, 29),
            venue="ICML 2022",
            question="At which temperatures does a teacher with smoothed labels still teach?",
        ),
    )
}
"""By key, in the order in which they are listed."""
