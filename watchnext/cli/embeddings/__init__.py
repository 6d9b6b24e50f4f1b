"""`watchnext study embeddings`: questions about vectors of items, answered by measurement."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from watchnext.cli.console import Json, out, report
from watchnext.errors import UsageError
from watchnext.files import write_atomic
from watchnext.presets import PRESETS, changed, preset

if TYPE_CHECKING:
    from collections.abc import Callable

    from evaluation.embeddings_report import Section
    from watchnext.cli.embeddings.judges import Judges
    from watchnext.cli.embeddings.lab import Lab

QUESTIONS = {
    1: "what one-hot inputs cost",
    2: "input, output or averaged vectors",
    3: "cosine, dot product or Euclidean distance",
    4: "what serving must keep",
    5: "linear, ReLU or sigmoid hidden layers",
    6: "a start from item2vec's vectors",
}
VARIED = ("activation", "tower", "seed")
"""Settings that the questions themselves vary."""
TRIAL = "A trial (`--quick`): these numbers say nothing.\n\n"


def embeddings(
    corpora: Annotated[list[Path] | None, typer.Argument(metavar="CORPUS...", help="Folders of `ingest`.")] = None,
    words: Annotated[Path | None, typer.Option(help="Folder of `watchnext ingest --format text`.")] = None,
    similarity: Annotated[
        list[Path] | None, typer.Option(help="With --words: lines of a word, a word and people's score. Repeatable.")
    ] = None,
    analogies: Annotated[
        Path | None, typer.Option(help="With --words: lines `: section` and, below, four words a line.")
    ] = None,
    question: Annotated[
        list[int] | None,
        typer.Option(help=f"{'; '.join(f'{n}: {what}' for n, what in QUESTIONS.items())}. Repeatable; default: all."),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME:SETTING=VALUE...",
            help="Change settings of a preset in the whole study: default:epochs=20. Repeatable.",
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Models of each kind; results are their means.")] = 1,
    steps: Annotated[int, typer.Option(min=20, help="Question 1: steps of each network.")] = 800,
    to: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("work/embeddings"),
    into: Annotated[
        Path | None,
        typer.Option(
            help="Also put tables into a Markdown document, between lines `<!-- question N -->` and `<!-- end N -->`,"
            " and plots beside it."
        ),
    ] = None,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="A trial: one epoch, 20 steps, one seed, 300 users; says nothing."),
    ] = False,
    json_: Json = False,
) -> None:
    """What vectors of items cost and how they are best used, measured on logs and, with --words, on a text.

    Interrupted, the same command goes on with what is missing.
    """
    asked, folders = sorted(set(question or QUESTIONS)), corpora or []
    _check(asked, folders, words, bool(similarity or analogies), into)
    from watchnext.cli.embeddings.judges import Judges
    from watchnext.cli.embeddings.lab import Lab, Limits

    limits = Limits.for_a_trial() if quick else Limits(seeds, steps)
    lab = Lab(folders, words, to, limits, _settings(model or []), not json_)
    lab.check()
    judges = Judges.read(similarity or (), analogies)
    sections = [_questions(lab, judges)[number]() for number in asked]
    _write(sections, to, into, json_, TRIAL if quick else "")


def _check(asked: list[int], corpora: list[Path], words: Path | None, judged: bool, into: Path | None) -> None:
    """Raise UsageError for options that do not go together, before anything is trained."""
    for number in asked:
        if number not in QUESTIONS:
            raise UsageError("--question", number, f"Choose from: {', '.join(map(str, QUESTIONS))}.")
    if judged and not words:
        raise UsageError("--similarity and --analogies", "no --words beside them", "Name the corpus of a text.")
    if words and not judged:
        raise UsageError("--words", "neither --similarity nor --analogies", "Name a file that judges the words.")
    if not corpora:
        raise UsageError("CORPUS", "none", "Name at least one folder of `watchnext ingest`.")
    names = [folder.resolve().name for folder in corpora]
    if len(set(names)) < len(names):
        raise UsageError("CORPUS", f"one folder name twice: {', '.join(names)}", "Give each folder its own name.")
    if into:
        _check_document(into, asked)


def _check_document(into: Path, asked: list[int]) -> None:
    """Raise UsageError unless a document has a place for the answer to each question."""
    from evaluation.embeddings_report import Section, placed

    if not into.is_file():
        raise UsageError(
            "--into", f"{into}, which is no file", "Name a Markdown document with lines for the answers."
        )
    for number in asked:
        placed(into.read_text(encoding="utf-8"), Section(number, "", []))


def _settings(models: list[str]) -> dict[str, tuple[str, ...]]:
    """Changes of presets by their names. Raises UsageError for impossible ones and for what the study varies."""
    found: dict[str, tuple[str, ...]] = {}
    for text in models:
        name, *settings = text.split(":")
        if name not in ("default", "item2vec", "word2vec") or name not in PRESETS:
            raise UsageError("--model", repr(name), "Choose from: default, item2vec, word2vec.")
        for setting in settings:
            if setting.partition("=")[0] in VARIED:
                raise UsageError("--model", repr(text), f"The study chooses {', '.join(VARIED)} itself.")
        found[name] = (*found.get(name, ()), *settings)
        changed(preset(name), found[name])
    return found


def _questions(lab: "Lab", judges: "Judges") -> "dict[int, Callable[[], Section]]":
    from watchnext.cli.embeddings import networks, one_hot, vectors

    return {
        1: lambda: one_hot.question_1(lab),
        2: lambda: vectors.question_2(lab, judges),
        3: lambda: vectors.question_3(lab, judges),
        4: lambda: vectors.question_4(lab),
        5: lambda: networks.question_5(lab, judges),
        6: lambda: networks.question_6(lab),
    }


def _write(sections: "list[Section]", to: Path, into: Path | None, json_: bool, note: str) -> None:
    """Write tables and plots, and print the tables, or the facts as JSON; a note stands before the tables."""
    from evaluation.embeddings_report import NAME, placed
    from evaluation.plots import svg_file

    text = note + "\n".join(section.markdown for section in sections)
    document = into.read_text(encoding="utf-8") if into else ""
    for section in sections:
        document = placed(document, section) if into else document
        for name, (figure, description) in section.files().items():
            drawn = svg_file(figure, description)
            for folder in [to, *([into.parent] if into else [])]:
                write_atomic(folder / name, drawn)
    write_atomic(to / f"{NAME}.md", text.encode())
    if into:
        write_atomic(into, document.encode())
    facts = {f"question_{section.question}": dict(section.facts) for section in sections}
    if json_:
        report(True, "", facts, to)
        return
    out.print(text, highlight=False, markup=False, soft_wrap=True)
    out.print(f"Written to [bold]{to / NAME}.md[/bold]", soft_wrap=True)
