\echo Use "create extension pgcad cascade" to load this file. \quit

-- One search_path for the whole script. Every function says `set search_path from current` and so keeps it: pg_catalog
-- first, then cad, then the schemas of the extensions pgcad requires wherever they live, temporary objects last.
do $$
begin
    perform pg_catalog.set_config(
        'search_path',
        pg_catalog.concat_ws(', ', 'pg_catalog', 'cad', pg_catalog.string_agg(
            distinct pg_catalog.quote_ident(n.nspname), ', '
        ), 'pg_temp'),
        true
    )
    from pg_catalog.pg_extension as e
    inner join pg_catalog.pg_namespace as n on n.oid operator(pg_catalog.=) e.extnamespace
    where e.extname operator(pg_catalog.=) any(array['vector', 'cube', 'pg_trgm']::pg_catalog.name[])
        and n.nspname operator(pg_catalog.<>) all(array['pg_catalog', 'cad']::pg_catalog.name[]);
end
$$;
