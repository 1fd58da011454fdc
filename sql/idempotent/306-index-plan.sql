-- What an index costs: memory while it is built, and size on disk, from how pgvector lays out its pages.

create or replace function cad._build_bytes(kind text, parameters jsonb, dim integer, parts bigint)
returns bigint
language sql immutable parallel safe
set search_path from current
as $$
    -- Vector, graph links (2m on the ground layer, 8 bytes each) and node header, as pgvector keeps them while building.
    select parts * case kind
        when 'hnsw' then 2 * dim + 16 * (parameters -> 'm')::integer + 128
        when 'prefix' then 2 * (parameters -> 'dim')::integer + 16 * (parameters -> 'm')::integer + 128
        when 'bit' then dim / 8 + 16 * (parameters -> 'm')::integer + 128
        when 'ivfflat' then 0
    end
$$;

comment on function cad._build_bytes(text, jsonb, integer, bigint) is
'Memory to build an index over so many parts; an HNSW build that has less is many times slower.';
