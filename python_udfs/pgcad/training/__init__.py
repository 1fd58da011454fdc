"""How the weights of the default space are made: features, losses, training."""
