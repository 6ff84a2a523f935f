"""The page shows the report's numbers, needs no network, and takes nothing from outside for markup."""

import dataclasses
import re

from scheduler.demo.page import cards, page
from scheduler.demo.report import Report
from tests.scheduler.demo.answers import evaluation_answer, make_report

VERSIONS = {"pilotcommit": "0.1.0"}


def measured() -> Report:
    return make_report([evaluation_answer("before", step=0, correct=1), evaluation_answer("after", step=5, correct=3)])


def shown(report: Report, picture: bytes = b"PNG") -> str:
    return page(report, picture=picture, command="pilotcommit demo", versions=VERSIONS)


def test_the_numbers_are_those_of_the_report() -> None:
    text = shown(measured())
    assert "+50.0 points of accuracy for 40 rollouts" in text
    assert "of 64 that whole groups would have cost" in text
    assert "pilotcommit demo" in text
    assert "pilotcommit 0.1.0" in text
    assert '<span class="good">balanced</span>' in text


def test_it_loads_nothing_from_elsewhere() -> None:
    text = shown(measured())
    assert re.findall(r'(?:src|href)="(?!data:)', text) == []
    assert "default-src 'none'" in text
    assert 'src="data:image/png;base64,UE5H"' in text
    assert "<img" not in shown(measured(), picture=b"")


def test_what_comes_from_outside_is_text() -> None:
    hostile = dataclasses.replace(measured(), model="<script>alert(1)</script>", reason='"><img src=x>')
    text = shown(hostile)
    assert "<script" not in text
    assert "<img src=x" not in text
    assert "&lt;script&gt;" in text


def test_what_was_not_measured_is_said_to_be() -> None:
    found = {card.label: card for card in cards(make_report([]))}
    assert found["gain"].value == found["held-out accuracy after"].value == "not measured"
    assert found["gain"].tone == ""
    assert "40 rollouts spent" in shown(make_report([]))
