"""Where the classifier looked: one function a method, in a registry."""
