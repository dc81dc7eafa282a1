"""`report`: one page that shows a store, whatever its texts hold, and asks no network."""

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from cwstore._overview import page as drawing
from cwstore.cli import main
from cwstore.store import Store

HOSTILE = "\"'></title></style></svg><script>document.title='taken'</script><img src=x onerror=a>&"
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
needs_chromium = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="no chromium and chromedriver here: see .ci/run"
)


def fill(store: Store, text: str) -> None:
    """A store in which every text that people and agents write is this one."""
    store.initiatives.create(id="I", name=text, branch=text)
    store.initiatives.create(id="empty", name="empty")
    store.phases.create(id="P", initiative_id="I", name=text, status="in_progress")
    store.phases.create(id="later", initiative_id="I", name=text)
    store.phases.create_dependency("later", "P")
    store.agents.create(id="A", name=text, worktree_id=text, status="running")
    store.agents.create(id="B", name="idle", worktree_id=text)
    store.tasks.create(id="first", name=text, phase_id="P")
    store.tasks.create(id="second", name=text, phase_id="P")
    store.tasks.create(id="part", name=text, phase_id="P", parent_task_id="second")
    store.tasks.create(id="third", name=text, phase_id="later")
    store.tasks.create(id="loose", name="loose", initiative_id="I", status="completed")
    store.tasks.create(id="far", name=text)
    store.tasks.create_dependencies([("second", "first"), ("third", "second"), ("third", "far")])
    store.tasks.claim("first", agent_id="A", lease=timedelta(minutes=5))
    store.tasks.fail("first", agent_id="A", detail=text)
    store.tasks.claim("first", agent_id="A", lease=timedelta(minutes=5))
    store.tasks.claim("part")
    store.messages.create(
        sender_type="agent", sender_id="A", recipient_type="user", content=text,
        requires_response=True,
    )  # fmt: skip
    store.messages.create(sender_type="user", recipient_type="user", content=text)
    store.conversations.create(from_agent_id="A", to_agent_id="B", question=text)
    store.accounts.create(email=text, provider=text, credentials='{"key": "hush"}')
    spent = store.accounts.create(email="spent@example.org")
    store.accounts.mark_exhausted(spent.id, None)
    store.accounts.claim_next_available(text)
    store.log_chunks.insert_chunk("A", agent_name=text, session_number=1, content=text)


@pytest.fixture
def drawn(file: Path, tmp_path: Path) -> Path:
    """The page of a store whose texts try to break out."""
    with Store.open(file) as store:
        fill(store, HOSTILE)
    target = tmp_path / "report.html"
    assert main(["report", str(file), "-o", str(target)]) == 0
    return target


class Reader(HTMLParser):
    """What a browser would make of a page, roughly."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_shows_everything_and_every_text_as_it_is(drawn: Path) -> None:
    page = Reader(drawn.read_text(encoding="utf-8"))
    assert page.text.count(HOSTILE) > 15
    for told in (
        "2 initiatives", "Agents", "Open questions", "Accounts", "Logs", "What waits for what",
        "Attempts", "Without a phase", "exhausted until somebody clears it", "a deleted agent",
        "attempt 2 by ", "nobody named", "of another initiative",
    ):  # fmt: skip
        assert told in page.text, told
    assert page.tags.count("script") == 1
    assert "img" not in page.tags


def test_the_page_asks_no_network_and_holds_no_secret(drawn: Path) -> None:
    text = drawn.read_text(encoding="utf-8")
    page = Reader(text)
    assert "hush" not in text
    links = [
        value for name, value in page.attributes if name in {"src", "href", "srcset", "action"}
    ]
    assert links == ["#i0", "#i1"]
    assert not re.search(r"@import|url\(|fetch\(|XMLHttpRequest|https?://", text)
    assert "default-src 'none'" in text
    assert drawn.stat().st_mode & 0o777 == 0o600


def test_a_report_can_be_printed(
    drawn: Path, file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(drawn.parent)
    before = sorted(drawn.parent.iterdir())
    capsys.readouterr()
    assert main(["report", str(file), "-o", "-"]) == 0
    out, err = capsys.readouterr()
    assert (out[:15], out.rstrip()[-7:], err) == ("<!DOCTYPE html>", "</html>", "")
    assert sorted(drawn.parent.iterdir()) == before


def test_a_report_is_replaced_and_nothing_else_is(
    drawn: Path, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert main(["report", str(file), "-o", str(drawn), "--json"]) == 0
    size = drawn.stat().st_size
    assert json.loads(capsys.readouterr().out) == {"path": str(drawn), "bytes": size}
    assert main(["report", str(file), "-o", str(drawn)]) == 0
    size = drawn.stat().st_size
    assert capsys.readouterr().out == f"{drawn}: {size:,} bytes; open it in a browser.\n"
    mine = tmp_path / "mine.html"
    mine.write_text("<!DOCTYPE html>mine", encoding="utf-8")
    assert main(["report", str(file), "-o", str(mine)]) == 1
    assert capsys.readouterr().err == (
        f"cwstore: {mine} exists and is no report of cwstore; give another path\n"
    )
    assert mine.read_text(encoding="utf-8") == "<!DOCTYPE html>mine"


@pytest.mark.parametrize("place", ["", "no/such/folder.html"])
def test_a_place_that_cannot_be_written_is_told(
    place: str, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Store.open(file).close()
    assert main(["report", str(file), "-o", str(tmp_path / place)]) == 1
    err = capsys.readouterr().err
    why = "No such file or directory" if place else "Is a directory"
    assert err == f"cwstore: cannot write {tmp_path / place}: {why}; give another path\n"
    assert [one.name for one in tmp_path.iterdir()] == [file.name]


def test_the_name_of_the_file_is_a_text_like_any_other(tmp_path: Path) -> None:
    file = tmp_path / "<title>&<script>x"
    Store.open(file).close()
    target = tmp_path / "report.html"
    assert main(["report", str(file), "-o", str(target)]) == 0
    page = Reader(target.read_text(encoding="utf-8"))
    assert page.text.count(file.name) == 2
    assert page.tags.count("script") == 1


def test_an_empty_store_has_a_page_too(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Store.open(file).close()
    monkeypatch.chdir(tmp_path)
    assert main(["report", str(file)]) == 0
    page = Reader((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert "0 initiatives" in page.text
    assert "svg" not in page.tags


def test_a_plan_of_thousands_of_tasks_is_drawn_in_layers(store: Store, tmp_path: Path) -> None:
    store.initiatives.create(id="I", name="big")
    store.tasks.create_many(
        {"id": f"t{n}", "name": f"t{n}", "initiative_id": "I"} for n in range(2_000)
    )
    store.tasks.create_dependencies((f"t{n}", f"t{n // 2}") for n in range(2, 2_000))
    target = tmp_path / "big.html"
    assert main(["report", str(tmp_path / "store.db"), "-o", str(target)]) == 0
    text = target.read_text(encoding="utf-8")
    assert text.count('class="node"') == 1_999
    assert text.count('class="edge ') == 1_998
    places = re.findall(r'id="n0-\d+" transform="translate\((\d+),(\d+)\)"', text)
    assert len(set(places)) == 1_999
    assert {int(x) for x, _ in places} == {270 * layer for layer in range(11)}


def test_thousands_of_tasks_are_cut_into_tables_of_which_only_those_in_sight_are_laid_out(
    store: Store, tmp_path: Path
) -> None:
    store.initiatives.create(id="I", name="big")
    store.tasks.create_many({"name": f"t{n}", "initiative_id": "I"} for n in range(250))
    target = tmp_path / "big.html"
    assert main(["report", str(tmp_path / "store.db"), "-o", str(target)]) == 0
    tables = target.read_text(encoding="utf-8").split('<table class="tasks">')[1:]
    assert [table.count("<tr data-state=") for table in tables] == [100, 100, 50]
    assert ".rows{content-visibility:auto}" in drawing._text_of("page.css")


# In a browser


@pytest.fixture
def browser() -> Iterator[Any]:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1200,1600"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    with suppress(OSError):
        driver.quit()


@needs_chromium
def test_a_browser_shows_it_filters_it_and_runs_nothing_of_the_texts(
    drawn: Path, browser: Any
) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    browser.get(drawn.as_uri())
    assert browser.title == "store.db"
    assert browser.get_log("browser") == []
    rows = browser.find_elements("css selector", "tr[data-state]")
    assert len(rows) == 5

    def shown() -> list[str]:
        return [row.get_attribute("data-state") for row in rows if row.is_displayed()]

    waiting = browser.find_element("css selector", "button[data-state=waiting]")
    waiting.click()
    assert shown() == ["waiting", "waiting"]
    waiting.click()
    find = browser.find_element("css selector", "#find")
    find.send_keys("LOOSE")
    assert shown() == ["completed"]
    find.clear()
    find.send_keys(" \b")
    assert len(shown()) == 5
    node = browser.find_elements("css selector", "svg.plan .node")[-1]
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", node)
    ActionChains(browser).move_to_element(node).perform()
    lit = browser.find_elements("css selector", ".edge.on, .node.on")
    assert len(lit) == 5  # itself, the two that it waits for, and a line to each
    assert browser.title == "store.db"


@pytest.mark.slow
@needs_chromium
def test_a_browser_lays_out_what_is_in_sight_and_finds_the_rest(
    store: Store, tmp_path: Path, browser: Any
) -> None:
    store.initiatives.create(id="I", name="big")
    store.tasks.create_many({"name": f"t{n}", "initiative_id": "I"} for n in range(2_000))
    target = tmp_path / "big.html"
    assert main(["report", str(tmp_path / "store.db"), "-o", str(target)]) == 0
    browser.get(target.as_uri())
    hidden = "return document.querySelectorAll('tr[data-state]')[%d].checkVisibility({%s})"
    only = "contentVisibilityAuto: true"
    assert browser.execute_script(hidden % (0, only))
    assert not browser.execute_script(hidden % (1_999, only))
    browser.find_element("css selector", "#find").send_keys("t1999")
    shown = "return [...document.querySelectorAll('tr[data-state]')].filter(r => !r.hidden).length"
    assert browser.execute_script(shown) == 1
    assert browser.execute_script("return document.documentElement.scrollHeight") < 1_700


@pytest.mark.slow
@needs_chromium
@pytest.mark.parametrize(("scheme", "background"), [("light", 255), ("dark", 20)])
def test_it_is_light_or_dark_as_the_user_wants_it(
    scheme: str, background: int, drawn: Path, browser: Any
) -> None:
    feature = {"name": "prefers-color-scheme", "value": scheme}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    browser.get(drawn.as_uri())
    body = browser.find_element("css selector", "body")
    assert f"{background}, " in body.value_of_css_property("background-color")


def test_styles_and_script_are_plain_ascii_without_a_closing_tag() -> None:
    for name in ("page.css", "page.js"):
        text = drawing._text_of(name)
        assert text.isascii()
        assert "</" not in text
