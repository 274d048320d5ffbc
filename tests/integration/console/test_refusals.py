"""What a person is told when something is refused: in their language, field by field, with what they typed."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest

from tests.integration.console.browsing import Browser
from tests.serving import Served

pytestmark = pytest.mark.integration

PAUSE = "/do/v1/queues/post/pause"
PART = {"HX-Request": "true"}
CHINESE = {"Accept-Language": "zh"}


async def form_of_pause(browser: Browser) -> dict[str, object]:
    """What the page holds to pause a queue with."""
    leaf = await browser.open("/ops/queues/post")
    (form,) = [form for form in leaf.page.forms if form.get("action") == PAUSE]
    return dict(form.form_values())


@pytest.mark.parametrize(
    ("headers", "title"),
    [({}, "There is no such thing, or not any more."), (CHINESE, "查无此项，或已不存在。")],
)
async def test_a_page_says_what_it_is_in_the_visitors_language(
    served: Served, browser: Browser, headers: dict[str, str], title: str
) -> None:
    await browser.sign_in(served.viewer)
    leaf = await browser.open("/runs/404", **headers)
    assert (leaf.status, leaf.page.findtext(".//h1")) == (404, title)
    assert leaf.page.xpath("//main//p[@lang='en'][contains(., 'no run 404')]")


async def test_a_part_that_cannot_be_shown_anew_stays_and_the_page_says_why(served: Served, browser: Browser) -> None:
    await browser.sign_in(served.viewer)
    assert (await browser.open("/ops")).page.xpath("//div[@id='stale'][@role='alert'][not(node())]")
    part = await browser.open("/runs/404", **PART)
    assert (part.status, part.headers["HX-Retarget"], part.headers["HX-Reselect"]) == (200, "#stale", ".notice")
    assert part.text.startswith("What is shown here could not be brought up to date.")
    part = await browser.send(PAUSE, {}, **PART)
    assert "HX-Retarget" not in part.headers
    assert "up to date" not in part.text


@pytest.mark.parametrize(
    ("fields", "headers", "name", "text"),
    [
        ({"reason": ""}, {}, "reason", "Fill this in."),
        ({"reason": ""}, CHINESE, "原因", "此项必填。"),
        ({"reason": "x" * 501}, CHINESE, "原因", "最多 500 个字符。"),
        ({"reason": "a\x01b"}, {}, "reason", "One line of text."),
        ({"reason": "well", "until": "noon"}, {}, "until", "Nobody asks for this here."),
    ],
)
async def test_a_wrong_field_is_told_in_words(
    served: Served, browser: Browser, fields: dict[str, str], headers: dict[str, str], name: str, text: str
) -> None:
    await browser.sign_in(served.ops)
    sent = await form_of_pause(browser) | fields
    part = await browser.send(PAUSE, sent, **PART, **headers)
    (line,) = part.page.xpath("//li[@data-field]")
    assert (part.status, line.get("data-field")) == (200, "until" if "until" in fields else "reason")
    assert line.text_content() == f"{name}: {text}"
    whole = await browser.send(PAUSE, sent, **headers)
    assert (whole.status, f"{name}: {text}" in whole.text) == (422, True)


async def test_lines_of_a_box_are_one_line_of_the_api(served: Served, browser: Browser) -> None:
    await browser.sign_in(served.ops)
    await browser.open("/ops/queues/post")
    leaf = await browser.press("queues/post/pause", reason="the custodian is closed\r\nuntil Monday")
    assert "the custodian is closed until Monday" in leaf.text


async def test_whose_session_ended_keeps_what_they_typed(served: Served, browser: Browser) -> None:
    await browser.sign_in(served.ops)
    sent = await form_of_pause(browser) | {"reason": "half an hour of words"}
    browser.session.cookie_jar.clear()
    leaf = await browser.send(PAUSE, sent)
    assert leaf.status == 401
    assert "half an hour of words" in leaf.text
    assert str(sent["csrf"]) not in leaf.source
    (link,) = leaf.page.xpath("//main//a[contains(@href, 'sign-in')]/@href")
    assert parse_qs(urlsplit(link).query) == {"back": ["/ops/queues/post"]}
    foreign = await browser.send(PAUSE, sent, Origin="http://evil.example")
    assert "half an hour of words" not in foreign.text


async def test_a_form_outlives_the_session_it_was_made_in(served: Served, browser: Browser) -> None:
    await browser.sign_in(served.ops)
    sent = await form_of_pause(browser) | {"reason": "half an hour of words"}
    browser.session.cookie_jar.clear()
    part = await browser.send(PAUSE, sent, **PART)
    assert "Your session has ended" in part.text
    await browser.sign_in(served.ops)
    part = await browser.send(PAUSE, sent, **PART)
    (secret,) = part.page.xpath("//input[@name='csrf']/@value")
    assert (await served.ops.get("/v1/queues/post/pause")).said["is_paused"] is False
    part = await browser.send(PAUSE, sent | {"csrf": secret}, **PART)
    assert part.headers["HX-Redirect"] == "/ops/queues/post"
    assert (await served.ops.get("/v1/queues/post/pause")).said["is_paused"] is True


async def test_a_part_of_a_page_leads_back_to_it_by_way_of_signing_in(served: Served, browser: Browser) -> None:
    shown = f"{served.url}/ops/queues/post?group=1"
    part = await browser.open("/ops/queues/post", **PART, **{"HX-Current-URL": shown})
    assert part.headers["HX-Redirect"] == "/sign-in?back=/ops/queues/post%3Fgroup%3D1"


async def test_who_is_signed_out_already_signs_out(browser: Browser) -> None:
    leaf = await browser.send("/sign-out", {"csrf": "of an old page"})
    assert (leaf.status, leaf.url) == (200, "/sign-in")
