"""word2vec and item2vec: vectors of items from which ones stand near each other in histories."""
