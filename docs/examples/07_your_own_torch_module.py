"""
Your own torch module
=====================

A network of your own is explained like the ones that are shipped, given its two halves: an encoder that makes maps,
and a head that makes logits of them. Here a small one is trained with a plain torch loop.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import nn

import napari_why as why
from napari_why.networks import wrap
from napari_why.simulation import EffectScene, simulate_effect

dataset = simulate_effect(96, "depolarisation", size=64)
classes = dataset.classes
x = torch.tensor(np.stack([dataset.image(row).values for row in range(len(dataset))]) / 1000.0)
labels = torch.tensor([classes.index(label) for label in dataset.table["label"]])

torch.manual_seed(0)
encoder = nn.Sequential(
    nn.Conv2d(2, 8, 5, stride=2), nn.ReLU(), nn.Conv2d(8, 16, 3, stride=2), nn.ReLU()
)
head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 2))
module = nn.Sequential(encoder, head)
optimiser = torch.optim.Adam(module.parameters(), lr=0.01)
for _ in range(40):
    optimiser.zero_grad()
    loss = nn.functional.cross_entropy(module(x.float()), labels)
    loss.backward()
    optimiser.step()
print(f"loss {loss:.3f}")

# %%
# How the module wants its images: raw grey levels over a thousand, at their own size. What would make an explanation
# false (a layer that changes its input in place, a network that answers differently each time) is refused in words.

mine = why.Classifier(
    wrap(encoder.eval(), head.eval(), input_channels=2, classes=2),
    why.Preprocessing(dataset.channels, None, "none", "linear", (0.0, 0.0), (1e3, 1e3), (1.0, 1.0)),
    classes,
)
scene = EffectScene(1002, "depolarisation", seed=5)
image = scene.image("healthy")
prediction = mine.predict(image)
print(prediction.label, prediction.probabilities, *prediction.notes)

# %%
# Attributions ask the module itself. For a counterfactual something has to make images: the generator of the first
# example does, and the module says what it thinks of them.

found = why.attribute(mine, image, "integrated_gradients", on_event=why.quiet)
generator = why.load("shared/classifier").generator
series = why.counterfactual(mine, image, through=generator, on_event=why.quiet)

figure, panels = plt.subplots(1, 3, figsize=(8, 3), layout="constrained")
shown = {
    "TMRM": image.values[1].astype(float),
    "evidence": found.joint,
    "change of TMRM": series.differences[-1][1],
}
for axes, (title, plane) in zip(panels, shown.items(), strict=True):
    limit = np.abs(plane).max()
    signed = {"cmap": "RdBu_r", "vmin": -limit, "vmax": limit}
    axes.imshow(plane, **({"cmap": "gray"} if title == "TMRM" else signed))
    axes.set_title(title)
    axes.set_axis_off()
