-- Results of searches, kept until something that they came from changes. Who searches sees what was committed when the
-- search began, so an entry remembers that snapshot, and every transaction that changes what searches read leaves its
-- number: an entry holds while all the numbers that can be seen are within its snapshot. Nobody waits for anybody.
--
-- Nothing of this is logged: after a crash the cache is empty, and so is the list of what it would have to know.

create unlogged table cad.change (
    xid xid8 primary key
);

comment on table cad.change is 'Transactions that changed what searches read, since the oldest cached result.';
comment on column cad.change.xid is 'The transaction.';

create unlogged table cad.cached_result (
    key bytea primary key,
    asker oid not null,
    cached_at timestamptz not null default pg_catalog.clock_timestamp(),
    snapshot pg_snapshot not null,
    hits cad.hit[] not null
);

alter table cad.cached_result enable row level security;
create policy own on cad.cached_result using (asker = (select current_user::regrole::oid));

comment on table cad.cached_result is 'Results of searches; everybody sees those of their own searches alone.';
comment on column cad.cached_result.key is 'SHA-256 of everything that was asked, and of who asked.';
comment on column cad.cached_result.asker is 'Role that asked.';
comment on column cad.cached_result.cached_at is 'When.';
comment on column cad.cached_result.snapshot is 'What the search saw.';
comment on column cad.cached_result.hits is 'What it returned.';

create unlogged table cad.cache_horizon (
    oldest xid8 not null
);

create unique index cache_horizon_one_idx on cad.cache_horizon ((true));

comment on table cad.cache_horizon is 'What cad.change still remembers. One row, or none: everything.';
comment on column cad.cache_horizon.oldest is 'Results of snapshots from before this transaction are not to be trusted.';

create function cad._note_change() returns trigger
language plpgsql security definer
set search_path from current
as $$
begin
    if current_setting('pgcad.noted_xid', true) = pg_current_xact_id()::text then
        return null; -- once is enough
    end if;
    -- Vectors that are still being made are in no result.
    if tg_nargs > 0 and not exists (
        select from cad.space as s where coalesce(pg_partition_root(tg_relid), tg_relid) in (s.vectors, s.views)
    ) then
        return null;
    end if;
    insert into cad.change (xid) values (pg_current_xact_id()) on conflict do nothing;
    perform set_config('pgcad.noted_xid', pg_current_xact_id()::text, true);
    return null;
end
$$;

comment on function cad._note_change() is 'Notes that this transaction changes what searches read.';

create trigger note_change after insert or update or delete or truncate on cad.model
for each statement execute function cad._note_change();

create trigger note_change after insert or update or delete or truncate on cad.artifact
for each statement execute function cad._note_change();

create trigger note_change after insert or update or delete or truncate on cad.space
for each statement execute function cad._note_change();

create trigger note_change after insert or update or delete or truncate on cad.fusion_weight
for each statement execute function cad._note_change();

create trigger note_change after insert or update or delete or truncate on cad.glossary
for each statement execute function cad._note_change();

-- For each row: so every partition, also one that comes later, has it too.
create trigger note_change after insert or update or delete on cad.space_cad
for each row execute function cad._note_change('vectors');

create trigger note_truncate after truncate on cad.space_cad
for each statement execute function cad._note_change('vectors');

create trigger note_change after insert or update or delete or truncate on cad.space_cad_view
for each statement execute function cad._note_change('vectors');
