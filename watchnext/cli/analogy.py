"""`watchnext analogy`: the items nearest to a sum of items."""

import re
from pathlib import Path
from typing import Annotated

import typer

from watchnext.cli.console import Json
from watchnext.cli.neighbours import Count, MeasureName, Of, Vectors, chosen, named, open_neighbours, show, spoken
from watchnext.errors import UsageError

_CURE = "Write items with + and - between them, like: Madrid - Spain + France."


def analogy(
    terms: Annotated[
        list[str], typer.Argument(help="Ids or titles with + and - between them. Quote a title that has one itself.")
    ],
    of: Of = Path("work/releases"),
    k: Count = 20,
    measure: MeasureName = "cosine",
    vectors: Vectors = "item",
    json_: Json = False,
) -> None:
    """The items nearest to a sum of items, without these: watchnext analogy Madrid - Spain + France."""
    how, parsed = chosen(measure, vectors), parse(terms)
    from index.lookup import find_item

    neighbours = open_neighbours(of)
    numbers = [(sign, find_item(text, neighbours.export)) for sign, text in parsed]
    positive = [number for sign, number in numbers if sign == "+"]
    negative = [number for sign, number in numbers if sign == "-"]
    found = neighbours.analogy(positive, negative, k, *how)
    title = " ".join(f"{sign} {spoken(named(number, neighbours))}" for sign, number in numbers).removeprefix("+ ")
    asked = {
        "positive": [named(number, neighbours) for number in positive],
        "negative": [named(number, neighbours) for number in negative],
    }
    show(title, {**asked, "measure": measure, "vectors": vectors}, found, json_)


def parse(words: list[str]) -> list[tuple[str, str]]:
    """The terms, each a sign, `+` or `-`, and a text; the first sign is `+`.

    Words that are a sign part the terms, so that a quoted title may have one inside; where no word is, signs with a
    space on both sides do.

    Raises UsageError unless terms and signs take turns, beginning and ending with a term.

    >>> parse(["New", "York", "-", "USA", "+", "Japan"]) == parse(["New York - USA + Japan"])
    True
    >>> parse(["Alien - Director's Cut", "-", "Heat"])
    [('+', "Alien - Director's Cut"), ('-', 'Heat')]
    """
    if not {"+", "-"} & set(words):
        words = re.split(r"(?:^|\s+)([+-])(?=\s|$)", " ".join(words))
    signs, texts = ["+"], [""]
    for word in words:
        if word in {"+", "-"}:
            signs.append(word)
            texts.append("")
        else:
            texts[-1] = f"{texts[-1]} {word}".strip()
    if not all(texts):
        raise UsageError("terms", repr(" ".join(words)), _CURE)
    return list(zip(signs, texts, strict=True))
