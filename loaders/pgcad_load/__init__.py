"""The command line `pgcad`: a thin client of SQL."""
