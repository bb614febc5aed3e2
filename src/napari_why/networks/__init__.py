"""Networks that classify and can be explained."""
