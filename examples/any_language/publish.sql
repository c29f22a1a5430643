-- Publishing from psql, in the transaction that holds the host's own data:
--
--     psql ent --set pupil=p1 --set starts_at=2030-09-18T08:00:00+02:00 --set number=81423 --file publish.sql
--
-- Whatever fails, nothing is stored and nobody is told. Run again with the same number, nobody is told twice.
\set ON_ERROR_STOP on
begin;
-- the host's own statements stand here
select ent_notify.publish(jsonb_build_object(
    'type', 'AbsenceRecorded',
    'key', 'absence-' || :'number',
    'data', jsonb_build_object('pupil', :'pupil', 'starts_at', :'starts_at')
));
commit;
