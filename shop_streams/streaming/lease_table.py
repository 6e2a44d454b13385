"""The table of leases, and its statements. Times are the database's: each is compared with its clock, never a machine's."""

DDL = """
create table if not exists stream_leases (
    stream      text primary key,
    run_id      text not null,
    pid         integer not null,
    host        text not null,
    epoch       bigint not null,
    acquired_at timestamptz not null,
    beat_at     timestamptz not null,
    released_at timestamptz,
    lag         bigint,
    progress    jsonb not null default '{}',
    failures    integer not null default 0,
    problem     text,
    stack       text, -- the holder's stack, and the folder of its home; null: of an earlier version
    home        text
);
do $$ begin -- of an earlier version; without this question, each start would wait for every reader of the table, and beats for it
    if not exists (select from pg_attribute where attrelid = 'stream_leases'::regclass and attname = 'home') then
        alter table stream_leases
            add column if not exists failures integer not null default 0,
            add column if not exists problem text,
            add column if not exists stack text,
            add column if not exists home text;
    end if;
end $$
"""

# A beat in the far future is of a clock that was set back since: it keeps no lease.
ACQUIRE = """
insert into stream_leases as held (stream, run_id, pid, host, stack, home, epoch, acquired_at, beat_at)
values (%(stream)s, %(run_id)s, %(pid)s, %(host)s, %(stack)s, %(home)s, 1, clock_timestamp(), clock_timestamp())
on conflict (stream) do update
   set run_id = excluded.run_id, pid = excluded.pid, host = excluded.host, stack = excluded.stack, home = excluded.home,
       epoch = held.epoch + 1,
       acquired_at = excluded.acquired_at, beat_at = excluded.beat_at, released_at = null, lag = null
 where held.released_at is not null or held.beat_at not between
       clock_timestamp() - make_interval(secs => %(ttl)s) and clock_timestamp() + make_interval(secs => %(ttl)s)
returning epoch
"""

REVOKE = """
update stream_leases set released_at = clock_timestamp()
 where stream = %(stream)s and epoch = %(epoch)s and released_at is null and beat_at not between
       clock_timestamp() - make_interval(secs => %(ttl)s) and clock_timestamp() + make_interval(secs => %(ttl)s)
"""

# Times in the future are of a clock that was set back since. They count from now.
COUNT_FROM_NOW = """
update stream_leases
   set acquired_at = least(acquired_at, clock_timestamp()), beat_at = least(beat_at, clock_timestamp())
 where stream = %s and (beat_at > clock_timestamp() or acquired_at > clock_timestamp())
"""

READ = """
select stream, run_id, pid, host, epoch, lag, progress, failures, problem, stack, home, released_at is not null as released,
       extract(epoch from clock_timestamp() - beat_at)::float8 as beat_age,
       extract(epoch from clock_timestamp() - acquired_at)::float8 as held_for
  from stream_leases
"""
