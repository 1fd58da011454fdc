"""The encoder service: one process per host that embeds queries and reads part files for the database."""
