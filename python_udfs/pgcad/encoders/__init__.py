"""The default space: text, image and shape towers into one unit sphere, and the rule that fuses them."""
