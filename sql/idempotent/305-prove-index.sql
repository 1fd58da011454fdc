-- The proof of a new index before it takes the place of another: with the settings that searches would use, it must
-- find what cad.tune was asked for, or where nothing was tuned, what the old one finds.

create or replace function cad._sampled_questions(vectors regclass, parts bigint, most int)
returns halfvec[]
language plpgsql
volatile parallel unsafe
set search_path from current
as $$
declare
    percent constant real := least(100, 100 * 20.0 * most / greatest(parts, 1));
    questions halfvec[];
begin
    -- What is asked in words is like what was said of the parts, and lies apart from their fused vectors.
    execute format($query$
        select array_agg(q.question) filter (where l2_norm(q.question) > 0)
        from (
            select unnest(array[s.fused_vec, s.text_vec]) as question
            from (select * from %s as s tablesample system ($1) order by random() limit $2) as s
        ) as q
    $query$, vectors)
    into questions
    using percent, (most + 1) / 2;
    return questions;
end
$$;

comment on function cad._sampled_questions(regclass, bigint, int) is
'Vectors of parts of a table and of what is said of them, drawn at random, as questions.';

create or replace function cad._serving_name(space text, partition regclass)
returns text
language sql stable strict parallel safe
set search_path from current
as $$
    select regexp_replace(partition::text, '^space_' || space || '_next', 'space_' || space)
$$;

comment on function cad._serving_name(text, regclass) is
'Name of a partition of a space, or the name that one of its next tables will have when it serves.';

create or replace function cad._index_recall(
    space text, index regclass, questions halfvec[], out setting int, out hits int[], out wanted int[]
)
language plpgsql
volatile parallel unsafe
set search_path from current
as $$
declare
    most constant int := 10;
    vectors regclass;
    standing record;
    place jsonb; -- of the partition: one by one, which is the truth
    scan jsonb;
    asked cad._query;
    truth uuid[];
begin
    select i.inhparent into strict vectors
    from pg_index as x
    inner join pg_inherits as i on i.inhrelid = x.indrelid
    where x.indexrelid = _index_recall.index;
    select x.* into strict standing from cad._standing_indexes(vectors) as x where x.index = _index_recall.index;
    setting := coalesce(
        (
            select t.setting
            from cad.space as s
            cross join lateral cad._tuned_scans(s.vectors) as t
            where s.name = _index_recall.space and t.partition = cad._serving_name(space, standing.partition)
                and t.kind = standing.kind and t.dim = standing.dim
        ),
        cad._default_setting(standing.kind, most)
    );
    select s.value - 'matching' into strict place
    from jsonb_array_elements(cad._scans(vectors, '{}', 'exact', 0, most)) as s
    where s.value ->> 'partition' = standing.partition::text;
    scan := place || jsonb_build_object(
        'kind', standing.kind, 'dim', standing.dim, 'candidates', cad._candidates(standing.kind, standing.dim, most),
        cad._setting(standing.kind), setting
    );
    asked.vectors := vectors;
    begin
        -- The planner is free to read another index that says the same, and leaves one that was made in this
        -- transaction over changing rows. What it is told here is rolled back, and nobody else ever sees it.
        update pg_index as x
        set indisvalid = x.indexrelid = standing.index, indcheckxmin = false
        from cad._standing_indexes(vectors) as twin
        where x.indexrelid = twin.index and twin.valid
            and twin.partition = standing.partition and twin.kind = standing.kind and twin.dim = standing.dim;
        foreach asked.fused_vec in array questions loop
            truth := (cad._nearest_by_plan(asked, '{}', most, 'exact', jsonb_build_array(place))).nearest;
            wanted := wanted || cardinality(truth);
            hits := hits || cad._hits(
                vectors, asked.fused_vec,
                (cad._nearest_by_plan(asked, '{}', most, standing.kind, jsonb_build_array(scan))).nearest, truth
            );
        end loop;
        raise exception 'measured' using errcode = 'triggered_action_exception';
    exception when triggered_action_exception then
        null;
    end;
end
$$;

comment on function cad._index_recall(text, regclass, halfvec[]) is
'How many of the ten nearest of each question an index finds, of how many, with the setting that searches would use.';

create or replace function cad._recall_to_keep(space text, old_index regclass, questions halfvec[])
returns double precision
language plpgsql
volatile parallel unsafe
set search_path from current
as $$
declare
    old record;
begin
    select least(t.target_recall, c.recall) as recall into old
    from cad.space as s
    inner join cad.tuning as t on t.space = s.name and t.in_force and t.encoder_version is not distinct from s.encoder_version
    inner join cad.tuned_scan as c on c.space = t.space and c.version = t.version and c.chosen
    inner join cad._standing_indexes(s.vectors) as x
        on x.index = old_index and c.vectors = x.partition::text and c.kind = x.kind and c.dim = x.dim
    where s.name = _recall_to_keep.space;
    if found then
        return old.recall;
    end if;
    old := cad._index_recall(space, old_index, questions);
    return (cad._recall(old.hits, old.wanted)).share;
end
$$;

comment on function cad._recall_to_keep(text, regclass, halfvec[]) is
'What the successor of an index has to find: the recall that cad.tune was asked for, or what it could reach; where nothing '
'was tuned, what the old one finds of these questions.';

create or replace function cad._prove_index(
    space text, new_index regclass, old_index regclass, least_recall real default null
)
returns void
language plpgsql
volatile parallel unsafe
set search_path from current
as $$
declare
    most constant int := 100;
    partition constant regclass := (select x.indrelid from pg_index as x where x.indexrelid = new_index);
    questions constant halfvec[] := cad._sampled_questions(partition, cad._parts_of(partition), most);
    wanted double precision;
    proof record;
    proven record;
begin
    if questions is null or old_index is null and least_recall is null then
        return; -- nothing to find, or to measure it by
    end if;
    wanted := coalesce(least_recall, cad._recall_to_keep(space, old_index, questions));
    proof := cad._index_recall(space, new_index, questions);
    proven := cad._recall(proof.hits, proof.wanted);
    -- Refused is what chance does not explain: the upper end of the 95 % interval lies below.
    if proven.high < wanted then
        raise exception 'the new index on % finds % of the ten nearest with setting %, % are wanted',
            cad._serving_name(space, partition), round(proven.share::numeric, 3), proof.setting,
            round(wanted::numeric, 3)
            using errcode = '55000', hint = 'The old one serves on.';
    end if;
end
$$;

comment on function cad._prove_index(text, regclass, regclass, real) is
'Refuses (55000) an index that finds less than the one that it is to replace, or than least_recall: measured with a hundred '
'vectors of its partition, against every one compared.';

create or replace function cad._predecessor(space text, new_index regclass, kind text, dim integer, partition text)
returns regclass
language sql stable parallel safe
set search_path from current
as $$
    select old.index
    from cad.space as s
    cross join lateral cad._standing_indexes(s.vectors) as old
    where s.name = _predecessor.space and old.partition::text = _predecessor.partition and old.valid
        and old.index <> new_index
    order by
        old.kind = _predecessor.kind and old.dim = _predecessor.dim desc,
        cad._preference(old.kind)
    limit 1
$$;

comment on function cad._predecessor(text, regclass, text, integer, text) is
'The index of a partition that another one is to replace: of the same kind, else the first that searches would take.';

create or replace function cad._parameters_of(standing text[], dim integer, kind text)
returns jsonb
language sql immutable parallel safe
set search_path from current
as $$
    select coalesce(jsonb_object_agg(split_part(p.parameter, '=', 1), split_part(p.parameter, '=', 2)::integer), '{}')
        || case when kind in ('prefix', 'ivfflat') then jsonb_build_object('dim', dim) else '{}' end
    from unnest(standing) as p (parameter)
$$;

comment on function cad._parameters_of(text[], integer, text) is
'The parameters of an index that stands, as cad.add_index takes them.';

create or replace function cad._prove_successor(space text, kind text, partition text, least_recall real)
returns void
language sql volatile parallel unsafe
set search_path from current
as $$
    select cad._prove_index(s.name, made.index, old.index, least_recall)
    from cad.space as s
    inner join cad._standing_indexes(s.vectors) as made on made.partition = format('cad.%I', partition)::regclass
    inner join cad._standing_indexes(s.vectors) as old on old.partition = made.partition and old.kind = made.kind
    cross join cad._parts_of(made.partition) as parts (number)
    where s.name = space and made.kind = _prove_successor.kind and made.valid and old.valid
        and cad._index_is_as_wanted(made.parameters, made.dim, s.config -> 'indexes' -> made.kind, s.dim, parts.number)
        and not cad._index_is_as_wanted(old.parameters, old.dim, s.config -> 'indexes' -> old.kind, s.dim, parts.number)
    limit 1
$$;

comment on function cad._prove_successor(text, text, text, real) is
'Refuses (55000) the index of a kind as it is wanted now where it finds less than the one that stood there before.';

create or replace function cad._keep_old_indexes(space text, kind text, made jsonb)
returns void
language plpgsql volatile parallel unsafe
set search_path from current
as $$
declare
    doomed regclass;
begin
    update cad.space as s
    set config = jsonb_set(s.config, array['indexes', kind], (
        select cad._parameters_of(x.parameters, x.dim, x.kind) - case when made ? 'lists' then '' else 'lists' end
        from cad._standing_indexes(s.vectors) as x
        where x.kind = _keep_old_indexes.kind and x.valid
            and not cad._index_is_as_wanted(x.parameters, x.dim, made, s.dim, cad._parts_of(x.partition))
        order by pg_relation_size(x.index) desc
        limit 1
    ))
    where s.name = _keep_old_indexes.space;
    for doomed in
        select x.index
        from cad.space as s
        cross join cad._standing_indexes(s.vectors) as x
        where s.name = _keep_old_indexes.space and x.kind = _keep_old_indexes.kind
            and cad._index_is_as_wanted(x.parameters, x.dim, made, s.dim, cad._parts_of(x.partition))
            and exists (
                select from cad._standing_indexes(s.vectors) as old
                where old.partition = x.partition and old.kind = x.kind and old.valid and old.index <> x.index
            )
    loop
        execute format('drop index %s', doomed);
    end loop;
end
$$;

comment on function cad._keep_old_indexes(text, text, jsonb) is
'Takes back a change of the parameters of a kind of index: the space wants the old ones again, and what was made is dropped.';
