"""The gallery: pages that stand alone, links that lead somewhere, and what they show."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

import genarium as gn
from genarium import cli, registry
from genarium.errors import InputError
from genarium.site.cards import parts_of, rendered
from genarium.site.notebooks import cells_of, notebook_of
from genarium.site.reference import _said, reference

pytest.importorskip("markdown_it", reason="needs the extra `gallery`")
pytest.importorskip("griffe", reason="needs the extra `gallery`")


class Reader(HTMLParser):
    """Links, ids, headings and what a page loads."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: list[str] = []
        self.headings: list[int] = []
        self.loaded: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = dict(attrs)
        if tag == "a" and told.get("href"):
            self.links.append(str(told["href"]))
        if told.get("id"):
            self.ids.append(str(told["id"]))
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        if tag in ("script", "link", "img", "iframe"):
            self.loaded.append(tag)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return gn.gallery(tmp_path_factory.mktemp("gallery") / "site", examples=False).parent


@pytest.mark.slow
def test_there_is_a_page_for_each_model_and_guide(site: Path) -> None:
    assert {path.stem for path in (site / "models").iterdir()} == set(registry.built_in())
    assert {"validate", "certificates", "model", "dask", "stan", "pymc-and-stan"} == {
        path.stem for path in (site / "howto").iterdir()
    }
    assert (site / "reference.html").is_file()


def test_links_lead_to_pages_and_places(site: Path) -> None:
    pages = {path: Reader(path) for path in site.rglob("*.html")}
    for path, page in pages.items():
        for link in page.links:
            file, _, place = link.partition("#")
            if link.startswith("http"):
                continue
            target = (path.parent / file).resolve() if file else path
            assert target in pages, (path.name, link)
            assert not place or place in pages[target].ids, (path.name, link)


def test_pages_load_nothing_and_their_headings_are_in_order(site: Path) -> None:
    for path in site.rglob("*.html"):
        page = Reader(path)
        assert page.loaded == [], path.name
        assert len(page.ids) == len(set(page.ids)), path.name
        assert page.headings[0] == 1, path.name
        assert all(b <= a + 1 for a, b in zip(page.headings, page.headings[1:], strict=False)), path.name


def test_every_exported_function_is_in_the_reference(site: Path) -> None:
    ids = set(Reader(site / "reference.html").ids)
    assert {"fit", "validate", "from_pymc", "Model", "gallery"} <= ids
    assert ids == set(gn.__all__)


def test_the_reference_has_types_defaults_and_members_as_they_are() -> None:
    sections = {name: re.sub("<[^>]+>", "", html) for name, _, html in reference()}
    assert "draws=500" in sections["add_prior"]  # the value of a constant
    assert '{"bound", "held_out"}' in sections["choose"]
    assert "(str, Path or Model)" not in sections["choose"]
    assert "Of every ranked scalar" in sections["Validation"]  # of the class that it extends
    assert "report(path, recovery=None)" in sections["Validation"]
    assert "passed" in sections["Diagnosis"]
    assert not any("~genarium" in html for html in sections.values())


@pytest.mark.slow
def test_it_is_written_anew_but_over_nothing_else(site: Path, tmp_path: Path) -> None:
    assert cli.main(["gallery", "-o", str(site), "--no-examples"]) == 0
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="holds something else than a gallery"):
        gn.gallery(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_markdown_is_cut_at_headings_and_links_to_files_are_text() -> None:
    intro, sections = parts_of("Before [a](b.md).\n\n## `One` and *two*\n\n[w](https://x.org) | <b>\n\n### Three\n")
    assert intro == "<p>Before a.</p>\n"
    ((key, title, html),) = sections
    assert (key, title) == ("one-and-two", "One and two")
    assert '<a href="https://x.org">w</a>' in html
    assert "<h3>Three</h3>" in html


def test_each_model_has_a_notebook_on_its_page(site: Path, root: Path) -> None:
    for name in registry.built_in():
        path = notebook_of(gn.get(name))
        assert path is not None, name
        text = path.read_text(encoding="utf-8")
        cells = cells_of(text)
        assert {kind for kind, _ in cells} == {"markdown", "code"}
        assert sum(len(content.splitlines()) for _, content in cells) > 0.7 * len(text.splitlines())  # nothing is lost
        page = (site / "models" / f"{name}.html").read_text(encoding="utf-8")
        assert "<h3>Decision" in page.partition('id="notebook"')[2], name
        assert f"(notebook/{name}.py)" in (root / "models" / name / "README.md").read_text(encoding="utf-8"), name


def test_notebooks_are_cut_into_cells() -> None:
    text = "# %% [markdown]\n# # T\n#\n# a `b`\n\n# %%\nx = 1  # one\n\n# %%\n"
    assert cells_of(text) == [("markdown", "# T\n\na `b`"), ("code", "x = 1  # one")]


@pytest.mark.slow
def test_examples_are_fitted_and_reported(tmp_path: Path) -> None:
    site = gn.gallery(tmp_path / "site").parent
    for name in registry.built_in():
        assert (site / "models" / f"{name}-report.html").is_file()
        assert f'href="{name}-report.html"' in (site / "models" / f"{name}.html").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Numba will use object mode:UserWarning")
def test_the_guides_code_runs(root: Path) -> None:
    for name, part in (("validate", 0), ("pymc-and-stan", 0)):
        text = (root / "src" / "genarium" / "site" / "howto" / f"{name}.md").read_text(encoding="utf-8")
        code = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)[part]
        exec(code.replace("simulations=200", "simulations=5"), {})


def test_commands_have_an_example_each_and_can_be_completed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    commands = re.findall(r"^    ([\w-]+) ", capsys.readouterr().out, flags=re.MULTILINE)
    assert len(commands) > 12
    for command in commands:
        with pytest.raises(SystemExit):
            cli.main([command, "--help"])
        assert f"example:\n  genarium {command}" in capsys.readouterr().out
    assert cli.main(["completion", "bash"]) == 0
    assert "--simulations" in capsys.readouterr().out


def test_names_in_docstrings_are_code() -> None:
    said = _said("``khat`` of :mod:`genarium.remedies` < 1, or `x`")
    assert said == "<code>khat</code> of <code>genarium.remedies</code> &lt; 1, or <code>x</code>"


def test_equations_as_text_keep_their_lines_and_commands_do_not() -> None:
    html = rendered("    a = b                    (2)\n    c = d,   e = f           (3a, 3b)\n")
    assert html.startswith('<pre class="scroll equations" role="group" aria-label="Equations" tabindex="0"><code>')
    assert "a = b   (2)\nc = d,   e = f   (3a, 3b)\n" in html
    assert rendered("    genarium list\n") == "<pre><code>genarium list\n</code></pre>\n"
    assert "wide (35)" not in rendered("    x = wide (35)\n")  # one space is enough


def test_options_and_short_cells_are_not_broken() -> None:
    whole = '<span class="whole">{}</span>'.format
    assert rendered("    fit --held-out a -o b\n").startswith(f"<pre><code>fit {whole('--held-out')} a {whole('-o')} b")
    assert f"<code>{whole('--seed')} 1</code>" in rendered("`--seed 1` of 90 % a--b")
    assert "90\u00a0%" in rendered("`--seed 1` of 90 % a--b")
    html = rendered("| p | what |\n|---|---|\n| 1.4e-09 | a sentence that needs room |\n")
    assert '<td class="short">1.4e-09</td>' in html
    assert "<td>a sentence that needs room</td>" in html


def test_code_scrolls_where_it_would_be_broken() -> None:
    html = rendered("```python\nif x < 1:\n    pass\n```\n")
    assert html.startswith('<pre class="scroll lines" role="group" aria-label="Code" tabindex="0"><code>if x &lt; 1:\n')


def test_no_cell_of_the_reference_is_empty() -> None:
    for name, _, html in reference():
        assert not re.findall(r"<tr>(?:<td[^>]*>[^\n]*)?<td[^>]*></td>", html), name


def test_a_link_to_the_notebook_leads_to_it_on_the_page() -> None:
    assert rendered("[n](notebook/a.py), [b](b.md)") == '<p><a href="#notebook">n</a>, b</p>\n'


def test_a_page_begins_with_what_to_do_and_has_the_graph_beside_the_model(site: Path) -> None:
    ids = [one for one in Reader(site / "models" / "notmad.html").ids if "-" not in one or one.startswith("first")]
    assert ids.index("first-ten-minutes") < ids.index("model") < ids.index("graph") < ids.index("example")
