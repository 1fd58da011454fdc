"""What indexes learn from the vectors of a space; the indexes themselves are tables (sql/incremental/094-codes.sql)."""
