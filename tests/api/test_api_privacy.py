"""One's own trail and requests, and those that the data protection officer sees."""

from __future__ import annotations

from .conftest import Open

OFFICER = {"rights": {"officers": ["P31"]}}


async def test_a_person_asks_and_the_officer_carries_out_or_refuses(open_house: Open) -> None:
    async with open_house(**OFFICER) as house:
        mine = await house.post("/v1/privacy/requests", "P11", {"kind": "restrict"})
        childs = await house.post("/v1/privacy/requests", "P13", {"kind": "erase", "person": "P2"})
        assert (mine["state"], childs["capacity"]) == ("open", "guardian")
        others = [  # no guardian of theirs, restricted by a court, and nobody at all: the same
            await house.ask("POST", "/v1/privacy/requests", {"kind": "erase", "person": "P2"}, person="P12"),
            await house.ask("POST", "/v1/privacy/requests", {"kind": "erase", "person": "P2"}, person="P14"),
            await house.ask("POST", "/v1/privacy/requests", {"kind": "erase", "person": "nobody"}, person="P12"),
        ]
        assert [got.status for got in others] == [404] * 3 and len({got.body for got in others}) == 1
        open_now = (await house.get("/v1/officer/requests", "P31"))["requests"]
        assert [(each["person"], each["kind"]) for each in open_now] == [("P11", "restrict"), ("P2", "erase")]
        done = await house.post(f"/v1/officer/requests/{mine['id']}", "P31", {"act": "carry_out"})
        assert done["state"] == "done"
        again = await house.ask("POST", f"/v1/officer/requests/{mine['id']}", {"act": "carry_out"}, person="P31")
        assert again.status == 409
        no_reason = await house.ask("POST", f"/v1/officer/requests/{childs['id']}", {"act": "refuse"}, person="P31")
        assert no_reason.status == 409
        refused = await house.post(
            f"/v1/officer/requests/{childs['id']}", "P31", {"act": "refuse", "reason": "a procedure is under way"}
        )
        assert refused["state"] == "refused"
        assert (await house.get("/v1/privacy/requests", "P13"))["requests"][0]["note"] == "a procedure is under way"
        assert (await house.get("/v1/officer/requests", "P31"))["requests"] == []
        assert len((await house.get("/v1/officer/requests?everything=true", "P31"))["requests"]) == 2


async def test_a_person_sees_who_read_their_words_and_what_is_done_for_a_hold_once_it_is_lifted(
    open_house: Open,
) -> None:
    async with open_house(**OFFICER) as house:
        engine = house.engine
        conversation, _ = await engine.start_conversation("P21", ["P11"], "Sortie", "Bonjour")
        number = await engine.break_glass.ask(conversation, "Noa", "a pupil may be in danger")
        await engine.break_glass.open(number, "Lou")
        assert [each.body for each in await engine.break_glass.read(number, "Noa")] == ["Bonjour"]
        hold = await engine.holds.ask(by="Noa", reason="requisition", person="P11")
        await engine.data_rights._trail.note("Noa", "officer", "sealed export", "P11", f"hold {hold}", hold)
        looks = (await house.get("/v1/privacy/trail", "P11"))["looks"]
        assert [each["action"] for each in looks] == ["read conversation", "allow to read", "ask to read"]
        assert looks[0]["actor"] == looks[2]["actor"] != looks[1]["actor"]
        assert "Noa" not in str(looks)
        await engine.holds.ask_lift(hold, "Noa")
        await engine.holds.lift(hold, "Lou")
        assert (await house.get("/v1/privacy/trail", "P11"))["looks"][0]["action"] == "sealed export"
        assert (await house.get("/v1/privacy/trail", "P12"))["looks"] == []
