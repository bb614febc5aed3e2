"""``python -m napari_why.cli``: the command line where its script is not on the path."""

from napari_why.cli import main

main()
