-- name: ramps
-- The share of FCM's limit that is used at some instants.
select quarter_ramp(t.instant) as ramp from unnest(:instants::timestamptz[]) with ordinality t (instant, place) order by t.place;

-- name: live_devices$
-- How many devices of a provider can be reached.
select count(*)::int from device where provider = :provider and dropped_at is null;
