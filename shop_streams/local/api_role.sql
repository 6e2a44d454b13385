-- What the API needs in the embedded database, whoever creates the tables that it serves, and whenever: its user may read them,
-- and served_changes has a number for each that every change of its rows raises. The API keeps answers while it is the same.
create table if not exists served_changes (name text primary key, change int8 not null);
grant select on served_changes to shop_streams_api;

create or replace function served_change() returns trigger language plpgsql as $$
begin
    insert into public.served_changes values (tg_table_name, 1)
        on conflict (name) do update set change = served_changes.change + 1;
    return null;
end $$;

create or replace function serve_table(made text) returns void language plpgsql as $$
begin
    execute 'grant select on ' || made || ' to shop_streams_api';
    if made <> 'public.stream_leases' then
        execute 'create or replace trigger served_change after insert or update or delete or truncate on ' || made
            || ' for each statement execute function public.served_change()';
        insert into public.served_changes values (split_part(made, '.', 2), 1)
            on conflict (name) do update set change = served_changes.change + 1;
    end if;
end $$;

-- An event trigger needs a superuser, which the embedded database's own user is.
create or replace function serve_new_table() returns event_trigger language plpgsql as $$
begin
    perform public.serve_table(object_identity) from pg_event_trigger_ddl_commands()
      where object_type = 'table' and object_identity in ('public.users', 'public.orders', 'public.stream_leases');
end $$;
drop event trigger if exists serve_new_table;
create event trigger serve_new_table on ddl_command_end
    when tag in ('CREATE TABLE', 'CREATE TABLE AS', 'SELECT INTO') execute function serve_new_table();

select serve_table(made) from unnest(array['public.users', 'public.orders', 'public.stream_leases']) made
 where to_regclass(made) is not null;
