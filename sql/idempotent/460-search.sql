-- The search engine. Every search is cad._search with other arguments: encode, plan, find candidates by
-- vector and by word, rerank, and look at the first hits a second time. It returns the hits together with the stages it
-- went through: what explain_search shows is what happened.

create or replace function cad._stage(stage text, started timestamptz, candidates int, detail jsonb)
returns jsonb
language plpgsql
volatile parallel safe
set search_path from current
as $$
begin
    return jsonb_build_object(
        'stage', stage, 'detail', detail, 'candidates', candidates,
        'elapsed_ms', extract(epoch from clock_timestamp() - started) * 1000
    );
end
$$;

comment on function cad._stage(text, timestamptz, int, jsonb) is 'What one stage of a search did and how long it took.';

create or replace function cad._weights(asked cad._query, options jsonb)
returns jsonb
language plpgsql
stable parallel safe
set search_path from current
as $$
declare
    none constant jsonb := jsonb '{"fused": 0, "text": 0, "image": 0, "shape": 0, "brep": 0, "lexical": 0, "numbers": 0, "fit": 0}';
    weights jsonb;
begin
    select none || to_jsonb(f) - 'query_kind' - 'version' || coalesce(options -> 'weights', '{}')
    into strict weights
    from cad.fusion_weight as f
    where f.query_kind = asked.kind;
    if asked.boost is null then
        weights := weights || jsonb '{"boost": 0}';
    end if;
    if asked.fused_vec is null then
        return weights || none || jsonb '{"lexical": 1}';
    end if;
    if options ? 'against' then
        return weights || none || jsonb_build_object(options ->> 'against', 1);
    end if;
    if asked.text_vec is null then
        weights := weights || jsonb '{"text": 0}';
    end if;
    if asked.brep_vec is null and options #> '{weights,brep}' is null then
        weights := weights || jsonb '{"brep": 0}';
    end if;
    if asked.words is null then
        weights := weights || jsonb '{"lexical": 0}';
    end if;
    if asked.number_terms is null then
        weights := weights || jsonb '{"numbers": 0}';
    end if;
    -- The fit alone ranks nothing: it is a second look at what the others found.
    if coalesce((select sum(w.value::double precision) from jsonb_each(weights - 'fit') as w), 0) = 0 then
        raise exception 'no weight is left to rank by'
            using errcode = '22023', hint = 'Give at least one of options.weights that fits the query a value above 0.';
    end if;
    return weights;
end
$$;

comment on function cad._weights(cad._query, jsonb) is
'What each score counts in the rerank: cad.fusion_weight, options.weights over it, or options.against alone; and a boost.';

create or replace function cad._search(
    k int,
    filters jsonb,
    options jsonb,
    query text default null,
    image bytea default null,
    file bytea default null,
    format text default null,
    points real[] default null,
    part uuid default null,
    v vector default null,
    out hits cad.hit[],
    out stages jsonb
)
language plpgsql
stable parallel unsafe
cost 100000
set search_path from current
as $$
declare
    begun constant timestamptz := clock_timestamp();
    started timestamptz := begun;
    asked cad._query;
    space text;
    several record;
    most int;
    plan record;
    proposed record;
    planned timestamptz;
    indexed record;
    nearest uuid[];
    vector_ms real;
    lexical uuid[];
    lexical_most int := greatest(100, k);
    candidates uuid[];
    weights jsonb;
    -- A file is read for a second look at few hits; outlines are compared quickly, and pictures are alike more often.
    looked_at constant int := case when file is null and points is null then 200 else 10 end;
    looked record;
begin
    if jsonb_typeof(options -> 'space') = 'array' then
        several := cad._search_spaces(k, filters, options, query, image, file, format, points, part, v);
        hits := several.hits;
        stages := several.stages;
        return;
    end if;
    space := options ->> 'space';
    asked := cad._ask(space, query, image, file, format, points, part, v);
    asked.boost := cad._wanted(options -> 'boost');
    weights := cad._weights(asked, options);
    if weights -> 'brep' <> '0' then -- options may want it of a question without exact faces
        asked.brep_vec := coalesce(asked.brep_vec, asked.fused_vec);
    end if;
    if image is null and file is null and points is null then
        weights := weights || jsonb '{"fit": 0}';
    end if;
    most := cad._most(k + (part is not null)::int, weights, options ->> 'strategy'); -- that part is left out
    stages := jsonb_build_array(cad._stage('encode', started, null, jsonb_build_object(
        'kind', asked.kind, 'terms', asked.terms::text[], 'numbers', asked.number_terms::text[], 'weights', weights
    ) || case
        when asked.english_terms is null then '{}'
        else jsonb_build_object('in_english', asked.english_terms::text[])
    end));

    started := clock_timestamp();
    plan := cad._plan(asked, most, filters, options, true);
    stages := stages || cad._stage('plan', started, plan.matching, jsonb_build_object(
        'strategy', plan.strategy, 'reason', plan.reason
    ));
    planned := clock_timestamp();

    if plan.strategy = 'resident' then
        started := clock_timestamp();
        proposed := cad._nearest_resident(asked.vectors, array[asked.fused_vec], filters, most, plan.matching);
        nearest := proposed.nearest;
        stages := stages || cad._stage('resident', started, cardinality(nearest), coalesce(
            proposed.detail, jsonb_build_object('failed', proposed.error -> 'message')
        ));
        if proposed.error is not null then -- nobody asked for it, or the search fails
            if options ->> 'strategy' = 'resident' then
                perform cad._raise(proposed.error);
            end if;
            started := clock_timestamp();
            plan := cad._plan(asked, most, filters, options, false);
            stages := stages || cad._stage('plan', started, plan.matching, jsonb_build_object(
                'strategy', plan.strategy, 'reason', plan.reason
            ));
        end if;
    end if;
    if plan.scans is not null then
        started := clock_timestamp();
        indexed := cad._nearest_by_plan(asked, filters, most, plan.strategy, plan.scans);
        nearest := indexed.nearest;
        stages := stages || cad._stage(plan.strategy, started, cardinality(nearest), jsonb_build_object(
            'wanted', most, 'scans', indexed.settings
        ));
    end if;
    if plan.strategy = 'exact' or nearest is not null and cad._is_short(nearest, most, filters) then
        started := clock_timestamp();
        nearest := cad._nearest_exact(coalesce(options ->> 'against', 'fused'), asked, filters, most);
        stages := stages || cad._stage('exact', started, cardinality(nearest), jsonb_build_object(
            'wanted', most, 'because', case when plan.strategy <> 'exact' then plan.strategy || ' came back short' end
        ));
        plan.scans := null;
    end if;
    vector_ms := extract(epoch from clock_timestamp() - planned) * 1000;
    if asked.words is not null then
        started := clock_timestamp();
        lexical := cad._lexical_candidates(asked, filters, lexical_most);
        stages := stages || cad._stage('lexical', started, cardinality(lexical), jsonb_build_object('wanted', lexical_most));
    end if;

    started := clock_timestamp();
    candidates := nearest;
    if lexical is not null then
        candidates := array(select unnest(nearest) union select unnest(lexical));
    end if;
    candidates := array_remove(candidates, part);
    if weights -> 'fit' = '0' then
        hits := cad._rerank(candidates, asked, weights, (options ->> 'min_score')::real, k);
    else
        hits := cad._rerank(candidates, asked, weights, null, greatest(k, looked_at));
    end if;
    stages := stages || cad._stage('rerank', started, cardinality(candidates), jsonb_build_object(
        'hits', coalesce(cardinality(hits), 0)
    ) || case
        when asked.boost is null then '{}'
        else jsonb_build_object('boosts', (
            select jsonb_agg(cad._boost(asked.boost, m.material, m.mass_kg, m.volume_mm3, m.size_mm) order by h.rank)
            from unnest(hits) as h
            inner join cad.model as m on m.model_id = h.model_id
        ))
    end);

    if weights -> 'fit' <> '0' and hits is not null then
        looked := cad._second_look(hits[:looked_at], weights, image, file, format, points);
        stages := stages || looked.stages;
        hits := cad._refit(hits, looked.fits, weights, (options ->> 'min_score')::real, k);
    end if;

    if cad._is_logged() then
        perform cad._log_search(
            asked, filters, k, plan.strategy, case when not row_security_active('cad.model') then plan.scans end,
            nearest, coalesce(cardinality(hits), 0), case when plan.strategy <> 'lexical' then vector_ms end,
            (extract(epoch from clock_timestamp() - begun) * 1000)::real
        );
    end if;
end
$$;

comment on function cad._search(int, jsonb, jsonb, text, bytea, bytea, text, real[], uuid, vector) is
'Every search, its filters and options checked: the hits, and the stages it took to find them.';

create or replace function cad._search_spaces(
    k int, filters jsonb, options jsonb, query text, image bytea, file bytea, format text, points real[], part uuid,
    v vector, out hits cad.hit[], out stages jsonb
)
language plpgsql
stable parallel unsafe
cost 100000
set search_path from current
as $$
declare
    spaces constant text[] := array(select jsonb_array_elements_text(options -> 'space'));
    depth constant int := least(10000, greatest(100, 2 * k)); -- how far down the list of each space
    rrf_k constant int := 60;
    started timestamptz;
    space text;
    found record;
    listed cad.hit[] := array[]::cad.hit[]; -- ranks of the hits of all spaces
    scored cad.hit[]; -- the hits of the first
    unscored uuid[];
    asked cad._query;
    ranked uuid[];
    scores double precision[];
begin
    stages := '[]';
    foreach space in array spaces loop
        found := cad._search(
            depth, filters, options - 'min_score' || jsonb_build_object('space', space),
            query, image, file, format, points, part, v
        );
        stages := stages || (
            select jsonb_agg(jsonb_set(stage.value, '{detail,space}', to_jsonb(space)) order by stage.place)
            from jsonb_array_elements(found.stages) with ordinality as stage (value, place)
        );
        -- A space that knows nothing of a part scores it 0: that is no rank.
        listed := listed || array(
            select
                row(
                    case when h.score <> 0 then count(*) filter (where h.score <> 0) over (order by h.rank) end,
                    h.model_id, null, null, null, null, null, null, null, null
                )::cad.hit
            from unnest(found.hits) as h
        );
        scored := coalesce(scored, found.hits, '{}');
    end loop;

    started := clock_timestamp();
    select array_agg(f.model_id order by f.score desc, f.model_id), array_agg(f.score order by f.score desc, f.model_id)
    into ranked, scores
    from (
        select
            l.model_id,
            coalesce(sum(1.0 / (rrf_k + l.rank)), 0)
            * (rrf_k + 1) / cardinality(spaces) as score -- 1 for who is first everywhere
        from unnest(listed) as l
        group by l.model_id
    ) as f
    where (options ->> 'min_score') is null or f.score::real >= (options ->> 'min_score')::real;
    ranked := ranked[:k];
    unscored := array(
        select unnest(ranked)
        except
        select s.model_id from unnest(scored) as s
    );
    if unscored <> '{}' then -- far down in the first space, whose scores a hit tells
        asked := cad._ask(spaces[1], query, image, file, format, points, part, v);
        asked.boost := cad._wanted(options -> 'boost');
        scored := scored || cad._rerank(unscored, asked, cad._weights(asked, options), null, cardinality(unscored));
    end if;
    select array_agg(
        row(
            r.place, s.model_id, s.part_number, s.name, s.family, scores[r.place],
            s.text_score, s.image_score, s.shape_score, s.lexical_score
        )::cad.hit
        order by r.place
    )
    into hits
    from unnest(ranked) with ordinality as r (model_id, place)
    inner join unnest(scored) as s on r.model_id = s.model_id;
    stages := stages || cad._stage('fuse', started, cardinality(scores), jsonb_build_object(
        'spaces', spaces, 'method', 'reciprocal rank fusion', 'k', rrf_k, 'hits', coalesce(cardinality(hits), 0)
    ));
end
$$;

comment on function cad._search_spaces(int, jsonb, jsonb, text, bytea, bytea, text, real[], uuid, vector) is
'One search in several spaces: each one''s list, fused by reciprocal rank (Cormack, Clarke and Buettcher 2009). The score '
'of a hit is 1 where it is first in all of them; its scores per modality are those of the first space named.';
