"""A trained network with all that is needed to use it on images."""
