"""Metrics and baselines on vectors and histories. No TensorFlow."""
