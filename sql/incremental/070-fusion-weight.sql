-- Weights of the rerank per kind of query: those in force, and every version that there has been. A version never
-- changes: weights that are learned or set by hand are another one, and going back is taking the one before.

create table cad.fusion_weight_version (
    query_kind text check (query_kind in ('text', 'image', 'shape', 'multi')),
    version integer,
    text real not null check (text >= 0),
    image real not null check (image >= 0),
    shape real not null check (shape >= 0),
    brep real not null check (brep >= 0),
    fused real not null check (fused >= 0),
    lexical real not null check (lexical >= 0),
    numbers real not null check (numbers >= 0),
    fit real not null check (fit >= 0),
    boost real not null check (boost >= 0),
    source text not null check (source in ('default', 'learned', 'set by hand')),
    encoder_version text,
    questions integer,
    judgements integer,
    r1_before real,
    r1 real,
    mrr_before real,
    mrr real,
    gain_low real,
    gain_high real,
    made_at timestamptz default pg_catalog.now(),
    made_by name default session_user,
    primary key (query_kind, version),
    check (text + image + shape + brep + fused + lexical + numbers > 0)
);

comment on table cad.fusion_weight_version is 'Every version of the weights of the rerank, and what was measured of it.';
comment on column cad.fusion_weight_version.query_kind is 'As in cad.fusion_weight, as are the weights.';
comment on column cad.fusion_weight_version.version is 'Counts the versions for a kind of query.';
comment on column cad.fusion_weight_version.text is 'Weight.';
comment on column cad.fusion_weight_version.image is 'Weight.';
comment on column cad.fusion_weight_version.shape is 'Weight.';
comment on column cad.fusion_weight_version.brep is 'Weight.';
comment on column cad.fusion_weight_version.fused is 'Weight.';
comment on column cad.fusion_weight_version.lexical is 'Weight.';
comment on column cad.fusion_weight_version.numbers is 'Weight.';
comment on column cad.fusion_weight_version.fit is 'Weight; not learned.';
comment on column cad.fusion_weight_version.boost is 'Weight; not learned.';
comment on column cad.fusion_weight_version.source is
'default: came with pgcad; learned: by cad.learn_weights; set by hand: cad.fusion_weight was updated.';
comment on column cad.fusion_weight_version.encoder_version is 'Encoder that the weights were learned with; else null.';
comment on column cad.fusion_weight_version.questions is 'How many judged questions they were learned from.';
comment on column cad.fusion_weight_version.judgements is 'How many judgements of these questions there were.';
comment on column cad.fusion_weight_version.r1_before is
'Share of the questions whose first hit was judged right, with the weights of before.';
comment on column cad.fusion_weight_version.r1 is
'The same with learned weights, each question with those learned without it (cross-validation).';
comment on column cad.fusion_weight_version.mrr_before is
'Mean reciprocal rank of the first hit that was judged right, with the weights of before.';
comment on column cad.fusion_weight_version.mrr is 'The same with learned weights, cross-validated.';
comment on column cad.fusion_weight_version.gain_low is
'Lower end of the 95 % interval of the difference of the two (bootstrap over questions).';
comment on column cad.fusion_weight_version.gain_high is 'Its upper end.';
comment on column cad.fusion_weight_version.made_at is 'When; null for the defaults.';
comment on column cad.fusion_weight_version.made_by is 'By whom; null for the defaults.';

-- A text is best ranked by what was said of the parts, or is supposed to have been, by words and by numbers; a picture
-- by its own kind alone, a shape by its points and its exact faces, as far as both have any. docs/results/encoders has
-- the measurements, nameless_val.md and rerank.md. The row multi is a judgement: every kind counts, that of the words
-- most. So is the weight of a boost, as much as numbers.
insert into cad.fusion_weight_version (
    query_kind, version, text, image, shape, brep, fused, lexical, numbers, fit, boost, source, made_at, made_by
) values
('text', 1, 1, 0, 0, 0, 0, 0.5, 0.25, 0, 0.25, 'default', null, null),
('image', 1, 0, 1, 0, 0, 0, 0, 0, 8, 0.25, 'default', null, null),
('shape', 1, 0, 0, 1, 1, 0, 0, 0, 8, 0.25, 'default', null, null),
('multi', 1, 1, 1, 1, 1, 0, 0.5, 0.25, 8, 0.25, 'default', null, null);

create table cad.fusion_weight (
    query_kind text primary key,
    text real not null,
    image real not null,
    shape real not null,
    brep real not null,
    fused real not null,
    lexical real not null,
    numbers real not null,
    fit real not null,
    boost real not null default 0.25,
    version integer not null,
    foreign key (query_kind, version) references cad.fusion_weight_version
);

comment on table cad.fusion_weight is
'How much each score counts in the rerank. An update is another version; an update of version alone takes one again.';
comment on column cad.fusion_weight.query_kind is 'What the query was: text, image, shape (also points and like) or multi.';
comment on column cad.fusion_weight.text is 'Weight of the cosine with the text vector.';
comment on column cad.fusion_weight.image is 'Weight of the cosine with the image vector or the best view.';
comment on column cad.fusion_weight.shape is 'Weight of the cosine with the shape vector.';
comment on column cad.fusion_weight.brep is 'Weight of the cosine with the vector of the exact faces, if the question has any.';
comment on column cad.fusion_weight.fused is 'Weight of the cosine with the fused vector.';
comment on column cad.fusion_weight.lexical is 'Weight of the lexical score.';
comment on column cad.fusion_weight.numbers is 'Weight of the share of the question''s numbers that the part measures, if it has any.';
comment on column cad.fusion_weight.fit is
'Weight of how well a part fits a file or a cloud laid on top of it, or the outline in a picture; 0 for no such second '
'look.';
comment on column cad.fusion_weight.boost is 'Weight of how much of options.boost a part has, if a search asks for it.';
comment on column cad.fusion_weight.version is 'The version that these weights are.';

insert into cad.fusion_weight
select
    query_kind,
    text,
    image,
    shape,
    brep,
    fused,
    lexical,
    numbers,
    fit,
    boost,
    version
from cad.fusion_weight_version;

-- A restore puts its rows where the script has already put the defaults: the later row wins.
create function cad._fusion_weight_give_way() returns trigger
language plpgsql
set search_path from current
as $$
begin
    delete from cad.fusion_weight where query_kind = new.query_kind;
    return new;
end
$$;

comment on function cad._fusion_weight_give_way() is 'Default weights give way to inserted ones.';

create trigger give_way before insert on cad.fusion_weight
for each row execute function cad._fusion_weight_give_way();

create function cad._keep_fusion_weight() returns trigger
language plpgsql
security definer
set search_path from current
as $$
declare
    kept cad.fusion_weight_version;
begin
    select v.* into kept
    from cad.fusion_weight_version as v
    where v.query_kind = new.query_kind and v.version = new.version;
    if tg_op = 'UPDATE' and new.version is distinct from old.version then
        new := jsonb_populate_record(new, coalesce(to_jsonb(kept), '{}')); -- of none, the foreign key complains
    elsif to_jsonb(kept) @> to_jsonb(new) is not true then
        select coalesce(max(v.version), 0) + 1 into new.version
        from cad.fusion_weight_version as v
        where v.query_kind = new.query_kind;
        insert into cad.fusion_weight_version (
            query_kind, version, text, image, shape, brep, fused, lexical, numbers, fit, boost, source
        ) values (
            new.query_kind, new.version, new.text, new.image, new.shape, new.brep, new.fused, new.lexical, new.numbers,
            new.fit, new.boost, 'set by hand'
        );
    end if;
    return new;
end
$$;

comment on function cad._keep_fusion_weight() is
'Another version takes the weights that it had; other weights are another version.';

create trigger keep before insert or update on cad.fusion_weight -- after give_way: triggers fire in order of name
for each row execute function cad._keep_fusion_weight();

select pg_catalog.pg_extension_config_dump('cad.fusion_weight', '');
select pg_catalog.pg_extension_config_dump('cad.fusion_weight_version', $$where source <> 'default'$$);
