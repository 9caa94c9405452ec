"""What a checkpoint is, whether it works here, and what a recipe would take on it: `mmedpo doctor`."""
