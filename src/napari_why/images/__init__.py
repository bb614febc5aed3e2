"""Pixels in and out: readers, writers and the conventions of an image."""
