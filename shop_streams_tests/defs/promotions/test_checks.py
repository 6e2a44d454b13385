"""PostgreSQL and Kafka agree."""

from shop_streams.defs.promotions.checks import disagreements


def test_disagreements_are_told() -> None:
    one = {"adv_campaign_id": "c", "client_id": "a", "adv_campaign_content": "soup"}
    known = {("c", "a"): one}
    assert disagreements(known, known, [one]) == []
    assert disagreements(known, known, []) == ["c:a is not in the topic"]
    assert disagreements(known, known, [one, one]) == ["c:a is in the topic 2 times"]
    assert disagreements({}, known, [one | {"adv_campaign_content": "tea"}]) == ["c:a differs from PostgreSQL"]
    assert disagreements({}, {}, [one]) == ["c:a differs from PostgreSQL"]
