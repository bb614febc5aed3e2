"""
Maps of a class
===============

One map explains one image. The mean over a class, in a frame in which maps can be averaged (here: around nuclei),
says where the network finds evidence for *treated* in a usual cell of either class. Wells are what is counted.
"""

import napari_why as why
from napari_why.output.figures import class_maps_figure
from napari_why.simulation import simulate_effect

classifier = why.load("shared/classifier")
dataset = simulate_effect(32, "depolarisation", size=64, seed=4)
options = {"alignment": "nuclei", "explained": "treated"}
found = why.class_maps(classifier, dataset, "lrp", options=options, on_event=why.quiet)
figure = class_maps_figure(found)

# %%
# Which region holds the evidence, of each channel and class.

columns = ["label", "channel", "region", "evidence per pixel", "share of evidence"]
print(found.regions[columns].to_string(index=False, float_format="%.4f"))

# %%
# What all of it is worth.

print("\n".join(found.notes))
