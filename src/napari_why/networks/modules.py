"""Small modules shared by the networks."""

from torch import Tensor, nn


class ResidualSum(nn.Module):
    """The sum of a skip connection and a branch, as a module so that hooks and rules see it."""

    def forward(self, skip: Tensor, branch: Tensor) -> Tensor:
        """Return ``skip + branch``."""
        return skip + branch
