-- The tables of promotions in PostgreSQL. Run at each start of the stream: every statement may be repeated.

create table if not exists promotion_campaigns (
    restaurant_id               varchar not null,
    adv_campaign_id             varchar primary key,
    adv_campaign_content        varchar not null,
    adv_campaign_owner          varchar not null,
    adv_campaign_owner_contact  varchar not null,
    adv_campaign_datetime_start int8 not null,
    adv_campaign_datetime_end   int8 not null,
    datetime_created            int8 not null,
    message_at                  timestamptz not null,  -- the broker's time of the newest message
    kafka_partition             int4 not null,
    kafka_offset                int8 not null,
    swept_at                    timestamptz            -- when its subscribers were last notified
);
create index if not exists promotion_campaigns_end on promotion_campaigns (adv_campaign_datetime_end);

create table if not exists subscribers_feedback (
    restaurant_id               varchar not null,
    adv_campaign_id             varchar not null,
    adv_campaign_content        varchar not null,
    adv_campaign_owner          varchar not null,
    adv_campaign_owner_contact  varchar not null,
    adv_campaign_datetime_start int8 not null,
    adv_campaign_datetime_end   int8 not null,
    client_id                   varchar not null,
    datetime_created            int8 not null,
    trigger_datetime_created    int8 not null,
    feedback                    varchar null
);
do $$ begin  -- the shop may have created the table; these columns are added only where missing, because ALTER TABLE takes an exclusive lock
    if not exists (select from pg_attribute where attrelid = 'subscribers_feedback'::regclass and attname = 'outbox') then
        alter table subscribers_feedback
            add column message_at timestamptz,             -- the broker's time of the campaign's message
            add column made_at    timestamptz,
            add column outbox     int8 not null default 0; -- the sequence number; in Kafka once promotion_topic.published has reached it
    end if;
end $$;
do $$ begin  -- and the table may be the shop's own: PostgreSQL asks for its owner even where the index exists
    if to_regclass('subscribers_feedback_once') is null then
        create unique index subscribers_feedback_once on subscribers_feedback (adv_campaign_id, client_id);
    end if;
    if to_regclass('subscribers_feedback_outbox') is null then
        create index subscribers_feedback_outbox on subscribers_feedback (outbox);
    end if;
    if to_regclass('subscribers_feedback_made') is null then
        create index subscribers_feedback_made on subscribers_feedback (trigger_datetime_created);
    end if;
    if to_regclass('subscribers_feedback_given') is null then
        create index subscribers_feedback_given on subscribers_feedback (trigger_datetime_created)
            where feedback is not null;
    end if;
end $$;

-- An earlier version kept UUIDs in capitals. In lower case the same campaign would count as new, and its clients would be notified again.
create temporary table if not exists promotion_capitals on commit drop as
    select min(adv_campaign_id) as capitals, lower(adv_campaign_id) as small from promotion_campaigns
     where adv_campaign_id <> lower(adv_campaign_id) group by lower(adv_campaign_id);
update subscribers_feedback f set adv_campaign_id = small, restaurant_id = lower(restaurant_id)
  from promotion_capitals where adv_campaign_id = capitals
   and not exists (select from subscribers_feedback o where o.adv_campaign_id = small and o.client_id = f.client_id);
update promotion_campaigns set adv_campaign_id = small from promotion_capitals where adv_campaign_id = capitals
   and not exists (select from promotion_campaigns o where o.adv_campaign_id = small);
delete from promotion_campaigns where adv_campaign_id <> lower(adv_campaign_id);
update promotion_campaigns set restaurant_id = lower(restaurant_id) where restaurant_id <> lower(restaurant_id);

create table if not exists promotion_days (
    day        date primary key,  -- UTC
    notified   int8 not null,
    taken_back int8 not null default 0  -- deleted notifications: expired before they were sent, or of a forgotten client
);
do $$ begin  -- a table of an earlier version
    if not exists (select from pg_attribute where attrelid = 'promotion_days'::regclass and attname = 'taken_back') then
        alter table promotion_days add column taken_back int8 not null default 0;
    end if;
end $$;

create table if not exists promotion_forgotten (  -- who was notified, of notifications that were removed with a client's rows
    adv_campaign_id varchar not null,
    client          bytea not null,  -- sha256(secret of forgotten_key || client_id): the client is not notified again
    primary key (adv_campaign_id, client)
);

create table if not exists promotion_outbox (
    id   int primary key check (id = 1),
    made int8 not null,
    name uuid not null default gen_random_uuid()  -- this database's key in the topic of published sequence numbers
);
insert into promotion_outbox (id, made) values (1, 0) on conflict do nothing;
do $$ begin  -- a table of an earlier version
    if not exists (select from pg_attribute where attrelid = 'promotion_outbox'::regclass and attname = 'compared') then
        alter table promotion_outbox add column compared varchar;  -- the server and table that were compared with Kafka
    end if;
end $$;
create table if not exists promotion_numbers (  -- of sequence numbers from the last published one on
    number int8 primary key,
    stamp  uuid not null default gen_random_uuid()  -- a restored database gives the same number another stamp
);

create table if not exists promotion_topic (id int primary key check (id = 1), published int8 not null);
insert into promotion_topic values (1, 0) on conflict do nothing;
