-- What an index costs: memory while it is built and size on disk, from how pgvector lays out its graph in memory and
-- its tuples on pages (src/hnsw.h and src/ivfflat.h of pgvector 0.8), and what its k-means takes (src/ivfkmeans.c).

create or replace function cad._aligned(bytes numeric) returns numeric
language sql immutable strict parallel safe
set search_path from current
as $$
    select ceil(bytes / 8) * 8
$$;

comment on function cad._aligned(numeric) is 'Bytes that so many take in a tuple or in memory: a multiple of 8.';

create or replace function cad._lists(parts bigint)
returns integer
language sql immutable strict parallel safe
set search_path from current
as $$
    select least(32768, greatest(10, 2 * sqrt(parts)))::integer -- a scan reads some lists and is compared with all of them
$$;

comment on function cad._lists(bigint) is 'Into how many lists so many parts are sorted where nobody says it.';

create or replace function cad._sized(kind text, parameters jsonb, parts bigint)
returns jsonb
language sql immutable parallel safe
set search_path from current
as $$
    select case
        when kind = 'ivfflat' and not parameters ? 'lists' then parameters || jsonb_build_object('lists', cad._lists(parts))
        else parameters
    end
$$;

comment on function cad._sized(text, jsonb, bigint) is
'Parameters of an index over so many parts, with those that nobody chose and that depend on their number.';

create or replace function cad._kmeans_sample(lists integer, parts bigint)
returns bigint
language sql immutable strict parallel safe
set search_path from current
as $$
    select least(parts, greatest(10000, 50 * lists))
$$;

comment on function cad._kmeans_sample(integer, bigint) is 'How many parts the k-means of so many lists looks at.';

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
    select case
        when kind = 'ivfflat' then (
            with kmeans as (
                select
                    cad._aligned(cad._value_bytes(kind, parameters, dim)) as value,
                    coalesce((parameters -> 'dim')::integer, dim) as indexed_dim,
                    l.lists,
                    greatest(10000, 50 * l.lists) as samples, -- so many there is room for
                    cad._kmeans_sample(l.lists::integer, parts) as sampled
                from cast(cad._sized(kind, parameters, parts) ->> 'lists' as numeric) as l (lists)
            )

            select
                samples * value + lists * (2 * value + 4 * indexed_dim + 16) -- centres: now, next, and their sums
                + 4 * sampled * lists + 8 * sampled + 4 * lists * lists -- Elkan (2003): bounds of all distances
            from kmeans
        )
        else parts * (
            cad._aligned(cad._value_bytes(kind, parameters, dim))
            + 16 * m * (2 + 1 / (m - 1)) -- links: 2m of 16 bytes on the ground layer, m on each above
            + 240 -- the node, and what its four pieces of memory cost beside themselves
        )
    end::bigint
    from coalesce((parameters -> 'm')::numeric, 2) as m
$$;

comment on function cad._build_bytes(text, jsonb, integer, bigint) is
'Memory to build an index over so many parts. With less, an HNSW build is many times slower, and one of IVFFlat fails.';

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
        when kind = 'ivfflat' then parts / floor(page / listed) + (cad._sized(kind, parameters, parts) ->> 'lists')::integer
        when node + links <= page then parts / floor(page / (node + links))
        else parts / floor(page / node) + parts / floor(page / links)
    end)::bigint
    from tuple
$$;

comment on function cad._index_bytes(text, jsonb, integer, bigint) is 'Size on disk of an index over so many parts.';
