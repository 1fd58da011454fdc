-- Searches through the cache. What the cache is and why it can be trusted: cad.cached_result. It is left out where
-- policies hide parts, which may depend on anything, where a filter may say "today", and where one may not write.

create or replace function cad._is_cached(filters jsonb)
returns boolean
language plpgsql
stable parallel unsafe
set search_path from current
as $$
begin
    return coalesce(nullif(current_setting('pgcad.cache', true), ''), 'on') <> 'off'
        and not pg_is_in_recovery() -- where tables that are not logged cannot be read
        and not filters ? 'created_at'
        and not row_security_active('cad.model')
        and has_table_privilege('cad.model', 'select');
end
$$;

comment on function cad._is_cached(jsonb) is 'Whether a search with these filters may be answered from the cache.';

create or replace function cad._cache_key(
    k int, filters jsonb, options jsonb, query text, image bytea, file bytea, format text, points real[], part uuid,
    v vector
)
returns bytea
language plpgsql
stable parallel safe
set search_path from current
as $$
begin
    return sha256(convert_to(jsonb_build_array(
        current_user, show_limit(), k, filters, options, query, sha256(image), sha256(file), format,
        sha256(array_send(points)), part, sha256(vector_send(v))
    )::text, 'UTF8'));
end
$$;

comment on function cad._cache_key(int, jsonb, jsonb, text, bytea, bytea, text, real[], uuid, vector) is
'SHA-256 of everything that a search is asked, and of who asks.';

create or replace function cad._cached_hits(key bytea)
returns cad.hit[]
language plpgsql
stable parallel unsafe
set search_path from current
as $$
begin
    return (
        select c.hits
        from cad.cached_result as c
        where c.key = _cached_hits.key
            and not exists (select from cad.cache_horizon as h where h.oldest > pg_snapshot_xmin(c.snapshot))
            and not exists (
                select from cad.change as changed
                where changed.xid >= pg_snapshot_xmin(c.snapshot) and not pg_visible_in_snapshot(changed.xid, c.snapshot)
            )
    );
end
$$;

comment on function cad._cached_hits(bytea) is 'The result with a key, if nothing has changed since; null otherwise.';

create or replace function cad._store_hits(key bytea, seen pg_snapshot, hits cad.hit[])
returns void
language plpgsql
volatile parallel unsafe
set search_path from current
as $$
begin
    -- What others kept since would be a serialization failure in a transaction that must not see it.
    if current_setting('transaction_read_only') = 'on' or current_setting('transaction_isolation') <> 'read committed' then
        return;
    end if;
    -- No search waits for another that keeps the same result and has not yet committed. So many locks are enough to be
    -- rarely in each other's way, and few enough for a transaction that searches for ever.
    if not pg_try_advisory_xact_lock(hashtext('pgcad cache'), get_byte(_store_hits.key, 0)) then
        return;
    end if;
    insert into cad.cached_result as c (key, asker, snapshot, hits)
    values (_store_hits.key, current_user::regrole, seen, coalesce(_store_hits.hits, '{}'))
    on conflict on constraint cached_result_pkey do update
    set snapshot = excluded.snapshot, hits = excluded.hits, cached_at = excluded.cached_at;
    if random() < 0.01 then
        perform cad._tidy_cache();
    end if;
end
$$;

comment on function cad._store_hits(bytea, pg_snapshot, cad.hit[]) is
'Keeps the result of a search that saw this snapshot. One time in a hundred the cache is tidied.';

create or replace function cad._cache_entries()
returns int
language plpgsql
stable parallel restricted
set search_path from current
as $$
declare
    given constant text := coalesce(cad._server_settings() ->> 'pgcad.cache_entries', '10000');
begin
    if given !~ '^[1-9]\d{0,8}$' then
        raise warning 'pgcad.cache_entries is %, which is no number of results: 10000 are kept', quote_literal(left(given, 100))
            using hint = 'Set it to a whole number from 1; pgcad.cache = off keeps nothing.';
        return 10000;
    end if;
    return given::int;
end
$$;

comment on function cad._cache_entries() is 'How many results are kept, as an administrator has set it: the cache is of everybody.';

create or replace function cad._tidy_cache()
returns void
language plpgsql
volatile parallel unsafe
security definer
set search_path from current
as $$
declare
    most constant int := cad._cache_entries();
    horizon xid8;
begin
    if not pg_try_advisory_xact_lock(hashtextextended('pgcad cache', 0)) then
        return; -- somebody else is at it
    end if;
    delete from cad.cached_result as c
    where c.key in (
        select o.key
        from cad.cached_result as o
        where o.cached_at < (select n.cached_at from cad.cached_result as n order by n.cached_at desc offset most - 1 limit 1)
            or exists (
                select from cad.change as changed
                where changed.xid >= pg_snapshot_xmin(o.snapshot) and not pg_visible_in_snapshot(changed.xid, o.snapshot)
            )
        for update skip locked
    );
    select pg_snapshot_xmin(c.snapshot) into horizon from cad.cached_result as c order by 1 limit 1;
    horizon := coalesce(horizon, pg_snapshot_xmin(pg_current_snapshot()));
    insert into cad.cache_horizon as h (oldest) values (horizon)
    on conflict ((true)) do update set oldest = greatest(h.oldest, excluded.oldest);
    delete from cad.change as changed where changed.xid < (select h.oldest from cad.cache_horizon as h);
end
$$;

comment on function cad._tidy_cache() is
'Drops results that no longer hold and the oldest beyond pgcad.cache_entries, and forgets changes that no result left is '
'older than.';

create or replace function cad._cached_search(
    k int,
    family text,
    filters jsonb,
    options jsonb,
    query text default null,
    image bytea default null,
    file bytea default null,
    format text default null,
    points real[] default null,
    part uuid default null,
    v vector default null
)
returns cad.hit[]
language plpgsql
stable parallel unsafe
cost 100000
set search_path from current
as $$
declare
    key bytea;
    kept cad.hit[];
    fresh record;
begin
    perform cad._check_k(k);
    filters := cad._check_filters(family, filters);
    options := cad._check_options(options);
    if not cad._is_cached(filters) then
        return (cad._search(k, filters, options, query, image, file, format, points, part, v)).hits;
    end if;
    key := cad._cache_key(k, filters, options, query, image, file, format, points, part, v);
    kept := cad._cached_hits(key);
    if kept is not null then
        return kept;
    end if;
    fresh := cad._search(k, filters, options, query, image, file, format, points, part, v);
    if not jsonb_path_exists(fresh.stages, '$[*].detail ? (@.strategy == "lexical")') then -- the encoder may be back soon
        -- This function is stable: the snapshot is the one that the search saw.
        perform cad._store_hits(key, pg_current_snapshot(), fresh.hits);
    end if;
    return fresh.hits;
end
$$;

comment on function cad._cached_search(int, text, jsonb, jsonb, text, bytea, bytea, text, real[], uuid, vector) is
'cad._search through the cache: the hits alone.';
