"""Damaged files on purpose: mutants of real and made images, and what the readers make of them.

A mutant has one structure of a specimen changed (``tiff_mutations``, ``zarr_mutations``). A worker
process reads it under limits of time and memory (``worker``), and ``campaign`` judges: the right
pixels, one ``ImageReadError``, another valid file (``other_files``), or a violation.
"""
