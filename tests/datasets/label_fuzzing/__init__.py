"""Folders, names and plate maps drawn at random from a table, and what opening makes of them.

A table of plates, wells, fields and channels with their labels is the truth (``plan``). It is written
as a folder of tiny images in the names of one microscope or program (``styles``), with class folders,
a table or a plate map (``plate_maps``), after things were done to it that people really do
(``distortions``). ``campaign`` opens it as users do, and ``oracle`` compares what comes out with the
truth: right, told and left out, asked, refused, or silently wrong.
"""
