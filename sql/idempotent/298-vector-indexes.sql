-- Indexes on the fused vectors: which kinds there are, which of them stand, and how one is made.
--
-- What stands is read from the server's own catalogue, so an index that somebody made, dropped or broke by hand is seen
-- as it is. cad.space.config tells which ones a partition gets that is made from now on.
--
-- Every kind is read by an expression of its own, so a query says which index it means: ivfflat counts the first
-- dimensions from 0, as one may in SQL, and gets the same as prefix, which counts from 1.

create or replace function cad._index_kind()
returns table (kind text, method name, operator_class name, indexed text, nearness text, parameters jsonb)
language plpgsql
immutable parallel safe
rows 4
set search_path from current
as $$
begin
    return query values
    (
        'hnsw', name 'hnsw', name 'halfvec_cosine_ops', 'fused_vec', 's.fused_vec <=> $1',
        jsonb '{"m": {"default": 16, "least": 2, "most": 100}, "ef_construction": {"default": 200, "least": 4, "most": 1000}}'
    ),
    (
        'prefix', 'hnsw', 'halfvec_cosine_ops', '((subvector(fused_vec, 1, %1$s))::halfvec(%1$s))',
        'subvector(s.fused_vec, 1, %1$s)::halfvec(%1$s) <=> subvector($1, 1, %1$s)::halfvec(%1$s)',
        '{"dim": {"default": 128, "least": 1, "most": 4000}, "m": {"default": 16, "least": 2, "most": 100},'
        ' "ef_construction": {"default": 64, "least": 4, "most": 1000}}'
    ),
    (
        'bit', 'hnsw', 'bit_hamming_ops', '((binary_quantize(fused_vec))::bit(%1$s))',
        'binary_quantize(s.fused_vec)::bit(%1$s) <~> binary_quantize($1)::bit(%1$s)',
        '{"m": {"default": 16, "least": 2, "most": 100}, "ef_construction": {"default": 64, "least": 4, "most": 1000}}'
    ),
    (
        'ivfflat', 'ivfflat', 'halfvec_cosine_ops', '((subvector(fused_vec, 0, %2$s))::halfvec(%1$s))',
        'subvector(s.fused_vec, 0, %2$s)::halfvec(%1$s) <=> subvector($1, 0, %2$s)::halfvec(%1$s)',
        '{"dim": {"default": null, "least": 2, "most": 4000}, "lists": {"default": null, "least": 1, "most": 32768}}'
    );
end
$$;

comment on function cad._index_kind() is
'Kinds of vector indexes: access method and operator class, what is indexed as the server writes it, what a query orders '
'by ($1 is the probe; %1$s are the dimensions of the index, %2$s one more), and its parameters with default and bounds.';

create or replace function cad._nearness(kind text, dim integer)
returns text
language plpgsql immutable strict parallel safe
set search_path from current
as $$
begin
    return (select format(k.nearness, dim, dim + 1) from cad._index_kind() as k where k.kind = _nearness.kind);
end
$$;

comment on function cad._nearness(text, integer) is
'What a query orders the vectors s by to read an index of some kind; $1 is the probe.';

create or replace function cad._preference(kind text)
returns integer
language plpgsql
immutable strict parallel safe
set search_path from current
as $$
begin
    return array_position(array['hnsw', 'prefix', 'bit', 'ivfflat'], kind);
end
$$;

comment on function cad._preference(text) is 'Which kind of index searches take first where nothing was measured: the least.';

create or replace function cad._standing_indexes(vectors regclass)
returns table (partition regclass, index regclass, kind text, dim integer, parameters text[], valid boolean)
language plpgsql
stable parallel safe
rows 10
set search_path from current -- the server writes an expression as the path of the reader wants it
as $$
begin
    return query
    select x.indrelid::regclass, x.indexrelid::regclass, k.kind, a.atttypmod, c.reloptions, x.indisvalid and x.indisready
    from pg_inherits as i
    inner join pg_index as x on x.indrelid = i.inhrelid
    inner join pg_class as c on c.oid = x.indexrelid
    inner join pg_am as m on m.oid = c.relam
    inner join pg_opclass as o on o.oid = x.indclass[0]
    inner join pg_attribute as a on a.attrelid = x.indexrelid and a.attnum = 1
    inner join cad._index_kind() as k on k.method = m.amname and k.operator_class = o.opcname
    where
        i.inhparent = vectors
        and x.indnatts = 1
        and x.indpred is null
        and pg_get_indexdef(x.indexrelid, 1, false) = format(k.indexed, a.atttypmod, a.atttypmod + 1);
end
$$;

comment on function cad._standing_indexes(regclass) is
'The indexes on the fused vectors of a table that stand, whoever made them.';

create or replace function cad._vector_indexes()
returns table (
    space text, partition regclass, index regclass, kind text, dim integer, parameters text[], valid boolean,
    size_bytes bigint, parts bigint, scans bigint
)
language plpgsql
stable parallel safe
rows 10
set search_path from current
as $$
begin
    return query
    select
        s.name, x.partition, x.index, x.kind, x.dim, x.parameters, x.valid,
        pg_relation_size(x.index), greatest(leaf.reltuples, 0)::bigint, pg_stat_get_numscans(x.index)
    from cad.space as s
    cross join lateral cad._standing_indexes(s.vectors) as x
    inner join pg_class as leaf on leaf.oid = x.partition;
end
$$;

comment on function cad._vector_indexes() is 'The vector indexes of all spaces, with their size and use.';

create or replace function cad._usable_indexes(vectors regclass)
returns table (kind text, dim integer)
language plpgsql
stable parallel safe
rows 4
set search_path from current
as $$
begin
    return query
    select x.kind, x.dim
    from cad._standing_indexes(vectors) as x
    where x.valid
    group by x.kind, x.dim
    having count(distinct x.partition) = (select count(*) from pg_inherits as i where i.inhparent = _usable_indexes.vectors);
end
$$;

comment on function cad._usable_indexes(regclass) is
'The kinds of indexes, with their dimensions, that every partition of a table of vectors has and that are valid.';

create or replace function cad._check_index_kind(kind text)
returns void
language plpgsql
immutable parallel safe
set search_path from current
as $$
begin
    if exists (select from cad._index_kind() as k where k.kind = _check_index_kind.kind) then
        return;
    end if;
    raise exception 'there is no kind of index %', coalesce(quote_literal(left(kind, 100)), 'null')
        using errcode = '22023',
            hint = 'Known kinds: ' || (select string_agg(k.kind, ', ' order by k.kind) from cad._index_kind() as k) || '.';
end
$$;

comment on function cad._check_index_kind(text) is 'Refuses (22023) a kind of index that there is not.';

create or replace function cad._index_parameters(kind text, given jsonb, dim integer)
returns jsonb
language plpgsql
stable parallel safe
set search_path from current
as $$
declare
    known jsonb;
    wrong record;
    chosen jsonb;
begin
    perform cad._check_index_kind(kind);
    select k.parameters into known from cad._index_kind() as k where k.kind = _index_parameters.kind;
    if jsonb_typeof(given) is distinct from 'object' then
        raise exception 'parameters of an index must be a JSON object' using errcode = '22023', hint = 'Give {} for none.';
    end if;
    select g.key, g.value, known -> g.key as bounds into wrong
    from jsonb_each(given) as g
    where not known ? g.key or not coalesce(
        jsonb_path_match(
            g.value, '$.type() == "number" && $ == $.floor() && $ >= $least && $ <= $most', known -> g.key, silent => true
        ), false
    )
    limit 1;
    if found then
        raise exception 'an index of kind % cannot have % = %', kind, quote_ident(left(wrong.key, 100)), left(wrong.value::text, 100)
            using errcode = '22023', hint = case
                when wrong.bounds is null then 'Known parameters: ' || (
                    select string_agg(p.key, ', ' order by p.key) from jsonb_object_keys(known) as p (key)
                ) || '.'
                else format('A whole number from %s to %s.', wrong.bounds -> 'least', wrong.bounds -> 'most')
            end;
    end if;
    select coalesce(jsonb_object_agg(p.key, coalesce(given -> p.key, p.value -> 'default')), '{}') into chosen
    from jsonb_each(known) as p
    where coalesce(given -> p.key, p.value -> 'default') <> 'null';
    if (chosen -> 'dim')::integer >= dim and not given ? 'dim' then
        raise exception 'a space of % dimensions has no use for a prefix of %', dim, chosen -> 'dim'
            using errcode = '22023', hint = 'Give a smaller dim, such as {"dim": 64}, or take the kind hnsw.';
    elsif (chosen -> 'dim')::integer > dim then
        raise exception 'the prefix has % dimensions, the space only %', chosen -> 'dim', dim
            using errcode = '22023', hint = 'Give a smaller dim.';
    end if;
    if (chosen -> 'ef_construction')::integer < 2 * (chosen -> 'm')::integer then
        raise exception 'ef_construction must be at least 2 m, here %', 2 * (chosen -> 'm')::integer
            using errcode = '22023', hint = 'Raise ef_construction or lower m.';
    end if;
    return chosen;
end
$$;

comment on function cad._index_parameters(text, jsonb, integer) is
'Parameters of an index over vectors of that many dimensions, checked (22023), with defaults for what is not given.';

create or replace function cad._build_workers()
returns integer
language sql stable parallel safe
set search_path from current
as $$
    -- pgvector before 0.8.2 may overflow a buffer when it builds in parallel.
    select case
        when string_to_array(e.extversion, '.')::integer[] < '{0,8,2}' then 0
        else current_setting('max_parallel_maintenance_workers')::integer
    end
    from pg_extension as e
    where e.extname = 'vector'
$$;

comment on function cad._build_workers() is
'How many processes may help to build an index: max_parallel_maintenance_workers, or none where this pgvector is not safe.';

create or replace function cad._create_vector_index(vectors text, kind text, parameters jsonb, dim integer)
returns void
language plpgsql volatile parallel unsafe
set search_path from current
as $$
declare
    -- The text put into the statement is of the constants of cad._index_kind and of checked parameters:
    -- @plpgsql_check_options: security_warnings = false
    described record;
    indexed_dim constant integer := coalesce((parameters -> 'dim')::integer, dim);
begin
    select k.* into strict described from cad._index_kind() as k where k.kind = _create_vector_index.kind;
    if kind = 'ivfflat' and not parameters ? 'lists' then
        execute format('select cad._sized($1, $2, count(*)) from cad.%I', vectors) into parameters using kind, parameters;
    end if;
    perform set_config('max_parallel_maintenance_workers', cad._build_workers()::text, true);
    execute format(
        'create index on cad.%I using %I (%s %I) with (%s)', vectors, described.method,
        format(described.indexed, indexed_dim, indexed_dim + 1), described.operator_class,
        (select string_agg(format('%I = %s', p.key, p.value), ', ') from jsonb_each(parameters - 'dim') as p)
    );
end
$$;

comment on function cad._create_vector_index(text, text, jsonb, integer) is
'Makes an index of some kind on a table of vectors, with checked parameters.';

create or replace function cad._create_keys(vectors text)
returns void
language plpgsql volatile parallel unsafe
set search_path from current
as $$
begin
    execute format('alter table cad.%I add primary key (model_id, family)', vectors);
    execute format('create index on cad.%I using hash (model_id)', vectors); -- half the pages to a part that the key reads
end
$$;

comment on function cad._create_keys(text) is
'Gives a table of vectors what parts are found by: its key, and a hash index for those who compare many.';

create or replace function cad._create_vector_indexes(space text, vectors text)
returns void
language sql volatile parallel unsafe
set search_path from current
as $$
    select cad._create_vector_index(_create_vector_indexes.vectors, wanted.kind, wanted.parameters, s.dim)
    from cad.space as s
    cross join jsonb_each(s.config -> 'indexes') as wanted (kind, parameters)
    where s.name = _create_vector_indexes.space
$$;

comment on function cad._create_vector_indexes(text, text) is 'Gives a table of vectors the indexes that its space wants.';
