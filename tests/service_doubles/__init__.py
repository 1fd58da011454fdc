"""Small stand-ins for the encoders and the geometry jobs, so that the service's own behaviour can be tested quickly."""
