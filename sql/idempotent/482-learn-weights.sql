-- Weights of the rerank, learned from judgements. Every judged question is asked again, and the service
-- (pgcad/training/rerank_weights.py) finds what each score should count so that what was judged right comes first.

create or replace function cad._judged_query(judged cad.feedback)
returns cad._query
language plpgsql
stable parallel unsafe
set search_path from current
as $$
declare
    asked cad._query;
begin
    asked := cad._ask(
        judged.space, judged.words, null, null, null, null, judged.like_id,
        case when num_nonnulls(judged.words, judged.like_id) = 0 then judged.fused_vec::vector end
    );
    if judged.fused_vec is not null then
        asked.kind := judged.query_kind;
        asked.by_view := judged.by_view;
        asked.text_vec := judged.text_vec;
        asked.image_vec := judged.image_vec;
        asked.shape_vec := judged.shape_vec;
        asked.brep_vec := judged.brep_vec;
        asked.fused_vec := judged.fused_vec;
    end if;
    return asked;
end
$$;

comment on function cad._judged_query(cad.feedback) is 'A question that was judged, as it would be asked now.';

create or replace function cad._judged_questions(space text, query_kind text, most int)
returns table (sample cad.feedback, relevant uuid[], others uuid[], judgements int)
language plpgsql
stable parallel unsafe
rows 1000
set search_path from current
as $$
begin
    return query
    with judged as ( -- several people may have judged: most of them decide
        select
            f.question,
            f.model_id,
            count(*) as judgements,
            max(f.judged_at) as judged_at,
            count(*) filter (where f.relevant) * 2 > count(*) as relevant,
            (array_agg(f order by f.judged_by))[1] as sample
        from cad.feedback as f
        inner join cad.space as s on s.name = f.space
        where f.space = _judged_questions.space
            and f.query_kind = _judged_questions.query_kind
            and (f.fused_vec is null or f.encoder_version is not distinct from s.encoder_version)
        group by f.question, f.model_id
    ),

    recent as (
        select
            j.question,
            (array_agg(j.sample order by j.model_id))[1] as sample,
            array_agg(j.model_id) filter (where j.relevant) as relevant,
            array_agg(j.model_id) filter (where not j.relevant) as others,
            sum(j.judgements)::int as judgements
        from judged as j
        group by j.question
        having bool_or(j.relevant)
        order by max(j.judged_at) desc, j.question
        limit most
    )

    select r.sample, r.relevant, r.others, r.judgements
    from recent as r
    order by r.question;
end
$$;

comment on function cad._judged_questions(text, text, int) is
'The questions of a kind that were judged last and have a right part, in an order that has nothing to do with what they '
'ask. Those of vectors that another encoder made are left out.';

create or replace function cad._judged_scores(asked cad._query, relevant uuid[], others uuid[], part uuid)
returns setof real[]
language plpgsql
stable parallel unsafe
rows 300
set search_path from current
as $$
declare
    k constant int := 100;
    most constant int := cad._most(k, cad._weights(asked, '{}'), 'auto');
    plan record;
    nearest uuid[];
begin
    plan := cad._plan(asked, most, '{}', '{"strategy": "auto"}', with_resident => false);
    if plan.scans is null then
        nearest := cad._nearest_exact('fused', asked, '{}', most);
    else
        nearest := (cad._nearest_by_plan(asked, '{}', most, plan.strategy, plan.scans)).nearest;
    end if;
    return query
    select array[
        (s.model_id = any(relevant))::int,
        case when asked.text_vec is not null then s.text else 0 end, -- as cad._weights has it
        s.image,
        s.shape,
        case when asked.brep_vec is not null then s.brep else 0 end,
        s.fused,
        s.lexical,
        s.numbers
    ]::real[]
    from cad._scores(
        array(
            (
                select unnest(nearest)
                union select unnest(cad._lexical_candidates(asked, '{}', k)) where asked.words is not null
                union select unnest(relevant)
                union select unnest(others)
            )
            except select part
        ),
        asked
    ) as s
    where not s.named -- it is first, whatever the weights are
    order by s.model_id; -- as ties are ranked
end
$$;

comment on function cad._judged_scores(cad._query, uuid[], uuid[], uuid) is
'The candidates of a question and the parts that were judged: 1 for a right one or 0, then its scores.';

create or replace function cad._judged_matrix(space text, query_kind text, most int)
returns table (question int, judgements int, scores real[])
language plpgsql
stable parallel unsafe
rows 100000
set search_path from current
as $$
declare
    judged record;
begin
    question := 0;
    for judged in select * from cad._judged_questions(space, query_kind, most) loop
        judgements := judged.judgements;
        return query
        select question, judgements, s.scores
        from cad._judged_scores(
            cad._judged_query(judged.sample), judged.relevant, judged.others, (judged.sample).like_id
        ) as s (scores);
        question := question + 1;
    end loop;
end
$$;

comment on function cad._judged_matrix(text, text, int) is 'The candidates of all judged questions, with their scores.';

create or replace function cad._fusion_weight_of(query_kind text)
returns cad.fusion_weight
language plpgsql
volatile parallel unsafe
set search_path from current
as $$
declare
    in_force cad.fusion_weight;
begin
    select f.* into in_force
    from cad.fusion_weight as f
    where f.query_kind = _fusion_weight_of.query_kind
    for update;
    if not found then
        raise exception 'there is no kind of query %', coalesce(quote_ident(left(query_kind, 100)), 'null')
            using errcode = '22023', hint = 'Known kinds: ' || (
                select string_agg(f.query_kind, ', ' order by f.query_kind) from cad.fusion_weight as f
            ) || '.';
    end if;
    return in_force;
end
$$;

comment on function cad._fusion_weight_of(text) is
'The weights in force for a kind of query, kept as they are until the end of the transaction; 22023 for no such kind.';

create or replace function cad.learn_weights(query_kind text, space text default 'cad')
returns cad.fusion_weight_version
language plpgsql
volatile parallel unsafe
cost 1000000
set search_path from current
as $$
declare
    most constant int := 1000;
    fewest constant int := 30;
    scores constant text[] := array['text', 'image', 'shape', 'brep', 'fused', 'lexical', 'numbers'];
    before constant cad.fusion_weight := cad._fusion_weight_of(query_kind);
    judged record;
    answer record;
    learned cad.fusion_weight_version;
begin
    perform cad._check_space(space);
    perform cad.encoder_health(); -- where it is away, say so at once
    select
        count(*) filter (where m.begins) as questions,
        sum(m.judgements) filter (where m.begins) as judgements,
        array_agg(m.question || m.scores order by m.place) as matrix
    into judged
    from (
        select
            j.*,
            bool_or(j.scores[1] = 1) over (partition by j.question) as usable,
            j.place = min(j.place) over (partition by j.question) as begins
        from cad._judged_matrix(space, query_kind, most) with ordinality as j (question, judgements, scores, place)
    ) as m
    where m.usable;
    if judged.questions < fewest then
        raise exception 'only % questions of kind % have a part that was judged right', judged.questions, query_kind
            using errcode = '55000',
                hint = format('Record %s more with cad.record_feedback; those of a part''s own number do not count.', fewest - judged.questions);
    end if;
    answer := cad._request(
        'learn_weights',
        jsonb_build_object('scores', scores, 'weights', (
            select jsonb_agg(to_jsonb(before) -> s.name order by s.place) from unnest(scores) with ordinality as s (name, place)
        )),
        array[cad._float_bytes(array_send(judged.matrix))]
    );
    perform cad._raise(answer.error);
    learned := jsonb_populate_record(
        null::cad.fusion_weight_version, to_jsonb(before) || (answer.reply -> 'weights') || (answer.reply -> 'measured')
    );
    learned.source := 'learned';
    learned.questions := judged.questions;
    learned.judgements := judged.judgements;
    learned.made_at := now();
    learned.made_by := session_user;
    select s.encoder_version into learned.encoder_version from cad.space as s where s.name = learn_weights.space;
    if learned.gain_low > 0 then
        select max(v.version) + 1 into learned.version
        from cad.fusion_weight_version as v
        where v.query_kind = before.query_kind;
        insert into cad.fusion_weight_version select (learned).*;
        update cad.fusion_weight as f set version = learned.version where f.query_kind = before.query_kind;
    else
        learned.version := null;
        raise notice 'the weights stay as they are: learned ones change the mean reciprocal rank from % to %, by % to % (95 %%)',
            learned.mrr_before, learned.mrr, learned.gain_low, learned.gain_high
            using hint = 'More judgements may tell.';
    end if;
    return learned;
end
$$;

comment on function cad.learn_weights(text, text) is
'Learns from the judgements of cad.feedback what each score should count for a kind of query. The weights take force if '
'they rank questions that they were not learned from better than those of before, surely (95 %); the version is null and '
'nothing changes otherwise. cad.undo_learn_weights goes back.';

create or replace function cad.undo_learn_weights(query_kind text)
returns int
language plpgsql
volatile parallel unsafe
set search_path from current
as $$
declare
    in_force constant cad.fusion_weight := cad._fusion_weight_of(query_kind);
    before constant int := (
        select max(v.version)
        from cad.fusion_weight_version as v
        where v.query_kind = in_force.query_kind and v.version < in_force.version
    );
begin
    if before is null then
        return in_force.version;
    end if;
    update cad.fusion_weight as f set version = before where f.query_kind = in_force.query_kind;
    return before;
end
$$;

comment on function cad.undo_learn_weights(text) is
'Goes back to the version of the weights before the one in force, learned or set by hand. Returns the version that is in '
'force now; 1 are the defaults.';
