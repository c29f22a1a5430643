"""What `[email]` and `[mail_groups]` say reaches the wire."""

from __future__ import annotations

from ent_notify.engine import connect_channels
from ent_notify.model.audience import Everyone
from ent_notify.model.events import Announcement
from ent_notify.settings import EmailSettings, MailGroup
from ent_notify.testing.smtp import open_fake_smtp

from .conftest import open_town


async def test_senders_names_and_relays_are_those_of_the_settings(town_dsn: str) -> None:
    async with open_fake_smtp() as common, open_fake_smtp() as families:
        email = EmailSettings(
            host=common.host,
            port=common.port,
            tls="none",
            sender="info@bureau.example",
            sender_name="Bureau",
            return_path="retours@bureau.example",
            reply_to="secretariat@bureau.example",
            local_name="mx7.bureau.example",
        )
        groups = {
            "families": MailGroup(
                domains=("Famille.example",),
                per_second=1000,
                host=families.host,
                port=families.port,
                tls="none",
                connections=1,
            )
        }
        async with open_town(town_dsn, email=email, mail_groups=groups) as town, connect_channels(town.engine):
            await town.engine.publish(Announcement(key="a", title="T", body="B", audience=Everyone()))
            await town.engine.worker().run_until_idle()
        for smtp, domains, count in (
            (common, {"eleve.example", "ecole.example"}, 5),
            (families, {"famille.example"}, 4),
        ):
            assert {mail.recipients[0].partition("@")[2] for mail in smtp.messages} == domains
            assert len(smtp.messages) == count
            assert {mail.sender for mail in smtp.messages} == {"retours@bureau.example"}
            assert {mail.message["Reply-To"] for mail in smtp.messages} == {"secretariat@bureau.example"}
            assert {mail.message["From"] for mail in smtp.messages} == {"Bureau <info@bureau.example>"}
            assert smtp.greetings == {"mx7.bureau.example"}
        assert families.most_connections == 1
