-- What an index costs: memory while it is built and size on disk, from how pgvector lays out its graph in memory and
-- its tuples on pages (src/hnsw.h and src/ivfflat.h of pgvector 0.8).

create or replace function cad._aligned(bytes numeric) returns numeric
language sql immutable strict parallel safe
set search_path from current
as $$
    select ceil(bytes / 8) * 8
$$;

comment on function cad._aligned(numeric) is 'Bytes that so many take in a tuple or in memory: a multiple of 8.';

create or replace function cad._value_bytes(kind text, parameters jsonb, dim integer) returns numeric
language sql immutable parallel safe
set search_path from current
as $$
    select case kind when 'bit' then 8 + ceil(dim / 8.0) else 8 + 2 * coalesce((parameters -> 'dim')::integer, dim) end
$$;

comment on function cad._value_bytes(text, jsonb, integer) is 'Bytes of one indexed vector of a space of so many dimensions.';

create or replace function cad._build_bytes(kind text, parameters jsonb, dim integer, parts bigint)
returns bigint
language sql immutable parallel safe
set search_path from current
as $$
    select (parts * case
        when kind = 'ivfflat' then 0
        else
            cad._aligned(cad._value_bytes(kind, parameters, dim))
            + 16 * m * (2 + 1 / (m - 1)) -- links: 2m of 16 bytes on the ground layer, m on each above
            + 240 -- the node, and what its four pieces of memory cost beside themselves
    end)::bigint
    from coalesce((parameters -> 'm')::numeric, 2) as m
$$;

comment on function cad._build_bytes(text, jsonb, integer, bigint) is
'Memory to build an index over so many parts; an HNSW build that has less is many times slower.';

create or replace function cad._index_bytes(kind text, parameters jsonb, dim integer, parts bigint)
returns bigint
language sql immutable parallel safe
set search_path from current
as $$
    with tuple as (
        select
            cad._aligned(8 + cad._value_bytes(kind, parameters, dim)) + 4 as listed,
            cad._aligned(72 + cad._value_bytes(kind, parameters, dim)) + 4 as node,
            cad._aligned(4 + 6 * m * (2 + 1 / (m - 1))) + 4 as links,
            8160 as page -- without its header and what pgvector keeps at its end
        from coalesce((parameters -> 'm')::numeric, 2) as m
    )

    select 8192 * (case
        when kind = 'ivfflat' then parts / floor(page / listed) + coalesce((parameters -> 'lists')::integer, 0)
        when node + links <= page then parts / floor(page / (node + links))
        else parts / floor(page / node) + parts / floor(page / links)
    end)::bigint
    from tuple
$$;

comment on function cad._index_bytes(text, jsonb, integer, bigint) is 'Size on disk of an index over so many parts.';
