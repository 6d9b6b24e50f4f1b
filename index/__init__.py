"""Vectors -> ItemIndex -> release, with FAISS. No TensorFlow."""
