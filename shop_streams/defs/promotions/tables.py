"""The tables of promotions in PostgreSQL: ours, and the shop's own table of subscribers. Light to import: Spark's worker does it."""

from __future__ import annotations

from shop_streams.errors import ShopStreamsError
from shop_streams.postgres import transaction

SUBSCRIBERS_DDL = """
create table if not exists subscribers_restaurants (
    id            serial primary key,
    client_id     varchar not null,
    restaurant_id varchar not null
);
create index if not exists subscribers_restaurants_lower_restaurant_id on subscribers_restaurants (lower(restaurant_id));
"""

DDL = """
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
    swept_at                    timestamptz            -- when its subscribers were last looked at
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
do $$ begin  -- the shop may have made the table; ours are only looked for, since adding them waits for everybody else
    if not exists (select from pg_attribute where attrelid = 'subscribers_feedback'::regclass and attname = 'outbox') then
        alter table subscribers_feedback
            add column message_at timestamptz,             -- the broker's time of the campaign's message
            add column made_at    timestamptz,
            add column outbox     int8 not null default 0; -- in Kafka once promotion_topic.published has reached it
    end if;
end $$;
create unique index if not exists subscribers_feedback_once on subscribers_feedback (adv_campaign_id, client_id);
create index if not exists subscribers_feedback_outbox on subscribers_feedback (outbox);
create index if not exists subscribers_feedback_made on subscribers_feedback (trigger_datetime_created);
create index if not exists subscribers_feedback_given on subscribers_feedback (trigger_datetime_created)
    where feedback is not null;

-- UUIDs of an earlier version, in capitals: in lower case the same campaign would be another one, and notify everybody again.
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
    day      date primary key,  -- UTC
    notified int8 not null
);

create table if not exists promotion_outbox (
    id   int primary key check (id = 1),
    made int8 not null,
    name uuid not null default gen_random_uuid()  -- of this database, in the topic that says what was published
);
insert into promotion_outbox (id, made) values (1, 0) on conflict do nothing;

create table if not exists promotion_topic (id int primary key check (id = 1), published int8 not null);
insert into promotion_topic values (1, 0) on conflict do nothing;
"""


class SubscribersMissing(ShopStreamsError):
    """The shop's table of subscribers does not exist."""

    def __init__(self) -> None:
        super().__init__(
            "PostgreSQL has no table subscribers_restaurants. Create it with `shop-streams prepare --subscribers`, or:\n"
            f"{SUBSCRIBERS_DDL}"
        )


def create_tables(dsn: str) -> None:
    """Create our own tables where they are missing; the shop's is only looked at.

    Raises:
        SubscribersMissing: with the DDL to run.
    """
    with transaction(dsn) as cursor:
        cursor.execute("select pg_advisory_xact_lock(hashtext('promotions_ddl'))")
        cursor.execute(DDL)
    with transaction(dsn) as cursor:
        cursor.execute("select to_regclass('subscribers_restaurants')")
        if cursor.fetchone()[0] is None:
            raise SubscribersMissing


def create_subscribers(dsn: str) -> None:
    """Create the shop's table of subscribers where it is missing: for the embedded database, which no shop uses yet."""
    with transaction(dsn) as cursor:
        cursor.execute("select pg_advisory_xact_lock(hashtext('promotions_ddl'))")
        cursor.execute(SUBSCRIBERS_DDL)
