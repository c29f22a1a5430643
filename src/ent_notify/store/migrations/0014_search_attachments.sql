-- Attachments of messages, words to search messages by, and messages written in a small HTML.

set local search_path = ent_notify;

-- ---------------------------------------------------------------- search

-- Words as they are written, without the French ones that say nothing; and their stems.
create text search dictionary french_word (template = pg_catalog.simple, stopwords = french);
create text search configuration french_words (parser = pg_catalog."default");
alter text search configuration french_words
    add mapping for asciiword, word, numword, uint, int, float, version with french_word;
create text search configuration french_stems (parser = pg_catalog."default");
alter text search configuration french_stems add mapping for asciiword, word with french_stem;

-- Text without case, accents, and every mark between words: what is a word depends on no locale.
create function searchable(text) returns text
language sql immutable parallel safe strict
return regexp_replace(
    replace(replace(ent_notify.plain($1), 'œ', 'oe'), 'æ', 'ae'),
    '[\u0001-\u002f\u003a-\u0040\u005b-\u0060\u007b-\u00bf\u2000-\u2bff\u3000-\u303f\ufe00-\ufe0f\U0001f000-\U0001faff]+', ' ', 'g');

-- What a text is found by: each word without accents, for its beginning, and its stem.
create function words_of(text) returns tsvector
language sql immutable parallel safe strict
begin atomic
    select strip(to_tsvector('ent_notify.french_words'::regconfig, s.plain) || to_tsvector('ent_notify.french_stems'::regconfig, s.plain))
    from (select ent_notify.searchable($1) as plain offset 0) s;
end;

-- What somebody types, as a question: every word of it, by its beginning or its stem; of words that say nothing alone,
-- their beginning. Null for a text without words. Only the first ten words count.
create function search_query(typed text) returns tsquery
language plpgsql stable strict parallel safe set search_path = ent_notify, pg_temp as $$
declare
    word text;
    one tsquery;
    every tsquery;
    silent tsquery;
begin
    for word in select w from regexp_split_to_table(searchable(typed), ' ') with ordinality s (w, place) where w <> '' order by place limit 10 loop
        one := to_tsquery('french_words', word || ':*') || to_tsquery('french_stems', word);
        if numnode(one) > 0 then
            every := coalesce(every && one, one);
        else
            silent := (quote_literal(word) || ':*')::tsquery;
        end if;
    end loop;
    return coalesce(every, silent);
end $$;

-- What each message is found by, written by the worker that announces it: those that still wait in message_due are looked
-- at as they are. A reader's conversations are found by index, and their words looked through one conversation after the
-- other; an index of words over everybody's messages would read what others wrote (docs/decisions/search.md).
create table message_words (
    conversation_id bigint not null,
    seq             int not null,
    words           tsvector not null,
    primary key (conversation_id, seq),
    foreign key (conversation_id, seq) references message on delete cascade
);
insert into message_words (conversation_id, seq, words)
select m.conversation_id, m.seq, words_of(m.body) from message m where m.recalled_at is null;
create index message_due_message on message_due (conversation_id, seq);
alter table conversation add column subject_words tsvector generated always as (ent_notify.words_of(subject)) stored;

-- ---------------------------------------------------------------- attachments

-- What the host keeps, by the SHA-256 of its bytes: noted before it is written, forgotten after it is deleted.
create table attachment_file (
    digest      bytea primary key check (octet_length(digest) = 32),
    size        bigint not null check (size >= 0),
    touched_at  timestamptz not null           -- when somebody last brought it
);

-- One file of one message, or of a draft until it is sent; gone with either.
create table attachment (
    id              bigint generated always as identity primary key,
    owner_id        int not null,
    digest          bytea not null references attachment_file,
    size            bigint not null,
    type            text not null,
    name            text not null check (char_length(name) between 1 and 150),
    added_at        timestamptz not null,
    draft_id        bigint references message_draft on delete cascade,
    conversation_id bigint,
    seq             int,
    foreign key (conversation_id, seq) references message on delete cascade,
    check ((draft_id is null) <> (conversation_id is null) and (conversation_id is null) = (seq is null))
);
create index attachment_message on attachment (conversation_id, seq, id) where conversation_id is not null;
create index attachment_draft on attachment (draft_id) where draft_id is not null;
create index attachment_digest on attachment (digest);
create index attachment_owner on attachment (owner_id);
create index attachment_file_touched on attachment_file (touched_at);

-- Bytes of each person's attachments: under their quota, whoever adds at the same moment.
create table attachment_usage (
    person_id   int primary key,
    bytes       bigint not null check (bytes >= 0)
);

create function give_room_back() returns trigger
language plpgsql set search_path = ent_notify, pg_temp as $$
begin
    update attachment_usage u set bytes = u.bytes - d.bytes
    from (select g.owner_id, sum(g.size) as bytes from gone g group by g.owner_id) d
    where u.person_id = d.owner_id;
    return null;
end $$;
create trigger attachment_gone after delete on attachment referencing old table as gone
for each statement execute function give_room_back();

-- ---------------------------------------------------------------- a small HTML

-- How a message looks to who can show it; `message.body` is the same as plain text, for everything else.
create table message_html (
    conversation_id bigint not null,
    seq             int not null,
    html            text not null check (char_length(html) between 1 and 60000),
    primary key (conversation_id, seq),
    foreign key (conversation_id, seq) references message on delete cascade
);

-- A text that is changed or taken away takes with it how it looked, and what it was found by; one that is taken away, its
-- attachments.
create function text_changed() returns trigger
language plpgsql set search_path = ent_notify, pg_temp as $$
begin
    delete from message_html h where h.conversation_id = new.conversation_id and h.seq = new.seq;
    if new.recalled_at is null then
        insert into message_words as w (conversation_id, seq, words)
        values (new.conversation_id, new.seq, words_of(new.body))
        on conflict (conversation_id, seq) do update set words = excluded.words;
    else
        delete from message_words w where w.conversation_id = new.conversation_id and w.seq = new.seq;
        delete from attachment a where a.conversation_id = new.conversation_id and a.seq = new.seq;
    end if;
    return null;
end $$;
create trigger message_text_changed after update of body, recalled_at on message
for each row when (old.body is distinct from new.body or old.recalled_at is distinct from new.recalled_at)
execute function text_changed();
