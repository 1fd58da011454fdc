-- What people say of hits: whether a part is what a question was after. Everybody reads their own judgements alone; who
-- may read what was asked in cad.search_question reads all of them.

create table cad.feedback (
    judged_by name not null default current_user,
    question bytea not null,
    model_id uuid not null references cad.model on delete cascade,
    relevant boolean not null,
    judged_at timestamptz not null default pg_catalog.now(),
    space text not null references cad.space on update cascade on delete cascade,
    query_kind text not null check (query_kind in ('text', 'image', 'shape', 'multi')),
    words text,
    like_id uuid references cad.model on delete cascade,
    encoder_version text,
    by_view boolean,
    text_vec halfvec,
    image_vec halfvec,
    shape_vec halfvec,
    brep_vec halfvec,
    fused_vec halfvec,
    primary key (judged_by, question, model_id)
);

create index feedback_model_id_idx on cad.feedback (model_id); -- for parts that are deleted
create index feedback_like_id_idx on cad.feedback (like_id);

alter table cad.feedback enable row level security;
create policy own on cad.feedback
using (judged_by = current_user or (select has_table_privilege('cad.search_question', 'select')))
with check (judged_by = current_user);

comment on table cad.feedback is
'Judgements of hits, for cad.learn_weights. A question is kept as it can be asked again: by its words, by the part that '
'others were to be like, or else by its vectors.';
comment on column cad.feedback.judged_by is 'Role that judged.';
comment on column cad.feedback.question is 'SHA-256 of the question.';
comment on column cad.feedback.model_id is 'The part that was judged.';
comment on column cad.feedback.relevant is 'Whether it is what was asked for.';
comment on column cad.feedback.judged_at is 'When.';
comment on column cad.feedback.space is 'Space that was searched.';
comment on column cad.feedback.query_kind is 'What was asked with, as in cad.fusion_weight.';
comment on column cad.feedback.words is 'Its text, if it had one.';
comment on column cad.feedback.like_id is 'The part that others were to be like, if there was one.';
comment on column cad.feedback.encoder_version is 'Encoder of the vectors: with those of another they cannot be compared.';
comment on column cad.feedback.by_view is 'Whether the image vector is compared with each view.';
comment on column cad.feedback.text_vec is 'What the text vectors of parts are compared with.';
comment on column cad.feedback.image_vec is 'What their image vectors are compared with.';
comment on column cad.feedback.shape_vec is 'What their shape vectors are compared with.';
comment on column cad.feedback.brep_vec is 'What the vectors of their exact faces are compared with.';
comment on column cad.feedback.fused_vec is 'What their fused vectors are compared with; null where words or a part tell.';

select pg_catalog.pg_extension_config_dump('cad.feedback', '');
