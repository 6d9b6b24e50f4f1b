"""A search log becomes words and pairs of words in each user's order of time; what is malformed is kept aside."""

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.corpus import Corpus
from corpus.ingest import ingest
from tests.test_corpus_reference import options
from watchnext.errors import RejectedRowsError, UsageError
from watchnext.search_tokens import search_tokens

LOG = "user,item,time\nu,a,10\nu,b,20\nv,b,30\n"


@pytest.fixture
def log(tmp_path: Path) -> str:
    (tmp_path / "log.csv").write_text(LOG)
    return str(tmp_path / "log.csv")


def with_searches(tmp_path: Path, log: str, text: str, **more: object) -> Corpus:
    (tmp_path / "searches.csv").write_text(text)
    return ingest(options(log, tmp_path / "c", searches=(str(tmp_path / "searches.csv"),), **more))


def tokens_of(corpus: Corpus, user: str) -> list[str]:
    assert corpus.searches is not None
    assert corpus.search_tokens is not None
    return corpus.search_tokens.ids(corpus.searches[corpus.users.number(user)])


def test_tokens_by_hand(tmp_path: Path, log: str) -> None:
    text = 'user,query,time\nu,"Old  Jazz, piano!",15\nu,jazz,5\nv,ÜBER-jazz 7,1\nnobody,jazz,1\nv,!?,2\n'
    corpus = with_searches(tmp_path, log, text)
    assert tokens_of(corpus, "u") == ["jazz", "old", "jazz", "piano", "old jazz", "jazz piano"]
    assert tokens_of(corpus, "v") == ["über", "jazz", "7", "über jazz", "jazz 7"]
    assert corpus.searches is not None
    assert corpus.searches.times_of(1).tolist() == [5, 15, 15, 15, 15, 15]
    assert corpus.search_tokens is not None
    assert corpus.search_tokens.id(1) == "jazz"
    counts = corpus.manifest.searches
    assert counts is not None
    assert counts.model_dump() == {
        "rows_read": 5,
        "rejected": {},
        "erased": 0,
        "unknown_users": 1,
        "searches": 4,
        "tokens": 11,
        "tokens_out_of_vocabulary": 0,
    }
    again = Corpus.open(tmp_path / "c")
    assert tokens_of(again, "v") == tokens_of(corpus, "v")


def test_only_the_most_frequent_tokens_stay(tmp_path: Path, log: str) -> None:
    text = "user,query,time\nu,b a,1\nu,a b,2\nv,c,3\n"
    corpus = with_searches(tmp_path, log, text, max_search_tokens=2)
    assert tokens_of(corpus, "u") == ["b", "a", "a", "b"]
    assert tokens_of(corpus, "v") == []
    counts = corpus.manifest.searches
    assert counts is not None
    assert (counts.tokens, counts.tokens_out_of_vocabulary) == (4, 3)


def test_malformed_searches_are_kept_aside_and_stop_above_the_share(tmp_path: Path, log: str) -> None:
    text = "user,query,time\nu,jazz,1\nu,,2\nu,jazz,soon\n"
    corpus = with_searches(tmp_path, log, text, max_rejected_share=0.9)
    counts = corpus.manifest.searches
    assert counts is not None
    assert counts.rejected == {"missing query": 1, "unparsable timestamp": 1}
    rejected = pq.read_table(tmp_path / "c" / "rejected_searches.parquet").to_pylist()
    assert [(row["line"], row["row"]) for row in rejected] == [(3, "u,,2"), (4, "u,jazz,soon")]
    with pytest.raises(RejectedRowsError, match=r"search log: got 2 malformed rows of 3"):
        with_searches(tmp_path, log, text, max_rejected_share=0.1)
    assert len(pq.read_table(tmp_path / "c.rejected_searches.parquet")) == 2
    assert Corpus.open(tmp_path / "c").manifest.searches == counts  # the older corpus stays


def test_a_missing_column_is_named_by_its_option(tmp_path: Path, log: str) -> None:
    with pytest.raises(UsageError, match="--searches-query: got no column 'query'"):
        with_searches(tmp_path, log, "user,text,time\nu,jazz,1\n")


words = st.text(st.sampled_from("ab é-1,"), max_size=12)


@settings(max_examples=15, deadline=None)
@given(queries=st.lists(st.tuples(st.sampled_from("uvx"), words, st.integers(0, 9)), min_size=1, max_size=12))
def test_tokens_equal_those_of_a_plain_loop(
    tmp_path_factory: pytest.TempPathFactory, queries: list[tuple[str, str, int]]
) -> None:
    folder = tmp_path_factory.mktemp("searches")
    (folder / "log.csv").write_text(LOG)
    text = "user,query,time\n" + "".join(f'{user},"{query}",{time}\n' for user, query, time in queries)
    corpus = with_searches(folder, str(folder / "log.csv"), text, max_rejected_share=1.0)
    for user in "uv":
        wanted: list[tuple[int, str]] = []
        for by, query, time in sorted(queries, key=lambda q: q[2]):
            if by == user:
                found = "".join(c if c.isalnum() else " " for c in query).split()
                wanted += [(time, token) for token in [*found, *map(" ".join, pairwise(found))]]
        assert tokens_of(corpus, user) == [token for _, token in wanted]
    assert corpus.search_tokens is not None
    all_tokens = Counter(token for user in "uv" for token in tokens_of(corpus, user))
    ranked = sorted(all_tokens, key=lambda token: (-all_tokens[token], token.encode()))
    assert corpus.search_tokens.ids(range(1, len(ranked) + 1)) == ranked


@settings(max_examples=20, deadline=None)
@given(texts=st.lists(st.text(max_size=30), min_size=1, max_size=40))
def test_serving_makes_the_same_tokens_of_a_search(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("searches")
    usable = [text for text in texts if "\0" not in text and text.strip()]
    (folder / "log.csv").write_text(LOG)
    rows = [{"user": "u", "query": text, "time": n} for n, text in enumerate(usable)]
    (folder / "searches.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    corpus = ingest(
        options(
            str(folder / "log.csv"),
            folder / "c",
            searches=(str(folder / "searches.jsonl"),),
            max_rejected_share=1.0,
        )
    )
    assert tokens_of(corpus, "u") == [token for text in usable for token in search_tokens(text)]
