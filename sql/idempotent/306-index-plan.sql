-- Before an index is made: what each kind would cost in this space, and whether there is room for it.

create or replace function cad._disk_free_bytes()
returns bigint
language plpython3u stable parallel restricted security definer
set search_path from current
as $python$
import shutil

return shutil.disk_usage(plpy.execute("select current_setting('data_directory') as folder")[0]["folder"]).free
$python$;

comment on function cad._disk_free_bytes() is 'Room that is left where the server keeps its data.';

create or replace function cad._parts_of(vectors regclass)
returns bigint
language plpgsql stable parallel safe security definer
set search_path from current
as $$
declare
    parts bigint := (select c.reltuples from pg_class as c where c.oid = vectors);
begin
    if parts < 0 then -- never analysed
        execute format('select count(*) from only %s', vectors) into parts;
    end if;
    return parts;
end
$$;

comment on function cad._parts_of(regclass) is 'How many parts a table of vectors has, as of its last analyze if there was one.';

create or replace function cad.index_plan(space text)
returns table (
    kind text, parameters jsonb, stands boolean, size_bytes bigint, build_bytes bigint, fits boolean, workers integer,
    build_s double precision
)
language plpgsql
stable parallel unsafe
set search_path from current
as $$
begin
    perform cad._check_space(space);
    return query
    select
        k.kind,
        wanted.parameters,
        exists (select from cad._usable_indexes(s.vectors) as u where u.kind = k.kind),
        sum(cad._index_bytes(k.kind, wanted.parameters, s.dim, leaf.parts))::bigint,
        max(cad._build_bytes(k.kind, wanted.parameters, s.dim, leaf.parts)),
        max(cad._build_bytes(k.kind, wanted.parameters, s.dim, leaf.parts))
        <= pg_size_bytes(current_setting('maintenance_work_mem'))
        and sum(cad._index_bytes(k.kind, wanted.parameters, s.dim, leaf.parts)) <= cad._disk_free_bytes(),
        cad._build_workers(),
        sum(cad._build_s(measured, leaf.parts))
    from cad.space as s
    cross join cad._index_kind() as k
    cross join lateral (
        select cad._index_parameters(k.kind, coalesce(
            s.config -> 'indexes' -> k.kind, case k.kind when 'prefix' then jsonb_build_object('dim', least(128, s.dim)) end, '{}'
        ), s.dim) as parameters
    ) as wanted
    inner join pg_inherits as i on i.inhparent = s.vectors
    cross join lateral (select cad._parts_of(i.inhrelid) as parts) as leaf
    left join cad.build_time as measured
        on measured.space = s.name and measured.kind = k.kind and measured.parameters = wanted.parameters
        and measured.workers = cad._build_workers()
    where s.name = index_plan.space
    group by k.kind, wanted.parameters, s.vectors
    order by k.kind;
end
$$;

comment on function cad.index_plan(text) is
'What each kind of index costs in a space, with the parameters that it has or the defaults: size on disk over all partitions, '
'memory to build that of the largest one, and whether maintenance_work_mem and the disk have room; how many processes may '
'help, and how many seconds all of it takes, once cad.measure_builds has measured these parameters.';

create or replace function cad._check_room(vectors regclass, kind text, parameters jsonb, dim integer)
returns void
language plpgsql stable parallel unsafe
set search_path from current
as $$
declare
    parts constant bigint := cad._parts_of(vectors);
    memory constant bigint := cad._build_bytes(kind, parameters, dim, parts);
    disk constant bigint := cad._index_bytes(kind, parameters, dim, parts);
begin
    if memory > pg_size_bytes(current_setting('maintenance_work_mem')) then
        raise exception 'the index on % needs about % to build, maintenance_work_mem is %',
            vectors, pg_size_pretty(memory), current_setting('maintenance_work_mem')
            using errcode = '53400', hint = format(
                'With less it fails or takes many times as long. Run: set maintenance_work_mem = ''%sMB''; and try again.',
                ceil(memory * 1.1 / 1048576)
            );
    end if;
    if disk > cad._disk_free_bytes() then
        raise exception 'the index on % takes about %, more than the % that are free',
            vectors, pg_size_pretty(disk), pg_size_pretty(cad._disk_free_bytes())
            using errcode = '53100', hint = 'Make room, or take another kind: select * from cad.index_plan(''<space>'');';
    end if;
end
$$;

comment on function cad._check_room(regclass, text, jsonb, integer) is
'Refuses an index that does not fit maintenance_work_mem (53400) or the disk (53100).';
