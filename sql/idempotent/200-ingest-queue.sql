-- Arrival in the queue: the checksum is the server's own.

create or replace function cad._ingest_arrive() returns trigger
language plpgsql
set search_path from current
as $$
begin
    new.format := lower(new.format);
    if new.content is not null then
        new.sha256 := sha256(new.content);
    end if;
    return new;
end
$$;

comment on function cad._ingest_arrive() is 'Computes the checksum of an arriving file.';

create or replace trigger arrive before insert on cad.ingest
for each row execute function cad._ingest_arrive();

create or replace function cad._touch() returns trigger
language plpgsql
set search_path from current
as $$
begin
    new.updated_at := now();
    if (new.description, new.description_zh) is distinct from (old.description, old.description_zh) then
        new.description_generated := false; -- somebody has described the part
    end if;
    return new;
end
$$;

comment on function cad._touch() is 'Keeps updated_at, and whether the description is still the generated one.';

create or replace trigger touch before update on cad.model
for each row execute function cad._touch();

create or replace function cad.retry_failed(sqlstates text[] default null) returns bigint
language sql volatile parallel unsafe
set search_path from current
as $$
    with retried as (
        update cad.ingest
        set state = 'pending', finished_at = null
        where state = 'failed' and (sqlstates is null or last_sqlstate = any(sqlstates))
        returning 1
    )

    select count(*) from retried
$$;

comment on function cad.retry_failed(text[]) is
'Puts failed files back into the queue, all or those with one of the given SQLSTATEs; returns how many.';
