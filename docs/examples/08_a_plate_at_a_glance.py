"""
A plate at a glance
===================

A whole plate in one run: every field is predicted, and the table has a row for each. Wells are what is counted, so
fields of a well are averaged. The picture is the plate as it lies on the bench.
"""

from tempfile import TemporaryDirectory

import matplotlib.pyplot as plt

import napari_why as why
from napari_why.simulation import simulate_effect

classifier = why.load("shared/classifier")
plate = simulate_effect(96, "depolarisation", size=64, seed=6, wells=24)

with TemporaryDirectory() as folder:
    found = why.explain_many(classifier, plate, f"{folder}/results", on_event=why.quiet)
print("\n".join(found.sentences))

# %%
# Mean probability of *treated*, by well. Frames are the true classes.

wells = found.images.groupby(["well", "label"])["probability of treated"].mean().reset_index()
rows = wells["well"].str[0].map("ABCDEFGHIJKLMNOP".index)
columns = wells["well"].str[1:].astype(int)
edges = wells["label"].map({"healthy": "black", "treated": "crimson"})

figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
drawn = axes.scatter(
    columns, rows, c=wells["probability of treated"], s=130, marker="s", cmap="viridis",
    edgecolors=edges, vmin=0, vmax=1,
)  # fmt: skip
axes.set(xlim=(0.3, 24.7), ylim=(15.7, -0.7), xticks=range(1, 25), yticks=range(16))
axes.set_yticklabels("ABCDEFGHIJKLMNOP")
axes.set_aspect("equal")
figure.colorbar(drawn, label="mean probability of treated", shrink=0.8)
