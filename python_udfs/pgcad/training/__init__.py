"""How the weights of the default space are made and measured: data set, captions, losses, training, evaluation."""
