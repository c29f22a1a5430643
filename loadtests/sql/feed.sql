-- What was published, in the order of the feed, with its audience ("$name" in it stands for a field of its data).
select feed_seq, id, type, audience, data, (extract(epoch from published_at) * 1e9)::bigint from ent_notify.notification
where feed_seq is not null order by feed_seq
