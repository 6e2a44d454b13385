-- Whoever creates a table that the API serves, and whenever: the API's user may read it. An event trigger needs a superuser,
-- which the embedded database's own user is.
create or replace function shop_streams_api_may_read() returns event_trigger language plpgsql as $$
declare
    made text;
begin
    for made in
        select object_identity from pg_event_trigger_ddl_commands()
         where object_identity in ('public.users', 'public.orders', 'public.stream_leases')
    loop
        execute 'grant select on ' || made || ' to shop_streams_api';
    end loop;
end $$;
drop event trigger if exists shop_streams_api_may_read;
create event trigger shop_streams_api_may_read on ddl_command_end
    when tag in ('CREATE TABLE', 'CREATE TABLE AS', 'SELECT INTO') execute function shop_streams_api_may_read();
