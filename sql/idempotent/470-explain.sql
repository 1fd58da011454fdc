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
language plpgsql
stable parallel unsafe
cost 100000 rows 7
set search_path from current
as $$
declare
    started constant timestamptz := clock_timestamp();
    checked jsonb;
    searched record;
begin
    perform cad._check_k(k);
    filters := cad._check_filters(family, filters);
    options := cad._check_options(options);
    checked := cad._stage('check', started, null, jsonb_build_object('k', k, 'filters', filters, 'options', options));
    searched := cad._search(k, filters, options, query, image, file, format, points, model_id, v);
    return query
    select s.stage, s.detail, s.candidates, s.elapsed_ms
    from jsonb_to_recordset(checked || searched.stages) as s (stage text, detail jsonb, candidates int, elapsed_ms real);
end
$$;

comment on function cad.explain_search(text, int, text, jsonb, jsonb, bytea, bytea, text, real[], uuid, vector) is
'Runs a search and returns the plan it took: one row per stage with candidates left and milliseconds.';
