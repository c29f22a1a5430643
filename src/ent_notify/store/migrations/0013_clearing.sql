-- Work that has just appeared wakes the workers.
--
-- A hint and nothing more: a worker looks four times a second anyway. NOTIFY takes one lock of the whole server, from
-- just before its commit until that is on disk, so transactions that notify commit one after the other. Here one
-- transaction at a time may notify, and nobody waits for it: whoever finds another at it leaves it to that one, whose
-- hint has the worker look, and look again as long as it finds something.

set local search_path = ent_notify;

-- `set ent_notify.wake = off` keeps a session from it: a transaction that has notified cannot be prepared (two phases).
create function wake_workers() returns trigger
language plpgsql volatile set search_path = ent_notify, pg_temp as $$
begin
    if current_setting('ent_notify.wake', true) is distinct from 'off'
       and pg_try_advisory_xact_lock(hashtextextended('ent_notify.wake', 0)) then
        perform pg_notify('ent_notify_work', '');
    end if;
    return null;
end $$;

-- What hosts insert in transactions of any length is said at their commit: the turn is taken for that moment alone.
create constraint trigger wakes_workers after insert on notification
    deferrable initially deferred for each row when (new.feed_seq is null) execute function wake_workers();
create constraint trigger wakes_workers after insert on message_due
    deferrable initially deferred for each row execute function wake_workers();

-- Planned, paused, resumed, to be planned again: one statement for many campaigns, in a transaction of ours.
create trigger wakes_workers after update of planned_at, state on campaign
    for each statement execute function wake_workers();
