-- A sample of the searches that were made, so that recall is a measured figure. What was asked stands apart from how it
-- went: questions are for administrators, figures for everybody.

create table cad.search_log (
    search_id bigint generated always as identity primary key,
    asked_at timestamptz not null default pg_catalog.clock_timestamp(),
    space text not null references cad.space on update cascade on delete cascade,
    query_kind text not null,
    strategy text not null,
    k integer not null,
    hits integer not null,
    vector_ms real,
    elapsed_ms real not null
);

create index search_log_asked_at_idx on cad.search_log (asked_at);

comment on table cad.search_log is 'A sample of the searches; pgcad.log_share says how many of them.';
comment on column cad.search_log.search_id is 'Number of the search.';
comment on column cad.search_log.asked_at is 'When it ended.';
comment on column cad.search_log.space is 'Space that was searched.';
comment on column cad.search_log.query_kind is 'What was asked with: text, image, shape or multi.';
comment on column cad.search_log.strategy is 'How candidates were found by vector: exact, the kind of index, or mixed.';
comment on column cad.search_log.k is 'Hits that were wanted.';
comment on column cad.search_log.hits is 'Hits that were returned.';
comment on column cad.search_log.vector_ms is 'Time to find candidates by vector; null where it was done by words alone.';
comment on column cad.search_log.elapsed_ms is 'Time of the whole search.';

create table cad.search_question (
    search_id bigint primary key references cad.search_log on delete cascade,
    encoder_version text,
    question halfvec not null,
    filters jsonb not null,
    scans jsonb not null,
    nearest uuid[] not null,
    checked_at timestamptz
);

create index search_question_unchecked_idx on cad.search_question (search_id) where checked_at is null;

comment on table cad.search_question is
'What was asked and found by an index, so that cad.check_recall can compare it with the truth. Not where policies hide '
'parts: the truth is not the same for everybody there.';
comment on column cad.search_question.search_id is 'The search.';
comment on column cad.search_question.encoder_version is 'Encoder of the question.';
comment on column cad.search_question.question is 'Its fused vector.';
comment on column cad.search_question.filters is 'Its filters.';
comment on column cad.search_question.scans is 'How each partition was scanned.';
comment on column cad.search_question.nearest is 'The nearest parts that were found by vector, nearest first.';
comment on column cad.search_question.checked_at is 'When it was compared with the truth; null until then.';

create table cad.recall_check (
    search_id bigint references cad.search_log on delete cascade,
    vectors text,
    strategy text not null,
    wanted integer not null,
    found integer not null,
    primary key (search_id, vectors)
);

comment on table cad.recall_check is
'How many of the nearest parts the logged searches found, by partition: of ten, or of as many as were wanted.';
comment on column cad.recall_check.search_id is 'The search.';
comment on column cad.recall_check.vectors is 'Partition that the nearest parts lie in.';
comment on column cad.recall_check.strategy is 'How that partition was scanned: the kind of index, or exact.';
comment on column cad.recall_check.wanted is 'How many of the nearest lie there.';
comment on column cad.recall_check.found is 'How many of these were found.';
