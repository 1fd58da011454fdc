"""`python -m service_doubles.serve`: the real service around the tiny space."""

import sys

from pgcad.service.config import ServiceConfig
from pgcad.service.server import main
from service_doubles.space import TinySpace


def load_tiny_space(config: ServiceConfig) -> TinySpace:
    """As the real one, it brings along what the dispatcher needs of the encoders."""
    import pgcad.encoders.text  # noqa: F401

    return TinySpace()


if __name__ == "__main__":
    sys.exit(main(load_space=load_tiny_space, module="service_doubles.serve"))
