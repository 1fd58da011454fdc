-- How long an index takes to build on this machine, with these vectors: samples are indexed for a measure, and
-- what is between and beyond follows from how each kind is built. An HNSW build searches the graph once for each
-- vector, at a cost that grows with the logarithm of their number. An IVFFlat build finds its lists by k-means, which
-- compares a sample with them again and again, and then compares each vector with each list; what the rest takes, one
-- list of all shows.

create or replace function cad._measured_lists(many_parts bigint)
returns integer
language sql immutable strict parallel safe
set search_path from current
as $$
    select cad._lists(least(many_parts, 24000)) -- their k-means fits 64 MB, and a larger sample needs no more of it
$$;

comment on function cad._measured_lists(bigint) is 'How many lists are made of samples of which the larger has so many parts.';

create or replace function cad._lists_build_s(measured cad.build_time, parts bigint)
returns double precision
language plpgsql immutable strict parallel safe
set search_path from current
as $$
declare
    lists constant double precision := cad._measured_lists((measured).many_parts);
    few constant double precision := cad._kmeans_sample(lists::integer, (measured).few_parts);
    many constant double precision := cad._kmeans_sample(lists::integer, (measured).many_parts);
    apart constant double precision := few * (measured).many_parts - many * (measured).few_parts;
    wanted constant integer := (cad._sized('ivfflat', (measured).parameters, parts) ->> 'lists')::integer;
    writing_s constant double precision := (measured).one_list_s / (measured).many_parts; -- of one part, and reading it
    few_s constant double precision := greatest(0, (measured).few_s - writing_s * (measured).few_parts);
    many_s constant double precision := greatest(0, (measured).many_s - (measured).one_list_s);
    sorting_s double precision := 0; -- of one part into one list
    kmeans_s double precision; -- of one part of the sample and one list
begin
    if apart <> 0 then
        sorting_s := greatest(0, few * many_s - many * few_s) / apart / lists;
    end if; -- else all parts were in the sample
    kmeans_s := greatest(0, many_s - sorting_s * lists * (measured).many_parts) / lists / many;
    return wanted * (kmeans_s * cad._kmeans_sample(wanted, parts) + sorting_s * parts) + writing_s * parts;
end
$$;

comment on function cad._lists_build_s(cad.build_time, bigint) is
'Seconds to build an index of lists over so many parts, from what two samples took that were sorted into as many lists, '
'and the larger into one.';

create or replace function cad._build_s(measured cad.build_time, parts bigint)
returns double precision
language plpgsql immutable strict parallel safe
set search_path from current
as $$
declare
    few constant double precision := (measured).few_s / (measured).few_parts;
    many constant double precision := (measured).many_s / (measured).many_parts;
    slope double precision;
begin
    if (measured).kind = 'ivfflat' then
        return cad._lists_build_s(measured, parts);
    end if;
    slope := greatest(0, (many - few) / ln((measured).many_parts::double precision / (measured).few_parts));
    return parts * greatest(0, many + slope * ln(greatest(parts, 1)::double precision / (measured).many_parts));
end
$$;

comment on function cad._build_s(cad.build_time, bigint) is
'Seconds to build an index over so many parts, from what samples took: n log n for the graphs, k-means, sorting and writing for '
'the lists.';

create or replace function cad._measure_build(vectors regclass, kind text, parameters jsonb, dim integer, parts integer)
returns real
language plpgsql volatile parallel unsafe
set search_path from current
as $$
declare
    runs constant integer := case kind when 'ivfflat' then 3 else 2 end;
    started timestamptz;
    took_s real;
begin
    -- A table like any other: a temporary one would not be indexed in parallel.
    execute format(
        'create unlogged table cad._build_sample (fused_vec halfvec(%s)) with (parallel_workers = %s)', dim, cad._build_workers()
    );
    alter table cad._build_sample alter fused_vec set storage main;
    execute format(
        'insert into cad._build_sample select s.fused_vec from %s as s tablesample system ($1)
        where s.fused_vec is not null order by random() limit $2', vectors
    )
    using least(100, 100 * 2.0 * parts / greatest(cad._parts_of(vectors), 1)), parts;
    for run in 1..runs loop -- the quicker counts: others on the machine only ever add to it
        started := clock_timestamp();
        perform cad._create_vector_index('_build_sample', kind, parameters, dim);
        took_s := least(took_s, extract(epoch from clock_timestamp() - started));
    end loop;
    drop table cad._build_sample;
    return took_s;
end
$$;

comment on function cad._measure_build(regclass, text, jsonb, integer, integer) is
'Seconds that it takes to index so many vectors of a table.';

create or replace function cad.measure_builds(space text)
returns setof cad.build_time
language plpgsql volatile parallel unsafe security definer
rows 4
set search_path from current
as $$
declare
    largest regclass;
    parts bigint;
    dim integer;
    measured cad.build_time;
    sampled jsonb;
begin
    perform cad._check_space(space);
    select leaf.partition, leaf.parts, s.dim into largest, parts, dim
    from cad.space as s
    inner join pg_inherits as i on i.inhparent = s.vectors
    cross join lateral (select i.inhrelid::regclass as partition, cad._parts_of(i.inhrelid) as parts) as leaf
    where s.name = measure_builds.space
    order by leaf.parts desc
    limit 1;
    if parts < 1000 then
        raise exception 'space % has only % vectors in its largest partition', space, parts
            using errcode = '55000', hint = 'Load parts first: what fewer than 1000 take says nothing about many.';
    end if;
    measured.space := space;
    measured.workers := cad._build_workers();
    measured.measured_at := now();
    for measured.kind, measured.parameters in select p.kind, p.parameters from cad.index_plan(space) as p loop
        measured.many_parts := least(parts, case measured.kind when 'ivfflat' then 96000 else 48000 end);
        measured.few_parts := measured.many_parts / case measured.kind when 'ivfflat' then 6 else 4 end;
        sampled := measured.parameters || case measured.kind
            when 'ivfflat' then jsonb_build_object('lists', cad._measured_lists(measured.many_parts)) else '{}'
        end;
        measured.few_s := cad._measure_build(largest, measured.kind, sampled, dim, measured.few_parts);
        measured.many_s := cad._measure_build(largest, measured.kind, sampled, dim, measured.many_parts);
        measured.one_list_s := case measured.kind when 'ivfflat'
            then cad._measure_build(largest, measured.kind, sampled || '{"lists": 1}', dim, measured.many_parts)
        end;
        delete from cad.build_time as b where b.space = measured.space and b.kind = measured.kind;
        insert into cad.build_time select measured.*;
        return next measured;
    end loop;
end
$$;

comment on function cad.measure_builds(text) is
'Times the building of every kind of index over samples of the vectors of a space, a minute or two in all: from then on '
'cad.index_plan tells how long each takes. Again after a change of parameters, of machine or of how many processes build.';
