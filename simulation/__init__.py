"""A made world with known answers: users, videos and a watch log as Parquet files. No TensorFlow."""
