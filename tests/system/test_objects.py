"""Requests, grants and portable texts of a real gate are what docs/schema says, with no key more."""

import json
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from production_kit import WRITE, Production

_SCHEMAS = Path(__file__).parents[2] / "docs" / "schema"


def _fits(name: str, shown: Any) -> None:
    schema = json.loads((_SCHEMAS / f"{name}.schema.json").read_text())
    Draft202012Validator(schema).validate(shown)
    assert {*shown} == {*schema["properties"]}


def test_every_state_of_requests_and_grants(granting: Production) -> None:
    denied, cancelled = granting.request(), granting.request(WRITE)
    _fits("portable", json.loads(granting.gate("show", denied, "--portable").out))
    assert granting.gate("deny", denied, "--reason", "not today", "--key", str(granting.keys["kim"])).code == 0
    assert granting.gate("cancel", cancelled).code == 0
    granting.request("deployment:logs:view")
    used, dropped = granting.grant(uses=3), granting.grant()
    assert granting.gate("--grant", used, "convex", "data", "messages", "--prod").code == 0
    assert granting.gate("drop", dropped).code == 0
    requests, grants = granting.json("requests", "--all")["requests"], granting.json("grants", "--all")["grants"]
    assert {one["state"] for one in requests} == {"denied", "cancelled", "pending", "approved"}
    assert {one["state"] for one in grants} == {"active", "closed"}
    for request in requests:
        _fits("request", request)
    for grant in grants:
        _fits("grant", grant)
        assert granting.state(grant["id"]) == grant
