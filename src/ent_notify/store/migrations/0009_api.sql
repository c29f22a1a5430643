-- What people say of what they were told: "j'ai pris connaissance".
set local search_path = ent_notify;

create table acknowledgement (
    notification_id bigint not null references notification on delete cascade,
    person_id       int not null,
    acknowledged_at timestamptz not null,          -- the first time counts
    primary key (notification_id, person_id)
);
create index acknowledgement_person on acknowledgement (person_id);
