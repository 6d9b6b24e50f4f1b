"""Watch log -> Corpus, with DuckDB. No TensorFlow."""
