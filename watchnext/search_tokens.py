"""From the text of a search to its tokens, as `corpus.searches` makes them in SQL: words, then pairs of words.

Paper (Covington et al. 2016, 3.3): queries are tokenised into unigrams and bigrams.
"""

import re
import unicodedata
from itertools import pairwise

import pyarrow as pa
import pyarrow.compute as pc

_WORD = re.compile(r"[^\W_]+")


def search_tokens(text: str) -> list[str]:
    """The words of a search in lower case, then its pairs of neighbouring words.

    >>> search_tokens("Space films, 1979!")
    ['space', 'films', '1979', 'space films', 'films 1979']
    """
    lower = pc.utf8_lower(pa.scalar(unicodedata.normalize("NFC", text))).as_py()  # letter by letter, as DuckDB does
    words = _WORD.findall(lower)
    return [*words, *(f"{first} {second}" for first, second in pairwise(words))]
