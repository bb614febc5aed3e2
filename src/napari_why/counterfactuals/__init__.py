"""What would have to change for an image to be called another class."""
