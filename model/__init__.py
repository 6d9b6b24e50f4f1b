"""Corpus -> Export. The only folder that imports TensorFlow."""
