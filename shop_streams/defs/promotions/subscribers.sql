-- The shop's own table of subscribers. Created here only for the embedded PostgreSQL, which no shop uses yet.
create table if not exists subscribers_restaurants (
    id            serial primary key,
    client_id     varchar not null,
    restaurant_id varchar not null
);
create index if not exists subscribers_restaurants_lower_restaurant_id on subscribers_restaurants (lower(restaurant_id));
