"""Results on their way out: images to write, and figures."""
