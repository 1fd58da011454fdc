-- Who may do what. Nothing is granted to public; cad.grant_to gives a role one of three levels, each with those below.

create or replace function cad._function_level(function_name name) returns text
language sql immutable strict parallel safe
set search_path from current
as $$
    select case
        when function_name = any(array[
            'add_index', 'add_space', 'begin_load', 'cancel_load', 'check_recall', 'doctor', 'drop_codes', 'drop_index',
            'drop_previous', 'drop_resident', 'encode_parts', 'finish_load', 'grant_to', 'index_plan', 'learn_weights',
            'load_resident', 'measure_builds', 'prewarm', 'promote_family', 'reembed', 'refresh_resident',
            'train_codes', 'tune', 'undo_learn_weights', 'undo_tune', 'use_profile', '_add_index', '_begin_codes',
            '_begin_copy', '_begin_next', '_begin_reembed', '_begin_resident', '_begin_tuning', '_build_s',
            '_build_workers', '_catch_up', '_check_codes', '_check_load', '_check_question', '_check_room',
            '_claim_space', '_codes_parameter', '_compare_ms', '_copy_changed', '_copy_parts', '_create_vector_index',
            '_create_vector_indexes', '_create_vectors', '_disk_free_bytes', '_doctor_codes', '_doctor_data',
            '_doctor_encoder', '_doctor_indexes', '_doctor_installation', '_doctor_resident', '_doctor_row_security',
            '_doctor_session_path', '_doctor_spaces', '_drop_indexes', '_drop_resident_trigger', '_drop_vectors',
            '_embed_batch', '_embed_parts', '_encode_batch', '_encode_parts', '_exchange_load', '_exchange_vectors',
            '_finish_codes', '_finish_next', '_finish_resident', '_forget_load', '_fusion_weight_of', '_gauss',
            '_hash_part', '_index_next', '_index_partition', '_index_recall', '_inherit_membership', '_is_seen_by_all',
            '_judged_matrix', '_judged_query', '_judged_questions', '_judged_scores', '_keep_old_indexes', '_ladder',
            '_latest_codes', '_lists_build_s', '_load_step', '_measure_build', '_measured_lists', '_measured_recall',
            '_measured_scans', '_move_family', '_nearest_of_each', '_next_partition_to_index', '_note_part',
            '_note_resident_change', '_other_kinds', '_packed',
            '_parameters_of', '_parts_of', '_parts_to_copy', '_parts_without_vectors', '_policies', '_prewarm_function',
            '_predecessor', '_promotable', '_promoted_families', '_prove_index', '_prove_next', '_prove_profile',
            '_prove_successor', '_put_in_force',
            '_recall_to_keep', '_reembed_step', '_refresh_resident_step', '_refuse_while_loaded',
            '_refuse_while_reembedded', '_rename_vectors', '_resident_request', '_sampled_questions', '_scan_alike',
            '_send_resident',
            '_service_version', '_serving_name', '_share_grants', '_split_off', '_tidy_codes', '_true_nearest',
            '_tune_partition', '_tune_resident', '_tuning_questions', '_want_index', '_watch_changes'
        ]::name[]) then 'admin'
        when function_name = any(array[
            'ingest_pending', 'retry_failed', '_analyse', '_claim', '_commit', '_goes_alone', '_ingest_batch', '_ingest_step',
            '_refresh_statistics', '_refuse_in_transaction', '_require_encoder', '_statistics_are_stale', '_store_alias',
            '_store_answer', '_store_failure', '_store_model', '_store_part'
        ]::name[]) then 'loader'
        else 'reader'
    end
$$;

comment on function cad._function_level(name) is 'Level a role needs to call a function: reader, loader or admin.';

create or replace function cad.grant_to(grantee name, level text) returns void
language plpgsql volatile parallel unsafe
set search_path from current
as $$
declare
    levels constant text[] := array['reader', 'loader', 'admin'];
    reach integer := array_position(levels, level);
    target record;
begin
    if reach is null then
        raise exception 'unknown level %', coalesce(quote_literal(level), 'null')
            using errcode = 'invalid_parameter_value', hint = 'Use reader, loader or admin.';
    end if;
    execute format('grant usage on schema cad to %I', grantee);
    for target in
        select p.oid::regprocedure as signature
        from pg_proc as p
        where p.pronamespace = 'cad'::regnamespace and array_position(levels, cad._function_level(p.proname)) <= reach
    loop
        execute format('grant execute on routine %s to %I', target.signature, grantee);
    end loop;
    for target in
        select c.oid::regclass as name
        from pg_class as c
        where c.relnamespace = 'cad'::regnamespace and c.relkind in ('r', 'p', 'v')
            and not c.relispartition -- read through the whole, where policies stand
            -- being built: policies come when they take their place
            and c.relname !~ '^space_.*_(next|next_view|next_changed|staged)$'
            and c.relname <> 'ingest' -- its metadata are the loaders' affair; readers see cad.ingest_status
            and (c.relname <> 'search_question' or reach = 3) -- nobody else's affair what others asked
    loop
        execute format('grant select on %s to %I', target.name, grantee);
    end loop;
    execute format('grant insert, update on cad.cached_result, cad.feedback to %I', grantee); -- policies keep to their own
    if reach >= 2 then
        for target in select cad._staged(s.name) as name from cad.space as s where cad._staged(s.name) is not null loop
            execute format('grant insert on %s to %I', target.name, grantee);
        end loop;
        execute format('grant select, insert, update on cad.ingest to %I', grantee);
        execute format(
            'grant insert on cad.model, cad.artifact, cad.view_image, cad.space_cad, cad.space_cad_view to %I', grantee
        );
        execute format('grant update (aliases) on cad.model to %I', grantee);
        execute format('grant update (encoder_version) on cad.space to %I', grantee);
    end if;
    if reach = 3 then
        execute format('grant insert, update, delete on all tables in schema cad to %I', grantee);
        execute format('revoke insert, update, delete on cad.migration from %I', grantee);
    end if;
end
$$;

comment on function cad.grant_to(name, text) is
'Gives a role a level: reader (search), loader (also put files in and work off the queue) or admin (also partitions, '
'spaces, weights and deletes). Call it again after an upgrade.';
