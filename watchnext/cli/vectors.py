"""`watchnext vectors`: the files of the word2vec tool, written from an export and read into one."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from watchnext.cli.console import Json, command, progress, report
from watchnext.errors import UsageError

if TYPE_CHECKING:
    from watchnext.export import Export
    from watchnext.features import Float32
    from watchnext.linear import Log
    from watchnext.vocabulary import Vocabulary
    from watchnext.word2vec_format import Vectors

    Given = tuple[Log, Float32, dict[str, int]]

vectors = typer.Typer(
    name="vectors", help="Write and read vectors in the text and binary formats of word2vec.", no_args_is_help=True
)
Binary = Annotated[bool | None, typer.Option("--binary/--text", help="The format; else the file tells.")]
WHICH = ("item", "watched", "user")
_ENDINGS = {".bin": True, ".txt": False, ".vec": False}


@vectors.command()
def write(
    export: Annotated[Path, typer.Argument(help="Folder of an export, of a release or of all releases.")],
    to: Annotated[Path, typer.Option(help="File to write: .bin is binary, .txt text; .gz behind it compresses.")],
    which: Annotated[
        str, typer.Option(help="`item` vectors (scored), `watched` vectors (input embeddings), or `user` vectors.")
    ] = "item",
    binary: Binary = None,
    spaces: Annotated[
        str | None, typer.Option(help="Written for each space in an id, since the formats cannot hold any.")
    ] = None,
    json_: Json = False,
) -> None:
    """Write the vectors of an export for gensim, the word2vec tool, and all that read its files.

    Items and users without a vector are left out.
    """
    import numpy as np

    from watchnext.export import Export
    from watchnext.release import export_in
    from watchnext.word2vec_format import without_spaces, write_vectors

    as_binary = _is_binary(to) if binary is None else binary
    opened = Export.open(export_in(export))
    vocabulary, found = _chosen(opened, which)
    numbers = np.flatnonzero(np.asarray(found).any(axis=1))
    numbers = numbers[numbers > 0]
    if not len(numbers):
        raise UsageError("--which", f"{which}, of which {export} has no vector", f"Choose of: {', '.join(WHICH)}.")
    ids = without_spaces(vocabulary.ids(numbers), spaces)
    rows = found[1:] if len(numbers) == len(vocabulary) else found[numbers]
    write_vectors(to, ids, rows, as_binary)
    facts = {
        "vectors": len(ids),
        "dimensions": rows.shape[1],
        "without_vector": len(vocabulary) - len(ids),
        "format": "binary" if as_binary else "text",
    }
    report(json_, "Vectors", facts, to)


def _is_binary(to: Path) -> bool:
    """Which format a file's name tells. Raises UsageError where it tells none."""
    ending = (to.with_suffix("") if to.suffix == ".gz" else to).suffix
    if ending not in _ENDINGS:
        raise UsageError("--to", to, f"Name a file that ends in {', '.join(_ENDINGS)}, or say --binary or --text.")
    return _ENDINGS[ending]


def _chosen(export: "Export", which: str) -> "tuple[Vocabulary, Float32]":
    if which not in WHICH:
        raise UsageError("--which", repr(which), f"Choose one of: {', '.join(WHICH)}.")
    if which == "user":
        return export.users, export.user_vectors
    return export.items, export.item_vectors if which == "item" else export.watched_vectors


@vectors.command()
def read(
    file: Annotated[Path, typer.Argument(help="A file in the text or binary format of word2vec, or that in .gz.")],
    to: Annotated[Path, typer.Option(help="Folder to write the export to.")],
    corpus: Annotated[
        Path | None,
        typer.Option(help="Corpus whose items and users the export is for; else the file's ids, no users."),
    ] = None,
    last: Annotated[
        int, typer.Option(min=1, help="A user's vector is the mean of the vectors of so many last watches.")
    ] = 5,
    binary: Binary = None,
    spaces: Annotated[
        str | None, typer.Option(help="With --corpus: what stands in the file for each space in an id.")
    ] = None,
    json_: Json = False,
) -> None:
    """Make an export of vectors that something else has trained, to index, publish and serve it."""
    from watchnext.config import ModelConfig
    from watchnext.export import ExportManifest, write_export
    from watchnext.linear import linear_export
    from watchnext.word2vec_format import read_vectors

    if spaces is not None and corpus is None:
        raise UsageError("--spaces", repr(spaces), "Give it together with --corpus.")
    ExportManifest.check_target(to)
    found = read_vectors(file, binary)
    log, rows, facts = _without_corpus(found) if corpus is None else _for_corpus(found, file, corpus, spaces)
    with progress(not json_) as bar:
        model = ModelConfig.linear(found.vectors.shape[1], last)
        track = partial(bar.track, description="user vectors")
        write_export(linear_export(log, model, rows, rows, track=track), to)
    report(json_, "Export", {**facts, "dimensions": model.dim}, to, command("index", to))


def _without_corpus(found: "Vectors") -> "Given":
    import numpy as np

    from watchnext.linear import NoLog
    from watchnext.vocabulary import Vocabulary

    rows = np.concatenate([np.zeros((1, found.vectors.shape[1]), np.float32), found.vectors])
    return NoLog(Vocabulary(found.ids)), rows, {"items": len(found.ids)}


def _for_corpus(found: "Vectors", file: Path, folder: Path, spaces: str | None) -> "Given":
    """Vectors for the items of a corpus; those that the file does not know get 0."""
    import numpy as np

    from corpus.corpus import Corpus
    from watchnext.vocabulary import Vocabulary
    from watchnext.word2vec_format import without_spaces

    log = Corpus.open(folder)
    ids = log.items
    if spaces is not None:
        ids = Vocabulary(without_spaces(ids.all_ids(), spaces))
    numbers = ids.numbers(found.ids)
    known = int(np.count_nonzero(numbers))
    if not known:
        got = f"{folder}, of whose {len(ids):,} items {file} has none: its first id is {found.ids[0]!r}"
        raise UsageError("--corpus", got, "Give the corpus whose ids the file has.")
    rows = np.zeros((len(ids) + 1, found.vectors.shape[1]), np.float32)
    rows[numbers] = found.vectors
    rows[0] = 0
    counts = {"items": len(ids), "items_with_vector": known, "vectors_of_other_ids": len(found.ids) - known}
    return log, rows, {**counts, "users": len(log.users)}
