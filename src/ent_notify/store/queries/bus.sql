-- name: notify$
-- Wake whoever listens on a channel.
select pg_notify(:channel, :payload);

-- name: lock_relay$
-- Until the end of this transaction nobody else relays: what the relay places is then what lies before the feed's head.
select pg_advisory_xact_lock(hashtextextended('ent_notify.relay', 0));
