-- What was published to somebody a moment before they are erased has no place in the feed yet, and nothing by which it is
-- found: it is given one first.

set local search_path = ent_notify;

create or replace function erase_elsewhere(who int) returns void
language plpgsql volatile set search_path = ent_notify, pg_temp set ent_notify.forgetting = 'on' as $$
declare
    p person;
    spoken text[];
begin
    select * into p from person where id = who;
    if p.id is null then
        return;
    end if;
    while exists (
        select from notification n
        where n.feed_seq is null and position(to_jsonb(p.external_id)::text in n.audience::text) > 0
    ) loop
        perform relay(10000);
    end loop;
    update safety_audit set
        done_by = case when done_by = p.external_id then '—' else done_by end,
        about = case when about = p.external_id then '—' else about end
    where p.external_id in (done_by, about);
    update recall_run set done_by = '—' where done_by = p.external_id;
    update restraint set done_by = '—' where done_by = p.external_id;
    update frozen_area set done_by = '—' where done_by = p.external_id;
    if p.profile in (3, 4) then
        spoken := array[p.given_name || ' ' || p.family_name, p.family_name || ' ' || p.given_name,
                        upper(p.family_name) || ' ' || p.given_name];
        update lesson l set
            base = case when base->>'teacher' = any (spoken) then base - 'teacher' else base end,
            now = case when now->>'teacher' = any (spoken) then now - 'teacher' else now end
        where base->>'teacher' = any (spoken) or now->>'teacher' = any (spoken);
    end if;
end $$;
