-- The house: directory, notifications, fan-out state, read state, conversations.
-- Times are timestamptz and always given by the caller. Ids handed to hosts are text.

create schema if not exists ent_notify;
set local search_path = ent_notify;

-- ---------------------------------------------------------------- directory

create table school (
    id          int generated always as identity primary key,
    uai         text not null unique,
    join_id     text unique,                       -- how an AAF export refers to it
    name        text not null,
    timezone    text not null default 'Europe/Paris',
    closed_at   timestamptz
);

create table person (
    id          int generated always as identity primary key,  -- its bucket in a campaign is id / width, for good
    external_id text not null unique,
    source      text not null,                     -- the directory source that owns this row
    profile     smallint not null check (profile between 1 and 4),
    function    text,
    given_name  text not null default '',
    family_name text not null default '',
    language    text not null default 'fr',
    timezone    text not null default 'Europe/Paris',
    email       text,
    email_dropped_at timestamptz,                  -- a bounce said so; a new address clears it
    email_drop_reason text,
    mail_lane   smallint,                          -- the lane of the address's domain group; null: the common one
    hidden_at   timestamptz,                       -- has left; purged later by retention
    created_at  timestamptz not null
);

create table people_group (
    id          int generated always as identity primary key,
    external_id text not null unique,
    school_id   int references school,
    kind        smallint not null,                 -- ent_notify.model.people.GroupKind
    name        text not null
);
create index people_group_school on people_group (school_id);

-- No foreign keys on the three large tables below: imports merge them set-based, and check what they merge.
create table membership (
    group_id    int not null,
    person_id   int not null,
    valid_from  timestamptz not null,
    valid_until timestamptz not null default 'infinity',
    primary key (group_id, person_id)
);
create index membership_person on membership (person_id) include (group_id, valid_from, valid_until);

create table guardian_link (
    pupil_id    int not null,
    guardian_id int not null,
    legal_level smallint not null check (legal_level between 0 and 2),
    kinship     text not null default '',
    restricted  boolean not null default false,    -- a court's decision
    primary key (pupil_id, guardian_id)
);
create index guardian_link_guardian on guardian_link (guardian_id) include (pupil_id, legal_level, restricted);

create table device (
    id            int generated always as identity primary key,   -- one binding of a token to a person
    person_id     int not null,
    provider      text not null check (provider in ('apns', 'fcm', 'webpush')),
    app           text not null,
    token         text not null,
    language      text,
    registered_at timestamptz not null,
    dropped_at    timestamptz,
    drop_reason   text
);
create unique index device_token on device (provider, token) where dropped_at is null;
create index device_person on device (person_id);

create table preference (
    person_id   int not null,
    category    text not null,
    channel     text not null,
    enabled     boolean not null,
    primary key (person_id, category, channel)
);

-- ---------------------------------------------------------------- notifications

create table event_type (
    name        text primary key,
    category    text not null,
    urgency     smallint not null,
    channels    text[] not null,
    life        interval not null,
    fields      jsonb not null,                    -- {"due": "date", "room": "string?"}
    natural_audience jsonb                         -- for whom when nobody says; "$group" stands for that field
);

create table notification (
    id              bigint generated always as identity primary key,
    idempotency_key text not null unique check (char_length(idempotency_key) between 1 and 200),
    type            text not null,                 -- publish has looked it up; a key would lock its one row for all
    category        text not null,
    urgency         smallint not null,
    data            jsonb not null,
    audience        jsonb not null,                -- the expression, as published
    clauses         jsonb not null,                -- compiled: [{"in": [[scope, ref]...], "not": [...]}...]
    published_at    timestamptz not null,
    expires_at      timestamptz not null,          -- nothing is sent after that
    feed_seq        bigint unique                  -- given after commit by the relay: gapless and final
);
create index notification_unrelayed on notification (id) where feed_seq is null;
create index notification_published on notification (published_at) include (feed_seq);

create table feed (
    only_row    boolean primary key default true check (only_row),
    last_seq    bigint not null
);
insert into feed (last_seq) values (0);

-- scope: 0 everyone (ref: profile, or 0 for all), 1 members of group ref, 2 guardians of members of group ref,
--        3 person ref, 4 guardians of person ref
-- (No key to notification here or in campaign: the relay alone writes them, and a key would lock each row again.)
create table audience (
    notification_id bigint not null,
    clause          smallint not null,
    excluded        boolean not null,
    scope           smallint not null,
    ref             int not null,
    feed_seq        bigint not null,
    primary key (notification_id, clause, excluded, scope, ref)
);
create index audience_reader on audience (scope, ref, feed_seq desc) include (notification_id, clause) where not excluded;

-- ---------------------------------------------------------------- fan-out

create table lane (
    id          smallint generated always as identity primary key,
    name        text not null unique,              -- web | email | email:GROUP | push:apns:APP | push:fcm:APP
    channel     text not null,
    provider    text not null default '',
    app         text not null default '',
    per_second  double precision,                  -- null: no limit
    tat         timestamptz not null default '-infinity',   -- GCRA: theoretical arrival time of the next send
    turns       bigint[] not null default '{0,0,0}',  -- by urgency, the turn of the chunk claimed last: whoever has
                                                   -- nothing waiting starts there
    paused_until timestamptz not null default '-infinity',
    pause_reason text,
    failures    smallint not null default 0        -- bad windows in a row: the breaker; above 0 one chunk at a time probes
);
insert into lane (name, channel) values ('web', 'web'), ('email', 'email');

-- Mail domains that are limited together (an MX group), each with its lane.
create table mail_domain (
    domain      text primary key,
    lane_id     smallint not null references lane
);

-- Who may publish how much: GCRA with a burst, one row a sender.
create table sender_limit (
    only_row    boolean primary key default true check (only_row),
    per_hour    double precision not null,
    burst       int not null
);
create table sender (
    name        text primary key,
    tat         timestamptz not null
);

create table campaign (
    notification_id bigint primary key,
    feed_seq        bigint not null,
    width           int,                           -- people a bucket: 2000, or null when one chunk holds them all
    school_id       int,                           -- whose turns its chunks take; null: it is for several, and has its own
    planned_at      timestamptz
);
create index campaign_unplanned on campaign (feed_seq) where planned_at is null;

create table chunk (
    id           bigint generated always as identity primary key,
    campaign_id  bigint not null,
    lane_id      smallint not null references lane,
    bucket       int not null,                     -- person id / campaign.width, or -1: the whole campaign
    held_until   timestamptz not null default '-infinity',  -- a pause ends then
    urgency      smallint not null,
    turn         bigint not null,                  -- fair order within an urgency; given when the chunk becomes ready
    size         int not null,
    targets      int[],                            -- person ids (email) or device ids (push), in any order; null for web
    cursor       int not null default 0,           -- targets before it have had their first try settled
    accepted     int not null default 0,
    suppressed   int not null default 0,
    failed       int not null default 0,
    state        smallint not null,                -- 0 ready, 1 waiting (held, or for a retry), 2 leased, 3 done
    fence        int not null default 0,           -- grows with each claim: a late worker's settle touches no row
    leased_by    text,
    due_at       timestamptz not null,             -- waiting: ready then; leased: the lease ends then
    settled_at   timestamptz,
    unique (campaign_id, lane_id, bucket, held_until)
);
create index chunk_ready on chunk (lane_id, urgency, turn) where state = 0;
create index chunk_due on chunk (due_at) where state in (1, 2);
create index chunk_leased on chunk (lane_id) where state = 2;

-- Start-time fair queuing: whoever shares a lane takes turns, one chunk each. `party` is a school, or minus the id of a
-- campaign for several schools. A row whose turn the lane has passed says nothing any more, and is forgotten.
create table fair_share (
    lane_id      smallint not null references lane,
    urgency      smallint not null,
    party        bigint not null,
    turn         bigint not null,                  -- the last one given to it
    asked        int not null,                     -- how many were given with it
    primary key (lane_id, urgency, party)
);

-- What is not plain success, and only that.
create table outcome (
    chunk_id    bigint not null,
    target      int not null,
    campaign_id bigint not null,
    person_id   int not null,
    state       smallint not null,                 -- 1 retry, 2 suppressed, 3 failed, 4 accepted, as a receipt says
    reason      text not null,
    attempts    smallint not null,
    retry_at    timestamptz,
    noted_at    timestamptz not null,
    primary key (chunk_id, target)
);
create index outcome_campaign on outcome (campaign_id, state, reason);
create index outcome_person on outcome (person_id, campaign_id);

-- ---------------------------------------------------------------- reading

create table reading (
    person_id   int primary key,
    watermark   bigint not null default 0,         -- every feed_seq up to it is read
    above       bigint[] not null default '{}'     -- and these above it
);

create table stream_ticket (
    digest      bytea primary key,                 -- sha256 of the ticket; the ticket itself is never stored
    person_id   int not null,
    expires_at  timestamptz not null
);

-- ---------------------------------------------------------------- conversations

create table conversation (
    id          bigint generated always as identity primary key,
    subject     text not null check (char_length(subject) between 1 and 200),
    started_by  int not null,
    started_at  timestamptz not null,
    last_seq    int not null default 0
);

create table participant (
    conversation_id bigint not null references conversation on delete cascade,
    person_id       int not null,
    read_seq        int not null default 0,
    primary key (conversation_id, person_id)
);
create index participant_person on participant (person_id);

create table message (
    conversation_id bigint not null references conversation on delete cascade,
    seq             int not null,
    author_id       int not null,
    body            text not null check (char_length(body) between 1 and 20000),
    posted_at       timestamptz not null,
    primary key (conversation_id, seq)
);
