pragma journal_mode = wal;

create table customers (
    cust_id integer primary key,
    name text not null,
    is_active integer not null check (is_active in (0, 1)),
    region text not null,
    cust_type text not null,
    segment text not null,
    last_seen text
);
create table cases (
    case_id integer primary key,
    cust_id integer not null references customers (cust_id),
    is_open integer not null check (is_open in (0, 1)),
    status text not null,
    last_contact_date text not null,
    supervisor_id integer,
    region_id integer
);

insert into customers values
    (1, 'Ann Archer', 1, 'north', 'private', 'gold', '2026-09-30'),
    (2, 'Bakery Brown', 1, 'south', 'company', 'silver', '2026-10-12'),
    (3, 'Zoë Çelik', 0, 'east', 'private', 'silver', null);
insert into cases values
    (1, 1, 1, 'waiting for parts', '2026-10-01', 17, 4),
    (2, 1, 0, 'solved', '2026-03-15', 17, 4),
    (3, 2, 1, 'new', '2026-10-12', null, null);
