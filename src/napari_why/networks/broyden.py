"""Broyden's good method with limited memory, for one image at a time."""

import torch
from torch import Tensor

MEMORY = 10


class BroydenMemory:
    """The inverse Jacobian as the identity plus at most ten rank-one terms u v^T.

    Broyden 1965, in the inverse (Sherman-Morrison) form. With an empty memory a step is the plain
    fixed-point step. A full memory starts anew.

    Examples
    --------
    >>> memory = BroydenMemory()
    >>> memory.step(torch.tensor([2.0, 0.0])).tolist()
    [-2.0, -0.0]
    """

    def __init__(self) -> None:
        self._left: list[Tensor] = []
        self._right: list[Tensor] = []

    def step(self, defect: Tensor) -> Tensor:
        """Return minus the inverse Jacobian applied to the defect F(x), in its shape."""
        return -self._apply(defect.flatten()).view_as(defect)

    def learn(self, step: Tensor, change: Tensor) -> None:
        """Update so that the inverse Jacobian maps the ``change`` of F to the ``step`` of x."""
        if len(self._left) == MEMORY:
            self.forget()
        s, f = step.flatten(), change.flatten()
        right = s.clone()
        for u, v in zip(self._left, self._right, strict=True):
            right += torch.dot(s, u) * v
        divisor = torch.dot(right, f)
        if float(divisor.abs()) > torch.finfo(f.dtype).eps * float(right.norm() * f.norm()):
            self._left.append((s - self._apply(f)) / divisor)
            self._right.append(right)

    def forget(self) -> None:
        """Start again from the identity."""
        self._left.clear()
        self._right.clear()

    def _apply(self, vector: Tensor) -> Tensor:
        result = vector.clone()
        for u, v in zip(self._left, self._right, strict=True):
            result += torch.dot(v, vector) * u
        return result
