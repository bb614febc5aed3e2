"""Layer-wise relevance propagation: a tape of the forward pass, and rules to run it backwards."""
