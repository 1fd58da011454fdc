-- Judgements of hits: what cad.learn_weights learns from.

create or replace function cad.record_feedback(
    query text default null,
    model_id uuid default null,
    relevant boolean default true,
    image bytea default null,
    file bytea default null,
    format text default null,
    points real[] default null,
    like_id uuid default null,
    v vector default null,
    space text default 'cad'
)
returns void
language plpgsql
volatile parallel unsafe
cost 100000
set search_path from current
as $$
declare
    judged cad.feedback;
    asked cad._query;
begin
    if model_id is null or not exists (select from cad.model as m where m.model_id = record_feedback.model_id) then
        raise exception 'there is no part %', coalesce(model_id::text, 'null')
            using errcode = '22023', hint = 'Give the model_id of a hit.';
    elsif relevant is null then
        raise exception 'relevant cannot be null'
            using errcode = '22023', hint = 'Give true where the part is what was asked for, false where it is not.';
    elsif model_id = like_id then
        raise exception 'part % was judged by itself', model_id
            using errcode = '22023', hint = 'Judge another part: a search for parts like this one leaves it out.';
    end if;
    perform cad._check_space(space);
    asked := cad._ask(space, query, image, file, format, points, like_id, v);
    judged.words := asked.words;
    judged.like_id := like_id;
    if num_nonnulls(image, file, points, v) > 0 then
        judged.by_view := asked.by_view;
        judged.text_vec := asked.text_vec;
        judged.image_vec := asked.image_vec;
        judged.shape_vec := asked.shape_vec;
        judged.brep_vec := asked.brep_vec;
        judged.fused_vec := asked.fused_vec;
        select s.encoder_version into judged.encoder_version from cad.space as s where s.name = record_feedback.space;
    end if;
    insert into cad.feedback (
        question, model_id, relevant, space, query_kind, words, like_id, encoder_version, by_view,
        text_vec, image_vec, shape_vec, brep_vec, fused_vec
    )
    values (
        sha256(convert_to(jsonb_build_array(space, asked.kind, to_jsonb(judged))::text, 'UTF8')),
        model_id, relevant, space, asked.kind, judged.words, judged.like_id, judged.encoder_version, judged.by_view,
        judged.text_vec, judged.image_vec, judged.shape_vec, judged.brep_vec, judged.fused_vec
    )
    on conflict on constraint feedback_pkey do update
    set relevant = excluded.relevant, judged_at = excluded.judged_at;
end
$$;

comment on function cad.record_feedback(
    text, uuid, boolean, bytea, bytea, text, real[], uuid, vector, text
) is
'Keeps your judgement whether a part is what a question asks for; the last one counts. The question is given as to '
'cad.explain_search, but like_id where that has model_id: select cad.record_feedback(''M8 flange bolt'', <model_id>);';
