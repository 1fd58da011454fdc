-- The plan of a search, told by the search itself.

create or replace function cad.explain_search(
    query text default null,
    k int default 10,
    family text default null,
    filters jsonb default '{}',
    options jsonb default '{}',
    image bytea default null,
    file bytea default null,
    format text default null,
    points real[] default null,
    model_id uuid default null,
    v vector default null
)
returns table (stage text, detail jsonb, candidates int, elapsed_ms real)
language sql
stable parallel unsafe
cost 100000 rows 7
set search_path from current
as $$
    select s.stage, s.detail, s.candidates, s.elapsed_ms
    from jsonb_to_recordset((
        cad._search(k, family, filters, options, query, image, file, format, points, model_id, v)
    ).stages) as s (stage text, detail jsonb, candidates int, elapsed_ms real)
$$;

comment on function cad.explain_search(text, int, text, jsonb, jsonb, bytea, bytea, text, real[], uuid, vector) is
'Runs a search and returns the plan it took: one row per stage with candidates left and milliseconds.';
