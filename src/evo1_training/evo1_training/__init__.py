"""Recording, datasets, two-stage training and evaluation of Evo-1."""
