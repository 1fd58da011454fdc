"""What `side_by_side.py` compares: one module for each product, all with the methods of `contender.Contender`."""
