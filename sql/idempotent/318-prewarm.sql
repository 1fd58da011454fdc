-- Indexes into memory before the first search asks for them: after a restart, a search reads its index from disk page
-- by page, each a wait of its own.

create or replace function cad._prewarm_function()
returns text
language plpgsql stable parallel safe
set search_path from current
as $$
declare
    called text;
begin
    select format('%I.%I', n.nspname, p.proname) into called
    from pg_extension as e
    inner join pg_depend as d on d.refclassid = 'pg_extension'::regclass and d.refobjid = e.oid and d.deptype = 'e'
    inner join pg_proc as p on d.classid = 'pg_proc'::regclass and p.oid = d.objid and p.proname = 'pg_prewarm'
    inner join pg_namespace as n on n.oid = p.pronamespace
    where e.extname = 'pg_prewarm';
    if called is null then
        raise exception 'the extension pg_prewarm is not in this database'
            using errcode = '0A000', hint = case
                when exists (select from pg_available_extensions as a where a.name = 'pg_prewarm')
                    then 'Run as superuser: create extension pg_prewarm;'
                else 'It comes with PostgreSQL as contrib: install that package, then run: create extension pg_prewarm;'
            end;
    end if;
    return called;
end
$$;

comment on function cad._prewarm_function() is 'The function of pg_prewarm, wherever that is; 0A000 where it is not.';

create or replace function cad.prewarm(space text, with_vectors boolean default false)
returns table (relation regclass, blocks bigint, bytes bigint)
language plpgsql volatile parallel unsafe security definer
set search_path from current
as $$
declare
    buffers_bytes constant bigint := pg_size_bytes(current_setting('shared_buffers'));
    block_bytes constant bigint := current_setting('block_size')::bigint;
    called text;
    total_bytes bigint := 0;
begin
    perform cad._check_space(space);
    called := cad._prewarm_function();
    for relation in
        select wanted.relation
        from (
            select i.inhrelid::regclass as relation, 1 as place
            from cad.space as s
            inner join pg_inherits as i on i.inhparent = s.vectors
            where s.name = prewarm.space and with_vectors
            union all
            select x.index, 2 from cad._vector_indexes() as x where x.space = prewarm.space and x.valid
        ) as wanted
        order by wanted.place, wanted.relation::text -- indexes last: where there is no room for all, these stay
    loop
        execute format('select %s($1)', called) into blocks using relation;
        bytes := blocks * block_bytes;
        total_bytes := total_bytes + bytes;
        return next;
    end loop;
    if total_bytes > buffers_bytes then
        raise warning 'shared_buffers is %, these take %: what came first was driven out again',
            pg_size_pretty(buffers_bytes), pg_size_pretty(total_bytes)
            using hint = 'Raise shared_buffers, or take a smaller index: select * from cad.index_plan(''<space>'').';
    end if;
end
$$;

comment on function cad.prewarm(text, boolean) is
'Reads the vector indexes of a space into shared_buffers, on request its vectors too, and says how much each takes; warns '
'where there is not room for all. Needs the extension pg_prewarm, which comes with PostgreSQL.';
