"""How good a classifier is, and how far that is to be believed."""
