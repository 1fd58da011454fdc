-- What cad.measure_builds has measured on this machine. Not dumped: on another one it would be wrong.

create table cad.build_time (
    space text references cad.space on update cascade on delete cascade,
    kind text,
    parameters jsonb not null,
    workers integer not null,
    few_parts integer not null,
    few_s real not null,
    many_parts integer not null,
    many_s real not null,
    one_list_s real,
    measured_at timestamptz not null default pg_catalog.now(),
    primary key (space, kind)
);

comment on table cad.build_time is 'How long it took to index two samples of the vectors of a space; what cad.index_plan predicts from.';
comment on column cad.build_time.space is 'The space.';
comment on column cad.build_time.kind is 'Kind of index.';
comment on column cad.build_time.parameters is 'Its parameters.';
comment on column cad.build_time.workers is 'Processes that helped.';
comment on column cad.build_time.few_parts is 'Vectors of the smaller sample.';
comment on column cad.build_time.few_s is 'Seconds that its index took.';
comment on column cad.build_time.many_parts is 'Vectors of the larger sample.';
comment on column cad.build_time.many_s is 'Seconds that its index took.';
comment on column cad.build_time.one_list_s is 'Of lists, seconds that the larger sample took in a single one.';
comment on column cad.build_time.measured_at is 'When.';
