-- Alerts that arrive when they matter: school calendars, homework and its reminders, timetables, identities of one human.

set local search_path = ent_notify;

-- ---------------------------------------------------------------- calendars

-- What the project (school_id null) and each school say of their own calendar: ent_notify.policy.calendar.own_calendar.
create table school_calendar (
    school_id   int unique nulls not distinct references school,
    data        jsonb not null,
    changed_at  timestamptz not null,
    changed_by  text not null
);

-- ---------------------------------------------------------------- homework

-- Work and tests as they stand: written by the events that tell of them, in the transaction that publishes these.
create table homework (
    id               bigint generated always as identity primary key,
    external_id      text not null unique,
    school_id        int references school,           -- null: a group of no school, which nobody is reminded of
    group_id         int not null references people_group,
    is_test          boolean not null,
    subject          text not null,
    title            text not null,
    due              date not null,
    due_at           timestamptz,                     -- null: when that school day begins
    withdrawn_at     timestamptz,
    notification_id  bigint not null                  -- its newest version
);

create index homework_due on homework (school_id, due, is_test) where withdrawn_at is null;
create index homework_past on homework (due);

create table homework_done (
    homework_id  bigint not null references homework on delete cascade,
    person_id    int not null,
    done_at      timestamptz not null,
    primary key (homework_id, person_id)
);

-- Which reminders have been computed: an evening of a school for a day, once.
create table reminded (
    school_id  int not null,
    evening    date not null,
    is_test    boolean not null,
    due        date not null,
    at         timestamptz not null,
    primary key (school_id, evening, is_test, due)
);

create index reminded_at on reminded (at);

-- What a reminder spoke of, for as long as it may be wrong.
create table homework_reminder (
    notification_id  bigint primary key,
    homework         bigint[] not null,
    expires_at       timestamptz not null
);

create index homework_reminder_of on homework_reminder using gin (homework);
create index homework_reminder_past on homework_reminder (expires_at);

-- The works of a reminder as its readers see them.
create function works_of(wanted bigint[]) returns jsonb
language sql stable as $$
    select jsonb_build_object(
        'count', count(*), 'due', min(h.due),
        'subjects', (select string_agg(s.subject, ', ' order by s.subject)
                     from (select distinct x.subject from ent_notify.homework x where x.id = any (wanted)) s),
        'works', coalesce((select jsonb_agg(w.work) from (
            select jsonb_build_object('subject', left(x.subject, 200), 'title', left(x.title, 500)) as work
            from ent_notify.homework x where x.id = any (wanted) order by x.subject, x.title, x.id limit 50
        ) w), '[]'))
    from ent_notify.homework h where h.id = any (wanted)
$$;

-- A pupil says that work is done, or (done: false) that it is not after all.
create function note_homework_done(body jsonb, at timestamptz) returns jsonb
language plpgsql volatile set search_path = ent_notify, pg_temp as $$
declare
    h homework;
    pupil person;
    changed int;
begin
    select * into h from homework where external_id = body->>'homework';
    if h.id is null then
        raise exception 'no homework "%" was assigned; give the `homework` of HomeworkAssigned, or its key', body->>'homework'
            using errcode = 'EN002';
    elsif h.is_test then
        raise exception '"%" is a test: it is not done beforehand', body->>'homework' using errcode = 'EN002';
    end if;
    select * into pupil from person where external_id = body->>'pupil';
    if pupil.id is null then
        raise exception 'no person "%" is in the directory; import them first, or correct the id', body->>'pupil' using errcode = 'EN001';
    elsif not exists (select from membership m where m.group_id = h.group_id and m.person_id = pupil.id and m.valid_until > at) then
        raise exception 'homework "%" is not for "%"', body->>'homework', body->>'pupil' using errcode = 'EN002';
    end if;
    if coalesce((body->>'done')::boolean, true) then
        insert into homework_done values (h.id, pupil.id, at) on conflict do nothing;
    else
        delete from homework_done d where d.homework_id = h.id and d.person_id = pupil.id;
    end if;
    get diagnostics changed = row_count;
    return jsonb_build_object('notification', h.notification_id, 'created', changed > 0);
end $$;

-- A change or a withdrawal takes the place of what was told before.
create function homework_root() returns trigger
language plpgsql set search_path = ent_notify, pg_temp as $$
declare
    named text := coalesce(new.data->>'homework', new.idempotency_key);
    first_version bigint;
begin
    select coalesce(n.root, n.id) into first_version
    from homework h join notification n on n.id = h.notification_id
    where h.external_id = named and n.withdrawn_type is null and n.withdraws is null;
    new.root := coalesce(new.root, first_version);
    if new.type in ('HomeworkChanged', 'HomeworkWithdrawn') and not exists (select from homework where external_id = named) then
        raise exception 'no homework "%" was assigned; give the `homework` of HomeworkAssigned, or its key', named
            using errcode = 'EN002';
    end if;
    return new;
end $$;

create trigger homework_root before insert on notification for each row
when (new.type in ('HomeworkAssigned', 'TestAnnounced', 'HomeworkChanged', 'HomeworkWithdrawn'))
execute function homework_root();

-- The state of homework follows its events; a reminder that has become wrong is replaced, in the same transaction.
create function note_homework() returns trigger
language plpgsql set search_path = ent_notify, pg_temp as $$
declare
    named text := coalesce(new.data->>'homework', new.idempotency_key);
    h homework;
    g people_group;
    stale record;
    rest bigint[];
    version bigint;
begin
    if char_length(named) > 200 then
        raise exception '`homework` is an id of at most 200 characters' using errcode = 'EN002';
    end if;
    select * into g from people_group where external_id = new.data->>'group';
    if g.id is null then
        raise exception 'no group "%" is in the directory; a class is written UAI/class/NAME', new.data->>'group' using errcode = 'EN001';
    end if;
    if new.type = 'HomeworkWithdrawn' then
        update homework set withdrawn_at = new.published_at, notification_id = new.id where external_id = named returning * into h;
    else
        insert into homework as x (external_id, school_id, group_id, is_test, subject, title, due, due_at, notification_id)
        values (named, g.school_id, g.id, new.type = 'TestAnnounced', new.data->>'subject', new.data->>'title',
                (new.data->>'due')::date, (new.data->>'due_at')::timestamptz, new.id)
        on conflict (external_id) do update
        set school_id = excluded.school_id, group_id = excluded.group_id, subject = excluded.subject, title = excluded.title,
            due = excluded.due, due_at = excluded.due_at, withdrawn_at = null, notification_id = excluded.notification_id,
            is_test = case when new.type = 'HomeworkChanged' then x.is_test else excluded.is_test end
        returning * into h;
    end if;
    for stale in
        select r.notification_id, r.homework, r.expires_at, n.type, n.category, n.urgency, n.audience, n.clauses,
               coalesce(n.root, n.id) as root, n.data
        from homework_reminder r join notification n on n.id = r.notification_id
        where r.homework @> array[h.id] and r.expires_at > new.published_at
          and (h.withdrawn_at is not null or h.due <> (n.data->>'due')::date or h.due_at < r.expires_at)
        for update of r
    loop
        select coalesce(array_agg(x.id order by x.id), '{}') into rest
        from homework x
        where x.id = any (stale.homework) and x.withdrawn_at is null and x.due = (stale.data->>'due')::date
          and coalesce(x.due_at > new.published_at, true);
        insert into notification (idempotency_key, type, category, urgency, data, audience, clauses, published_at, expires_at, root)
        values ('reminder:' || stale.notification_id || ':' || new.id,
                case when rest = '{}' then 'ReminderWithdrawn' else stale.type end, stale.category, stale.urgency,
                case when rest = '{}' then jsonb_build_object('due', stale.data->'due')
                     else works_of(rest) || jsonb_build_object('tomorrow', stale.data->'tomorrow') end,
                stale.audience, stale.clauses, new.published_at, least(stale.expires_at, h.due_at), stale.root)
        returning id into version;
        delete from homework_reminder where notification_id = stale.notification_id;
        if rest <> '{}' then
            insert into homework_reminder values (version, rest, least(stale.expires_at, h.due_at));
        end if;
    end loop;
    return null;
end $$;

create trigger note_homework after insert on notification for each row
when (new.type in ('HomeworkAssigned', 'TestAnnounced', 'HomeworkChanged', 'HomeworkWithdrawn'))
execute function note_homework();

-- Reminders of some schools: for each asked (school, evening, day due) that nobody has computed before, one notification for
-- each set of works that somebody has still to do, to all pupils with that very set and to their guardians. `ends`: the
-- instant at which that day's work is due unless it says so itself. Returns how many notifications there are.
create function remind(schools int[], evenings date[], tests boolean[], dues date[], ends timestamptz[], at timestamptz)
returns int
language sql volatile set search_path = ent_notify, pg_temp as $$
    with claimed as (
        insert into reminded as r (school_id, evening, is_test, due, at)
        select * , remind.at from unnest(schools, evenings, tests, dues) order by 1, 2, 3, 4
        on conflict do nothing
        returning r.school_id, r.evening, r.is_test, r.due
    ),
    work as materialized (
        select h.id, h.school_id, h.group_id, h.is_test, h.due, c.evening,
               coalesce(h.due_at, e.ends) as ends
        from claimed c
        join unnest(schools, evenings, tests, dues, ends) e (school_id, evening, is_test, due, ends) using (school_id, evening, is_test, due)
        join homework h on h.school_id = c.school_id and h.due = c.due and h.is_test = c.is_test and h.withdrawn_at is null
        where coalesce(h.due_at, e.ends) > remind.at
    ),
    todo as (
        select w.school_id, w.is_test, w.due, w.evening, p.id as person_id, array_agg(distinct w.id order by w.id) as works,
               min(w.ends) as ends
        from work w
        join membership m on m.group_id = w.group_id and m.valid_from <= remind.at and m.valid_until > remind.at
        join person p on p.id = m.person_id and p.profile = 1 and p.hidden_at is null
        where not exists (select from homework_done d where d.homework_id = w.id and d.person_id = p.id)
        group by w.school_id, w.is_test, w.due, w.evening, p.id
    ),
    sets as materialized (
        select t.school_id, t.is_test, t.due, t.evening, t.works, min(t.ends) as ends, array_agg(t.person_id order by t.person_id) as pupils
        from todo t group by t.school_id, t.is_test, t.due, t.evening, t.works
    ),
    published as (
        insert into notification (idempotency_key, type, category, urgency, data, audience, clauses, published_at, expires_at)
        select format('reminder:%s:%s:%s:%s:%s', c.uai, s.evening, s.due, case when s.is_test then 'test' else 'work' end,
                      md5(s.works::text)),
               k.name, k.category, k.urgency,
               works_of(s.works) || jsonb_build_object('tomorrow', s.due = s.evening + 1),
               (select jsonb_build_object('union', jsonb_agg(t.term)) from (
                    select jsonb_build_object('person', p.external_id) as term from person p where p.id = any (s.pupils)
                    union all
                    select jsonb_build_object('guardians_of', jsonb_build_object('person', p.external_id))
                    from person p where p.id = any (s.pupils)) t),
               jsonb_build_array(jsonb_build_object('not', '[]'::jsonb, 'in', (
                   select jsonb_agg(jsonb_build_array(x.scope, u.pupil)) from unnest(s.pupils) u (pupil), (values (3), (4)) x (scope)))),
               remind.at, s.ends
        from sets s
        join school c on c.id = s.school_id
        join event_type k on k.name = case when s.is_test then 'TestReminder' else 'HomeworkReminder' end
        returning id, idempotency_key, expires_at
    ),
    kept as (
        insert into homework_reminder (notification_id, homework, expires_at)
        select p.id, s.works, p.expires_at
        from published p
        join sets s on p.idempotency_key = format('reminder:%s:%s:%s:%s:%s', (select c.uai from school c where c.id = s.school_id),
                                                  s.evening, s.due, case when s.is_test then 'test' else 'work' end, md5(s.works::text))
        returning 1
    )
    select count(*)::int from published
$$;

-- ---------------------------------------------------------------- timetables

-- Lessons of each group: as first known (base), and as they are now (null: taken out of the timetable).
create table lesson (
    group_id     int not null references people_group,
    external_id  text not null,
    base         jsonb,                               -- null: it was not there
    now          jsonb,
    base_day     date,
    now_day      date,
    primary key (group_id, external_id)
);

create index lesson_base_day on lesson (group_id, base_day);
create index lesson_now_day on lesson (group_id, now_day);
create index lesson_past on lesson (greatest(base_day, now_day));

-- Days of a group on which something has changed, and what was told of it.
create table timetable_day (
    group_id    int not null references people_group,
    day         date not null,
    changed_at  timestamptz,                          -- since when something waits to be told; null: nothing does
    look_at     timestamptz not null,                 -- when to look again; infinity: never
    told        jsonb,                                -- the change as it was told last
    loud        boolean not null default false,       -- told at once, not only noted for the digest
    version     int not null default 0,
    told_key    text,
    primary key (group_id, day)
);

create index timetable_day_look on timetable_day (look_at) where look_at < 'infinity';
create index timetable_day_past on timetable_day (day);

-- ---------------------------------------------------------------- identities of one human

-- Two accounts of one human, because somebody said so: never found by likeness of names or addresses.
create table same_human (
    person_id    int not null,
    other_id     int not null,
    declared_by  text not null,
    declared_at  timestamptz not null,
    primary key (person_id, other_id),
    check (person_id < other_id)
);

create index same_human_other on same_human (other_id);

-- ---------------------------------------------------------------- publishing: lists, and work that is done

create or replace function publish(event jsonb, at timestamptz default clock_timestamp()) returns jsonb
language plpgsql volatile security definer set search_path = ent_notify, pg_temp as $$
declare
    kind event_type;
    body jsonb;
    compiled jsonb;
    expr jsonb;
    expiry timestamptz;
    first_version bigint;
    new_id bigint;
    name text;
    spec text;
    value jsonb;
begin
    if jsonb_typeof(event) is distinct from 'object' then
        raise exception 'an event is an object {"type", "key", "audience", "data"}, not %', coalesce(jsonb_typeof(event), 'null')
            using errcode = 'EN002';
    end if;
    if event - array['type', 'key', 'audience', 'data', 'expires_at', 'urgency', 'sender', 'replaces'] <> '{}' then
        select k into name from jsonb_object_keys(event) k
        where k not in ('type', 'key', 'audience', 'data', 'expires_at', 'urgency', 'sender', 'replaces') limit 1;
        raise exception 'event field "%" is not known; an event has type, key, audience, data, expires_at, urgency, sender, replaces', name using errcode = 'EN002';
    end if;
    if jsonb_typeof(event->'key') is distinct from 'string' or char_length(event->>'key') not between 1 and 200 then
        raise exception '"key" (the idempotency key) is a text of 1 to 200 characters, not %', coalesce(left(event->>'key', 40), 'null')
            using errcode = 'EN002';
    end if;
    select * into kind from event_type t where t.name = event->>'type';
    if not found then
        raise exception 'event type "%" is not known; known are %', event->>'type', (select string_agg(t.name, ', ' order by t.name) from event_type t)
            using errcode = 'EN002';
    end if;

    body := coalesce(event->'data', '{}');
    if jsonb_typeof(body) <> 'object' then
        raise exception '% "data" is an object, not %', kind.name, jsonb_typeof(body) using errcode = 'EN002';
    end if;
    select k into name from jsonb_object_keys(body) k where not kind.fields ? k limit 1;
    if name is not null then
        raise exception '% has no field "%"; it has %', kind.name, name, (select string_agg(k, ', ') from jsonb_object_keys(kind.fields) k)
            using errcode = 'EN002';
    end if;
    for name, spec in select * from jsonb_each_text(kind.fields) loop
        value := body->name;
        if value is null or value = 'null'::jsonb then
            if right(spec, 1) <> '?' then
                raise exception '% lacks its field "%" (%)', kind.name, name, spec using errcode = 'EN002';
            end if;
        elsif not (case rtrim(spec, '?')
            when 'string' then jsonb_typeof(value) = 'string' and char_length(body->>name) <= 20000
            when 'integer' then jsonb_typeof(value) = 'number' and (body->>name) ~ '^-?\d{1,18}$'
            when 'boolean' then jsonb_typeof(value) = 'boolean'
            when 'date' then jsonb_typeof(value) = 'string' and pg_input_is_valid(body->>name, 'date')
                             and (body->>name) ~ '^\d{4}-\d\d-\d\d$'
            when 'datetime' then jsonb_typeof(value) = 'string' and pg_input_is_valid(body->>name, 'timestamptz')
                             and (body->>name) ~ '^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)$'
            when 'items' then jsonb_typeof(value) = 'array' and jsonb_array_length(value) <= 100 and not exists (
                                  select from jsonb_array_elements(value) i
                                  where jsonb_typeof(i) <> 'object' or char_length(i::text) > 20000)
            else false end)
        then
            raise exception '% field "%" is a %, not %', kind.name, name,
                case rtrim(spec, '?') when 'string' then 'text of at most 20000 characters'
                                      when 'items' then 'list of at most 100 objects' else rtrim(spec, '?') end,
                case when jsonb_typeof(value) = 'string' and char_length(body->>name) > 60
                     then 'one of ' || char_length(body->>name) || ' characters' else value::text end
                using errcode = 'EN002';
        end if;
    end loop;

    if kind.name = 'HomeworkDone' then
        return note_homework_done(body, at);   -- tells nobody, so there is no notification
    end if;
    if event ? 'urgency' and (event->>'urgency') not in ('urgent', 'normal', 'bulk') then
        raise exception '"urgency" is urgent, normal or bulk, not %', event->'urgency' using errcode = 'EN002';
    end if;
    if event ? 'expires_at' then
        if not pg_input_is_valid(event->>'expires_at', 'timestamptz') or (event->>'expires_at') !~ '^\d{4}-\d\d-\d\dT.*(Z|[+-]\d\d:?\d\d)$' then
            raise exception '"expires_at" is an instant such as 2026-09-08T10:00:00+02:00, not %', event->'expires_at' using errcode = 'EN002';
        end if;
        expiry := (event->>'expires_at')::timestamptz;
    elsif kind.ends_after = '[]' then
        expiry := at + kind.life;
    else
        select (body->>(o.rule->>0))::timestamptz + make_interval(secs => (o.rule->>1)::double precision) into expiry
        from jsonb_array_elements(kind.ends_after) with ordinality o (rule, place)
        where body->>(o.rule->>0) is not null order by o.place limit 1;
        expiry := coalesce(expiry, at + kind.life);
    end if;
    if kind.name = 'Withdrawn' then
        raise exception 'Withdrawn is published by a recall alone' using errcode = 'EN002';
    end if;
    if event ? 'replaces' then
        select coalesce(n.root, n.id) into first_version from notification n
        where n.idempotency_key = event->>'replaces' and n.withdraws is null;
        if first_version is null then
            raise exception '"replaces": no event was published under the key %; leave it out of a first version', event->'replaces'
                using errcode = 'EN002';
        end if;
    end if;
    expr := event->'audience';
    if expr is null or expr = 'null'::jsonb then
        if kind.natural_audience is null then
            raise exception '% needs an "audience"', kind.name using errcode = 'EN002';
        end if;
        expr := kind.natural_audience;
        compiled := audience_clauses(expr, body);
    else
        compiled := audience_clauses(expr, null);
    end if;

    insert into notification (idempotency_key, type, category, urgency, data, audience, clauses, published_at, expires_at,
                              root)
    values (event->>'key', kind.name, kind.category,
            coalesce(array_position(array['urgent', 'normal', 'bulk'], event->>'urgency') - 1, kind.urgency),
            body, expr, compiled, at, expiry, first_version)
    on conflict (idempotency_key) do nothing
    returning id into new_id;
    if new_id is not null then
        if event ? 'sender' then
            perform take_from_sender(event->>'sender', at);
        end if;
        return jsonb_build_object('notification', new_id, 'created', true);
    end if;
    select id into new_id from notification where idempotency_key = event->>'key';
    return jsonb_build_object('notification', new_id, 'created', false);
end $$;
