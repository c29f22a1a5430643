-- name: publish$
-- Publish one event through the same function that hosts call from SQL.
select ent_notify.publish(:event::jsonb, :now);

-- name: publish_many
-- Publish a list of events in one transaction: all or none.
select ent_notify.publish(e.event, :now) as answer
from jsonb_array_elements(:events::jsonb) with ordinality e (event, place)
order by e.place;

-- name: register_types!
-- Keep the table of event types equal to those that this process knows.
insert into event_type (name, category, urgency, channels, life, fields, natural_audience, ends_after)
select t->>'name', t->>'category', (t->>'urgency')::smallint, array(select jsonb_array_elements_text(t->'channels')),
       make_interval(secs => (t->>'life_seconds')::double precision), t->'fields', nullif(t->'natural_audience', 'null'),
       t->'ends_after'
from jsonb_array_elements(:types::jsonb) t
on conflict (name) do update set
    category = excluded.category, urgency = excluded.urgency, channels = excluded.channels, life = excluded.life,
    fields = excluded.fields, natural_audience = excluded.natural_audience,
    ends_after = excluded.ends_after
where (event_type.category, event_type.urgency, event_type.channels, event_type.life, event_type.fields,
       event_type.natural_audience, event_type.ends_after)
      is distinct from
      (excluded.category, excluded.urgency, excluded.channels, excluded.life, excluded.fields, excluded.natural_audience,
       excluded.ends_after);
