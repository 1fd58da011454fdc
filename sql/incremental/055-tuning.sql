-- What cad.tune measured and chose. Rows are never changed: another measurement is another version, and going back is
-- taking the one before.

create table cad.tuning (
    space text references cad.space on update cascade on delete cascade,
    version integer,
    in_force boolean not null,
    before integer,
    encoder_version text,
    target_recall real not null,
    target_p95_ms real,
    questions integer not null,
    question_source text not null check (question_source in ('log', 'parts')),
    made_at timestamptz not null default pg_catalog.now(),
    made_by name not null default session_user,
    primary key (space, version)
);

create unique index tuning_in_force_idx on cad.tuning (space) where in_force;

comment on table cad.tuning is 'Measurements of how to scan the indexes of a space: one row for each run of cad.tune.';
comment on column cad.tuning.space is 'The space.';
comment on column cad.tuning.version is 'Counts the runs in a space.';
comment on column cad.tuning.in_force is 'Whether searches follow it.';
comment on column cad.tuning.before is 'Run that was in force before, to which cad.undo_tune goes back; null for the defaults.';
comment on column cad.tuning.encoder_version is 'Encoder whose vectors were measured; others are searched with defaults.';
comment on column cad.tuning.target_recall is 'Recall of the first ten that was asked for.';
comment on column cad.tuning.target_p95_ms is 'Time of a scan that 95 of 100 were to stay below; null for none.';
comment on column cad.tuning.questions is 'How many questions were measured.';
comment on column cad.tuning.question_source is
'log: questions that were asked; parts: vectors of parts and of their descriptions, where too few were logged.';
comment on column cad.tuning.made_at is 'When.';
comment on column cad.tuning.made_by is 'By whom.';

create table cad.tuned_scan (
    space text,
    version integer,
    vectors text,
    kind text,
    dim integer,
    setting integer not null,
    chosen boolean not null,
    recall real not null,
    recall_low real not null,
    recall_tenth real,
    recall_hundredth real,
    setting_tenth integer,
    setting_hundredth integer,
    p50_ms real not null,
    p95_ms real not null,
    parts bigint not null,
    cost_parts integer not null,
    primary key (space, version, vectors, kind, dim, setting),
    foreign key (space, version) references cad.tuning on update cascade on delete cascade
);

comment on table cad.tuned_scan is 'The evidence of cad.tuning: every setting of every index that was measured.';
comment on column cad.tuned_scan.space is 'The space.';
comment on column cad.tuned_scan.version is 'The run.';
comment on column cad.tuned_scan.vectors is 'Partition of the space.';
comment on column cad.tuned_scan.kind is 'Kind of index, or lsh or tri.';
comment on column cad.tuned_scan.dim is 'Dimensions that it holds.';
comment on column cad.tuned_scan.setting is 'hnsw.ef_search, ivfflat.probes, or how many buckets of each hash table are looked into.';
comment on column cad.tuned_scan.chosen is 'Whether the index is scanned with this setting.';
comment on column cad.tuned_scan.recall is 'Share of the ten nearest parts that was found.';
comment on column cad.tuned_scan.recall_low is 'Lower end of the 95 % interval of that share: what holds for other questions, too.';
comment on column cad.tuned_scan.recall_tenth is
'The same where a tenth of the parts matches a filter, one that is all the same to the vectors. Measured '
'for ivfflat, where so many are left that looking at each would take longer.';
comment on column cad.tuned_scan.recall_hundredth is 'The same where a hundredth does.';
comment on column cad.tuned_scan.setting_tenth is
'Beside a chosen setting, the one with which the recall is reached where a tenth of the parts matches.';
comment on column cad.tuned_scan.setting_hundredth is 'The same where a hundredth does.';
comment on column cad.tuned_scan.p50_ms is 'Median time of a scan.';
comment on column cad.tuned_scan.p95_ms is 'Time that 95 of 100 scans stay below.';
comment on column cad.tuned_scan.parts is 'Parts of the partition then.';
comment on column cad.tuned_scan.cost_parts is
'How many parts are compared one by one in the time of a scan: where fewer match, that is quicker.';

select pg_catalog.pg_extension_config_dump('cad.tuning', '');
select pg_catalog.pg_extension_config_dump('cad.tuned_scan', '');
