-- Evidence that somebody has a notification before their eyes: which pages are looked at, and what was seen there.
--
-- Unlogged: it is written with every glance at a tab, and lost in a crash it means that nobody is there, so that pushes
-- leave. Nothing here decides by itself: load_push looks at it just before sending.

set local search_path = ent_notify;

-- A gateway process, as long as it lives: whoever it holds is there until its lease ends.
create unlogged table gateway_node (
    id          bigint primary key,                -- drawn by the process when it starts
    seq         bigint not null,                   -- how far it has handed the feed on
    lease_until timestamptz not null
);

-- Who looks at a page whose stream a gateway holds. Not a connection alone: the page has said that it is visible.
create unlogged table presence (
    person_id   int not null,
    node        bigint not null,
    stream      bigint not null,                   -- the stream session
    since       timestamptz not null,
    primary key (person_id, node, stream)
);
create index presence_node on presence (node);

-- How far somebody has seen the feed, as their page or app has said. It is weaker than a read mark: the entry stays unread.
create unlogged table seen (
    person_id   int primary key,
    upto        bigint not null,
    noted_at    timestamptz not null
);
create index seen_old on seen (noted_at);

-- Who has just gone, to be looked at when due, and a few times more: a worker may be about to store that a push of theirs
-- waits for them.
create unlogged table departure (
    person_id   int primary key,
    due_at      timestamptz not null,
    looks       smallint not null default 0
);
create index departure_due on departure (due_at);

-- Pushes that wait for their reader's eyes.
create index outcome_on_screen on outcome (person_id) where state = 1 and reason = 'on_screen';

-- A gateway lives, and has handed the feed on up to `seq`.
create function beat(node bigint, at_seq bigint, lease timestamptz) returns void
language sql volatile set search_path = ent_notify, pg_temp as $$
    insert into gateway_node as g (id, seq, lease_until) values (node, at_seq, lease)
    on conflict (id) do update set seq = excluded.seq, lease_until = excluded.lease_until
$$;

-- Notes who looks, and who does not any more (arrays in parallel, each page once). Of gateways that are gone nothing is
-- taken. Who goes is looked for after `linger`: a page that leads to another comes back at once.
create function note_presence(people int[], nodes bigint[], streams bigint[], visible boolean[], at timestamptz, linger interval)
returns void
language plpgsql volatile set search_path = ent_notify, pg_temp as $$
begin
    insert into presence (person_id, node, stream, since)
    select t.person, t.node, t.stream, at
    from unnest(people, nodes, streams, visible) t (person, node, stream, visible)
    join gateway_node g on g.id = t.node
    where t.visible
    order by 1, 2, 3
    on conflict do nothing;
    with gone as (
        delete from presence p
        using unnest(people, nodes, streams, visible) t (person, node, stream, visible)
        where not t.visible and p.person_id = t.person and p.node = t.node and p.stream = t.stream
        returning p.person_id
    )
    insert into departure (person_id, due_at)
    select distinct g.person_id, at + linger from gone g order by 1
    on conflict (person_id) do update set due_at = excluded.due_at, looks = 0;
end $$;

-- Notes how far people have seen the feed (each person once).
create function note_seen(people int[], uptos bigint[], at timestamptz) returns void
language sql volatile set search_path = ent_notify, pg_temp as $$
    insert into seen as s (person_id, upto, noted_at)
    select t.person, least(t.upto, f.last_seq), at
    from unnest(people, uptos) t (person, upto) cross join feed f
    order by 1
    on conflict (person_id) do update set upto = greatest(s.upto, excluded.upto), noted_at = excluded.noted_at
$$;

-- Who looks at a page now, among some people, and how far its stream has come.
create function on_screen(people int[], at timestamptz) returns table (person_id int, seq bigint)
language sql stable set search_path = ent_notify, pg_temp as $$
    select p.person_id, max(g.seq)
    from presence p join gateway_node g on g.id = p.node and g.lease_until > at
    where p.person_id = any (people)
    group by p.person_id
$$;

-- Lets pushes go that wait for somebody who has gone: they are looked at once more, now. Answers how many.
-- Chunks are locked before their outcomes, as settling does; one that is being settled is found at the next look.
create function heed_departures(at timestamptz) returns int
language plpgsql volatile set search_path = ent_notify, pg_temp as $$
declare
    gone int[];
    chunks bigint[];
    freed int := 0;
begin
    with dead as (
        delete from gateway_node where lease_until <= at returning id
    ),
    lost as (
        delete from presence p using dead d where p.node = d.id returning p.person_id
    )
    insert into departure (person_id, due_at)
    select distinct l.person_id, at from lost l order by 1
    on conflict (person_id) do update set due_at = excluded.due_at, looks = 0;
    gone := array(select d.person_id from departure d where d.due_at <= at order by d.person_id for update skip locked);
    if cardinality(gone) = 0 then
        return 0;
    end if;
    chunks := array(
        select h.id from chunk h
        where h.id in (
            select o.chunk_id from outcome o
            where o.person_id = any (gone) and o.state = 1 and o.reason = 'on_screen' and o.retry_at > at
              and not exists (select from on_screen(array[o.person_id], at))
        )
        order by h.id for update skip locked
    );
    if cardinality(chunks) > 0 then
        update outcome o set retry_at = at
        where o.person_id = any (gone) and o.state = 1 and o.reason = 'on_screen' and o.retry_at > at
          and o.chunk_id = any (chunks) and not exists (select from on_screen(array[o.person_id], at));
        get diagnostics freed = row_count;
        update chunk set due_at = at where id = any (chunks) and state = 1 and cursor >= size and due_at > at;
    end if;
    delete from departure where person_id = any (gone) and looks >= 3;
    update departure set due_at = at + interval '1 second' * (5 ^ looks), looks = looks + 1 where person_id = any (gone);
    return freed;
end $$;
