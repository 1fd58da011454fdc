"""`python -m service_doubles.serve`: the real service around the tiny space."""

import sys

from pgcad.service.server import main
from service_doubles.space import TinySpace

if __name__ == "__main__":
    sys.exit(main(load_space=lambda config: TinySpace(), module="service_doubles.serve"))
