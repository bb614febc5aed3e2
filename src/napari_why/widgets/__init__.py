"""The docks: what a user does with them goes through the same functions as in the console."""

from napari_why.sessions import ViewerState, state_of

__all__ = ["ViewerState", "state_of"]
