-- Weights of the rerank per kind of query.

create table cad.fusion_weight (
    query_kind text primary key check (query_kind in ('text', 'image', 'shape', 'multi')),
    text real not null check (text >= 0),
    image real not null check (image >= 0),
    shape real not null check (shape >= 0),
    fused real not null check (fused >= 0),
    lexical real not null check (lexical >= 0),
    numbers real not null check (numbers >= 0),
    fit real not null check (fit >= 0),
    check (text + image + shape + fused + lexical + numbers > 0)
);

comment on table cad.fusion_weight is 'How much each score counts in the rerank.';
comment on column cad.fusion_weight.query_kind is 'What the query was: text, image, shape (also points and like) or multi.';
comment on column cad.fusion_weight.text is 'Weight of the cosine with the text vector.';
comment on column cad.fusion_weight.image is 'Weight of the cosine with the image vector or the best view.';
comment on column cad.fusion_weight.shape is 'Weight of the cosine with the shape vector.';
comment on column cad.fusion_weight.fused is 'Weight of the cosine with the fused vector.';
comment on column cad.fusion_weight.lexical is 'Weight of the lexical score.';
comment on column cad.fusion_weight.numbers is 'Weight of the share of the question''s numbers that the part measures, if it has any.';
comment on column cad.fusion_weight.fit is
'Weight of how well a part fits a file or a cloud laid on top of it, or the outline in a picture; 0 for no such second '
'look.';

-- A text is best ranked by what was said of the parts, or is supposed to have been, by words and by numbers; a picture
-- and a shape by their own kind alone. docs/results/encoders has the measurements, nameless_val.md and rerank.md. The
-- row multi is a judgement: every kind counts, that of the words most.
insert into cad.fusion_weight (query_kind, text, image, shape, fused, lexical, numbers, fit) values
('text', 1, 0, 0, 0, 0.5, 0.25, 0),
('image', 0, 1, 0, 0, 0, 0, 8),
('shape', 0, 0, 1, 0, 0, 0, 8),
('multi', 1, 1, 1, 0, 0.5, 0.25, 8);

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

select pg_catalog.pg_extension_config_dump('cad.fusion_weight', '');
