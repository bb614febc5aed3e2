"""Simulated two-channel 16-bit images of cells, whose true difference between classes is known.

Each name is imported when it is asked for: a scene is rendered without what makes data sets.
"""

from typing import TYPE_CHECKING, Any

from napari_why.core.late_imports import import_late

if TYPE_CHECKING:  # for editors and type checkers, which read no table and call no __getattr__
    from napari_why.simulation.effects import CLASSES as CLASSES
    from napari_why.simulation.effects import EFFECT_CLASSES as EFFECT_CLASSES
    from napari_why.simulation.effects import EFFECT_PAIRS as EFFECT_PAIRS
    from napari_why.simulation.effects import EFFECTS as EFFECTS
    from napari_why.simulation.planted_effects import PLANTED_EFFECTS as PLANTED_EFFECTS
    from napari_why.simulation.planted_effects import change_image as change_image
    from napari_why.simulation.planted_rendering import PlantedTile as PlantedTile
    from napari_why.simulation.planting import PlantedImages as PlantedImages
    from napari_why.simulation.planting import PlantOptions as PlantOptions
    from napari_why.simulation.planting import plant as plant
    from napari_why.simulation.planting import plant_to_folder as plant_to_folder
    from napari_why.simulation.scenes import Camera as Camera
    from napari_why.simulation.scenes import EffectScene as EffectScene
    from napari_why.simulation.scenes import PairScene as PairScene
    from napari_why.simulation.scenes import SimulatedScene as SimulatedScene
    from napari_why.simulation.simulated_sets import effect_scenes as effect_scenes
    from napari_why.simulation.simulated_sets import simulate as simulate
    from napari_why.simulation.simulated_sets import simulate_effect as simulate_effect
    from napari_why.simulation.simulated_sets import simulate_to_folder as simulate_to_folder

_PUBLIC = {
    "CLASSES": ".effects",
    "EFFECT_CLASSES": ".effects",
    "EFFECT_PAIRS": ".effects",
    "EFFECTS": ".effects",
    "PLANTED_EFFECTS": ".planted_effects",
    "change_image": ".planted_effects",
    "PlantedTile": ".planted_rendering",
    "PlantedImages": ".planting",
    "PlantOptions": ".planting",
    "plant": ".planting",
    "plant_to_folder": ".planting",
    "Camera": ".scenes",
    "EffectScene": ".scenes",
    "PairScene": ".scenes",
    "SimulatedScene": ".scenes",
    "effect_scenes": ".simulated_sets",
    "simulate": ".simulated_sets",
    "simulate_effect": ".simulated_sets",
    "simulate_to_folder": ".simulated_sets",
}

__all__ = [*sorted(_PUBLIC)]


if not TYPE_CHECKING:  # else type checkers would believe in every name

    def __getattr__(name: str) -> Any:
        return import_late(__name__, _PUBLIC, name)


def __dir__() -> list[str]:
    return __all__
