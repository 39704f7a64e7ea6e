"""Models of the kinds of retrieval: fields at a state, blocks."""
