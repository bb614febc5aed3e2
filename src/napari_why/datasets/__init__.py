"""Labelled images: tables, splits grouped by well, preprocessing and simulated scenes."""
