"""What the study of embeddings writes: sections of Markdown with their plots, and where they go in a document."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isnan
from typing import Any

from matplotlib.figure import Figure

from evaluation.bootstrap import Difference, Estimate
from evaluation.embeddings import correlation_error, share_error
from evaluation.words import Accuracy, Similarity
from watchnext.errors import UsageError

Facts = dict[str, Any]
NAME = "embeddings"
"""What the names of files begin with."""


@dataclass(frozen=True)
class Section:
    """The answer to a question, in tables and plots.

    Args:
        blocks: tables and sentences of Markdown.
        figures: by name; each has its description.
        facts: the same for machines.
    """

    question: int
    title: str
    blocks: Sequence[str]
    figures: Mapping[str, tuple[Figure, str]] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)

    def files(self) -> dict[str, tuple[Figure, str]]:
        """The figures with their descriptions, by the names of their files."""
        return {f"{NAME}-{self.question}-{name}.svg": drawn for name, drawn in self.figures.items()}

    @property
    def body(self) -> str:
        """Tables, then plots, without a heading."""
        plots = [f"![{description}]({name})" for name, (_, description) in self.files().items()]
        return "\n\n".join([*self.blocks, *plots])

    @property
    def markdown(self) -> str:
        """The section with its heading."""
        return f"## {self.question}. {self.title}\n\n{self.body}\n"


def placed(document: str, section: Section) -> str:
    """A document with the body of a section in the place that its comments mark.

    >>> section = Section(2, "Which?", ["This."])
    >>> placed("Ask:\\n\\n<!-- question 2 -->\\nold\\n<!-- end 2 -->\\nSo be it.\\n", section).splitlines()[2:]
    ['<!-- question 2 -->', 'This.', '<!-- end 2 -->', 'So be it.']

    Raises UsageError for a document without them.
    """
    begin, end = f"<!-- question {section.question} -->", f"<!-- end {section.question} -->"
    pattern = re.compile(f"{begin}\n.*?{end}", re.DOTALL)
    if not pattern.search(document):
        raise UsageError("--into", f"a document without {begin} and {end}", "Write both, each on its own line.")
    return pattern.sub(lambda _: f"{begin}\n{section.body}\n{end}", document, count=1)


def table(header: Sequence[str], rows: Iterable[Sequence[str]], words: int = 1) -> str:
    """A table of Markdown; after the first `words` columns all are numbers, to the right.

    >>> print(table(["arm", "n"], [["rows", "3"]]))
    | arm | n |
    | --- | ---: |
    | rows | 3 |
    """
    ruler = ["---" if place < words else "---:" for place in range(len(header))]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (header, ruler, *rows))


def estimate(found: Estimate, places: int = 4) -> str:
    """A mean and its standard error."""
    value, error = found
    if isnan(value):
        return "-"
    return f"{value:.{places}f}" + ("" if isnan(error) else f" ± {error:.{places}f}")


def difference(found: Difference | None) -> str:
    """A paired difference, its standard error and p; nothing for the one that others are compared with.

    >>> difference(Difference(0.01, 0.004, 0.002, 0.018, 0.0123))
    '+0.0100 ± 0.0040, p = .012'
    """
    if found is None:
        return ""
    if not found.error:
        return "none for any user"
    return f"{found.value:+.4f} ± {found.error:.4f}, p = {f'{found.p:.3f}'.removeprefix('0')}"


def plain(found: Mapping[str, Estimate]) -> Facts:
    """Estimates as dictionaries, for JSON."""
    return {name: one._asdict() for name, one in found.items()}


def number(value: float | None, places: int = 0) -> str:
    """A number with commas; `-` for none.

    >>> number(1234.5, 1), number(None)
    ('1,234.5', '-')
    """
    return "-" if value is None or isnan(value) else f"{value:,.{places}f}"


def correlation(found: Sequence[Similarity]) -> Estimate:
    """The mean correlation of several models, with the standard error of one over the pairs."""
    value = sum(one.correlation for one in found) / len(found)
    return Estimate(value, correlation_error(value, found[0].used))


def accuracy(found: Sequence[Accuracy]) -> Estimate:
    """The mean share of right answers, likewise over the questions."""
    value = sum(one.share for one in found) / len(found)
    return Estimate(value, share_error(value, found[0].used))
