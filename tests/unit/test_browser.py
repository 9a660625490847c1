"""Pages in a browser: as wide as the screen, readable in the light and in the dark, silent to the network."""

import json
import re
import shutil
import subprocess
from html import escape, unescape
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import genarium as gn
from genarium import registry, site
from genarium.calibration import validate
from genarium.certificates import certificates
from genarium.declaration import Model

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "headless_shell")
MEASURE = (Path(__file__).parent / "browser.js").read_text(encoding="utf-8")
WIDTHS = (360, 1280)

ALONE = (
    "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; script-src 'unsafe-inline'; "
    "style-src 'unsafe-inline'; img-src data:\"><script>window.asked = []; "
    "addEventListener('securitypolicyviolation', (event) => asked.push(event.blockedURI))</script>"
)
"""Forbids a page to load anything, and notes what it asks for."""

HARNESS = """<!DOCTYPE html><meta charset="utf-8"><pre id="told"></pre>
<script>
const told = [];
addEventListener("message", (event) => {{
  told.push(event.data);
  document.getElementById("told").textContent = JSON.stringify(told);
}});
</script>
{frames}
"""

Measured = dict[str, Any]


def browser() -> str:
    """The path of a Chromium, or a skip with the reason."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    kept = sorted((Path.home() / ".cache" / "ms-playwright").glob("chromium*/chrome-linux*/*"))
    found = found or next((str(path) for path in kept if path.name in NAMES), None)
    if found is None:
        pytest.skip("there is no Chromium here")
    return found


def measured(pages: dict[str, Path], folder: Path, dark: bool) -> dict[tuple[str, int], Measured]:
    """Show pages in frames of either width, and return what each measures of itself."""
    frames = []
    for name, path in pages.items():
        text = path.read_text(encoding="utf-8").replace("</body>", f"<script>{MEASURE}</script></body>")
        text = text.replace('<meta charset="utf-8">', f'<meta charset="utf-8">{ALONE}', 1)
        (folder / f"{name}.html").write_text(text, encoding="utf-8")
        frames += [
            f'<iframe name="{escape(name)}|{width}" src="{name}.html" width="{width}" height="800" '
            'style="border: 0; display: block"></iframe>'
            for width in WIDTHS
        ]
    harness = folder / "harness.html"
    harness.write_text(HARNESS.format(frames="\n".join(frames)), encoding="utf-8")
    command = [
        *(browser(), "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=1300,900"),
        *(f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=20000", "--disable-dev-shm-usage"),
        f"--blink-settings=preferredColorScheme={0 if dark else 1}",
        *("--dump-dom", harness.as_uri()),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    found = re.search(r'<pre id="told">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found, done.stderr[-2000:]
    assert found[1], done.stderr[-2000:]
    told = {}
    for one in json.loads(unescape(found[1])):
        name, _, width = one["frame"].partition("|")
        told[name, int(width)] = one
    assert set(told) == {(name, width) for name in pages for width in WIDTHS}
    return told


def hold(told: dict[tuple[str, int], Measured], dark: bool) -> None:
    """Assert of every page what a reader may expect."""
    for where, one in told.items():
        assert one["width"] == where[1], where
        assert one["dark"] is dark, where
        assert (sum(one["page"]) < 3 * 60) is dark, where
        assert one["letters"] > 300, where
        assert one["needed"] <= one["width"], where
        assert one["faint"] == [], where
        assert one["small"] == [], where
        assert one["hidden"] == [], where
        assert one["unseen"] == [], where
        assert one["broken"] == [], where
        assert one["lost"] == [], where
        assert one["asked"] == [], where
        levels = one["headings"]
        assert levels[0] == 1, where
        assert levels.count(1) == 1, where
        assert all(b <= a + 1 for a, b in pairwise(levels)), where


@pytest.fixture(scope="module")
def pages(toy: Model, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A page of each kind."""
    browser()
    folder = tmp_path_factory.mktemp("pages")
    data = gn.simulate("nb_mixture", seed=1, cell=60, component=2)
    fits = {name: gn.fit("nb_mixture", data, name, seed=1, restarts=1) for name in ("em", "vi")}
    kinds = {
        "report": gn.report(fits["vi"], folder / "report.html"),
        "comparison": gn.compare(fits, folder / "comparison.html"),
        "validation": validate(toy, "conjugate", 20, seed=3, item=10).report(folder / "validation.html"),
    }
    made = list(certificates())
    models = [registry.get("nb_mixture")]
    for name, parts in (("index", site._index(models, made, [])), ("model", site._model_page(models[0], made, ""))):
        kinds[name] = folder / f"{name}.html"
        site._write(kinds[name], *parts)
    return kinds


@pytest.mark.slow
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_a_page_of_each_kind(dark: bool, pages: dict[str, Path], tmp_path: Path) -> None:
    told = measured(pages, tmp_path, dark)
    assert told["report", 360]["figures"] >= 5
    hold(told, dark)


@pytest.mark.slow
@pytest.mark.parametrize("name", registry.built_in())
def test_report_of_every_model(name: str, tmp_path: Path) -> None:
    browser()
    method = next(iter(registry.get(name).methods))
    tree = gn.fit(name, gn.simulate(name, seed=1), method, seed=1)
    page = {name: gn.report(tree, tmp_path / "report.html")}
    for dark in (False, True):
        hold(measured(page, tmp_path, dark), dark)


@pytest.mark.slow
def test_every_page_of_the_gallery(tmp_path: Path) -> None:
    browser()
    root = gn.gallery(tmp_path / "site", examples=False).parent
    pages = {"-".join(path.relative_to(root).with_suffix("").parts): path for path in root.rglob("*.html")}
    for dark in (False, True):
        hold(measured(pages, tmp_path, dark), dark)


def test_what_is_wrong_is_seen(tmp_path: Path) -> None:
    """A page with every fault: the measurements can fail."""
    bad = tmp_path / "bad.html"
    bad.write_text(
        '<!DOCTYPE html><html><head><meta charset="utf-8"></head><body style="margin: 0"><h1>One</h1><h3>Three</h3>'
        '<p style="color: #999; width: 500px">faint words</p><p style="font-size: 8px">small words</p>'
        '<p style="width: 9px"><code>--seed</code></p>'
        '<div class="scroll" style="overflow: auto; width: 300px" aria-label="wide">'
        '<table class="wide"><tr><td>first</td><td style="min-width: 900px">last</td></tr></table></div>'
        '<svg width="9" height="9"></svg><img src="absent.png" alt="a picture">'
        '<div class="scroll" style="overflow: auto" aria-label="a table"><p style="width: 2000px">cut</p></div>'
        "</body></html>",
        encoding="utf-8",
    )
    one = measured({"bad": bad}, tmp_path, dark=False)["bad", 360]
    assert one["needed"] == 500
    assert [text for text, _ in one["faint"]] == ["faint words"]
    assert [text for text, _ in one["small"]] == ["small words"]
    assert one["hidden"] == ["wide", "a table"]
    assert len(one["unseen"]) == 1
    assert one["broken"] == ["--seed"]
    assert one["lost"] == ["firstlast"]
    assert len(one["asked"]) == 1
    assert one["headings"] == [1, 3]
