-- name: lock_token
-- Two registrations of one token wait for one another; the lock ends with the transaction.
select pg_advisory_xact_lock(hashtextextended('ent_notify.device/' || :provider::text || '/' || :token::text, 0));

-- name: find_person
-- Somebody who is there.
select id from person where external_id = :person and hidden_at is null;

-- name: take_over
-- Whoever had this token before loses it: a shared tablet stops getting the previous account's pushes.
update device set dropped_at = :now, drop_reason = 'taken over'
where provider = :provider and token = :token and dropped_at is null and person_id <> :person_id
returning id;

-- name: refresh
-- The same person registers the same token again.
update device set app = :app, language = :language, registered_at = :now
where provider = :provider and token = :token and dropped_at is null and person_id = :person_id
returning id;

-- name: insert
-- A new binding of a token, unless refresh found one.
insert into device (person_id, provider, app, token, language, registered_at)
select :person_id, :provider::text, :app::text, :token::text, :language::text, :now::timestamptz
where not exists (select from device where provider = :provider and token = :token and dropped_at is null)
returning id;

-- name: drop!
-- A person signs out of a device: nothing happens when somebody else has taken it over since.
update device set dropped_at = :now, drop_reason = :reason
from person
where person.external_id = :person and device.person_id = person.id
  and device.provider = :provider and device.token = :token and device.dropped_at is null;

-- name: create_staging!
-- The staging table of a bulk registration; single registrations wait until it is merged.
create temp table staged_device (
    n int, person text, provider text, app text, token text, language text, person_id int
) on commit drop;
lock table device in share row exclusive mode;

-- name: resolve!
-- Who the people are. Of several registrations of one token the last counts.
update staged_device set person_id = person.id
from person
where person.external_id = staged_device.person and person.hidden_at is null
  and not exists (
      select from staged_device later
      where later.provider = staged_device.provider and later.token = staged_device.token and later.n > staged_device.n
  );

-- name: analyze_staging!
-- Temporary tables have no statistics until somebody asks.
analyze staged_device;

-- name: index_staging!
-- The last registration of a token is found by index.
create index on staged_device (provider, token);

-- name: take_over_all!
-- Whoever had one of these tokens before loses it.
update device set dropped_at = :now, drop_reason = 'taken over'
from staged_device t
where t.person_id is not null and device.provider = t.provider and device.token = t.token
  and device.dropped_at is null and device.person_id <> t.person_id;

-- name: refresh_all!
-- The same people register the same tokens again.
update device set app = t.app, language = t.language, registered_at = :now
from staged_device t
where t.person_id is not null and device.provider = t.provider and device.token = t.token
  and device.dropped_at is null and device.person_id = t.person_id;

-- name: insert_all!
-- New bindings, by person: ids of one bucket's devices lie together.
insert into device (person_id, provider, app, token, language, registered_at)
select person_id, provider, app, token, language, :now
from staged_device t
where person_id is not null and not exists (
    select from device d where d.provider = t.provider and d.token = t.token and d.dropped_at is null
)
order by person_id, n;

-- name: count_unknown$
-- Registrations for people who are not in the directory.
select count(*) from staged_device t
where not exists (select from person where person.external_id = t.person and person.hidden_at is null);

-- name: analyze_devices!
-- After a large merge the planner must know what changed.
analyze device;

-- name: create_preference_staging!
-- The staging table of preferences.
create temp table staged_preference (n int, person text, category text, channel text, enabled boolean) on commit drop;

-- name: analyze_preference_staging!
-- Temporary tables have no statistics until somebody asks.
analyze staged_preference;

-- name: merge_preferences!
-- The last choice of each person, category and channel; what is so already is not touched.
merge into preference
using (
    select distinct on (person.id, s.category, s.channel) person.id as person_id, s.category, s.channel, s.enabled
    from staged_preference s join person on person.external_id = s.person and person.hidden_at is null
    order by person.id, s.category, s.channel, s.n desc
) t
on preference.person_id = t.person_id and preference.category = t.category and preference.channel = t.channel
when matched and preference.enabled <> t.enabled then update set enabled = t.enabled
when not matched then insert (person_id, category, channel, enabled)
    values (t.person_id, t.category, t.channel, t.enabled);
