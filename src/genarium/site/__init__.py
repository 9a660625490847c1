"""Gallery: the zoo as a static site that needs no network: models, how-to pages, reference of the Python functions."""

import shutil
import warnings
from collections.abc import Iterator
from html import escape
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

from genarium import registry
from genarium.certificates import Certificate, certificates, matrix
from genarium.declaration import Model
from genarium.drawing import inline, style
from genarium.errors import InputError
from genarium.reporting import report
from genarium.reporting.graph import story
from genarium.reporting.page import document, listing, paragraph, scrolling, table
from genarium.site.cards import parts_of
from genarium.site.notebooks import notebook_of, shown
from genarium.site.reference import reference
from genarium.verbs.fit import fit
from genarium.verbs.simulate import simulate
from genarium.writing import replacing

UP = paragraph('<a href="../index.html">Gallery</a>')

MARK = ".genarium-gallery"
"""A file that says that a folder is a gallery, which may be written again."""

STATUS = {"pass": "in", "FAIL": "out"}
"""Colours of cells that say how a calibration ended."""

SHORT = {"fits tested": "fits", "density tested": "density", "not offered": "–"}
"""What stands in a cell that no certificate fills."""

KEY = paragraph(
    'A cell is the <a href="howto/certificates.html">verdict of a certificate</a>, if there is one. Otherwise "fits"',
    'means that the tests fit the variant by this method and check the result, "density" that they check the log',
    'density that the method uses, and "–" that the variant does not have the method.',
    kind="soft",
)

Section = tuple[str, str, str]


def gallery(output: str | Path, *, examples: bool = True) -> Path:
    """Write the gallery.

    Parameters
    ----------
    output : str or Path
        A folder that does not exist, is empty, or holds a gallery, which is written anew.
    examples : bool
        Whether to simulate from each model, fit, and write the report: a minute for all.

    Returns
    -------
    Path
        Its first page, ``index.html``.

    Raises
    ------
    InputError
        If the folder holds something else, or the extra ``gallery`` is missing.

    Examples
    --------
    >>> import genarium as gn
    >>> gn.gallery("site", examples=False).name  # doctest: +SKIP
    'index.html'
    """
    folder = Path(output)
    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not (folder / MARK).is_file())):
        raise InputError(f"{folder} holds something else than a gallery. Name a folder that does not exist.")
    functions, guides = reference(), list(_guides())
    for part in ("models", "howto"):
        shutil.rmtree(folder / part, ignore_errors=True)
        (folder / part).mkdir(parents=True)
    (folder / MARK).touch()
    made, models = list(certificates()), [registry.get(name) for name in registry.built_in()]
    for model in models:
        example = _example(model, folder) if examples else ""
        _write(folder / "models" / f"{model.name}.html", *_model_page(model, made, example))
    for name, title, text in guides:
        intro, sections = parts_of(text)
        _write(folder / "howto" / f"{name}.html", title, f"{UP}\n{intro}", sections)
    _write(folder / "reference.html", "Reference", UP.replace("../", ""), functions)
    _write(folder / "index.html", *_index(models, made, guides))
    return folder / "index.html"


def _write(path: Path, title: str, header: str, sections: list[Section]) -> None:
    made = f"genarium {version('genarium')}"
    foot = paragraph(f"Written by {made}. These pages need no network.")
    with replacing(path) as temporary:
        text = document(title, f"<h1>{escape(title)}</h1>\n{header}", sections, foot, made)
        temporary.write_text(text, encoding="utf-8", newline="\n")


def _index(
    models: list[Model], made: list[Certificate], guides: list[tuple[str, str, str]]
) -> tuple[str, str, list[Section]]:
    """Return title, header and sections of the first page."""
    said = paragraph(
        "Generative models for genomics. Each is declared once: from this, Genarium simulates data, fits them by",
        "purpose-built EM, variational Bayes or Gibbs sampling, or by NUTS (PyMC, Stan), and measures how well each",
        "method is calibrated.",
    )
    rows = [(f'<a href="models/{m.name}.html">{m.name}</a>', escape(m.title), _spread(m, made)) for m in models]
    linked = (f'<h3><a href="models/{m.name}.html">{m.name}</a></h3>\n{_matrix(m, made)}' for m in models)
    links = "\n".join(f'<li><a href="howto/{name}.html">{escape(title)}</a></li>' for name, title, _ in guides)
    sections = [
        ("models", "Models", table(("model", "what it is", "certificates"), rows, prose=1, label="Models")),
        ("matrix", "Methods, variants, certificates", "\n".join([KEY, *linked])),
        ("howto", "How to", f"<ul>\n{links}\n</ul>"),
        ("reference", "Reference", paragraph('<a href="reference.html">Functions and classes of the package</a>.')),
    ]
    return "Genarium", said, sections


def _spread(model: Model, made: list[Certificate]) -> str:
    """Count the certificates of a model by their status."""
    own = [one for one in made if one.content["model"] == model.name]
    told = ["stale" if one.changed_files else one.finding for one in own]
    return ", ".join(f"{told.count(status)} {status}" for status in dict.fromkeys(told)) or "none"


def _matrix(model: Model, made: list[Certificate]) -> str:
    columns, rows = matrix(model, made)
    cells = [
        (
            escape(variant).replace("=", "=<wbr>"),
            *(f'<span class="{STATUS.get(one, "soft")}">{SHORT.get(one, one)}</span>' for one in row),
        )
        for variant, row in rows
    ]
    return table(("variant", *map(escape, columns)), cells, label=f"Methods of {model.name}", kind="first")


def _model_page(model: Model, made: list[Certificate], example: str) -> tuple[str, str, list[Section]]:
    """Return title, header and sections of a model's page."""
    with style():
        drawn = inline(story(model), "g", f"Graph of {model.title}")
    graph = f"<figure>{scrolling('Generative graph', 'drawn')}{drawn}</div></figure>"
    card = (Path(str(files("genarium"))) / "models" / model.name / "README.md").read_text(encoding="utf-8")
    title, _, text = card.partition("\n")
    own = [one for one in made if one.content["model"] == model.name]
    rows = [(*map(escape, (o.name, o.content["claim"], o.told)), str(o.content["simulations"])) for o in own]
    heads = ("certificate", "claim", "verdict", "replicates")
    told = table(heads, rows, numeric=(3,), prose=2, label="Certificates") if rows else paragraph("None so far.")
    intro, parts = parts_of(text)
    notebook = notebook_of(model)
    first = [key for key, _, _ in parts].index("model") + 1
    sections = [
        *parts[:first],
        ("graph", "Generative graph", graph),
        *([("example-fit", "An example fit", example)] if example else []),
        *parts[first:],
        *([("notebook", "Notebook", shown(notebook))] if notebook else []),
        (
            "methods-and-variants",
            "Methods and variants",
            KEY.replace("howto/", "../howto/") + "\n" + _matrix(model, made),
        ),
        ("certificates", "Certificates", told),
    ]
    return title.lstrip("# "), f"{UP}\n{intro}", sections


def _example(model: Model, folder: Path) -> str:
    """Simulate, fit and report; return the calls as HTML."""
    method = next(iter(model.methods))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of small simulations
        tree = fit(model, simulate(model, seed=1), method, seed=1)
        report(tree, folder / "models" / f"{model.name}-report.html")
    lines = (
        "import genarium as gn",
        "",
        f'tree = gn.fit("{model.name}", gn.simulate("{model.name}", seed=1), "{method}", seed=1)',
        'gn.report(tree, "report.html")',
    )
    said = paragraph(
        f'Simulated from the model and fitted by its first method: <a href="{model.name}-report.html">the report</a>.'
    )
    return said + "\n" + listing(escape("\n".join(lines)))


def _guides() -> Iterator[tuple[str, str, str]]:
    """Yield name, title and text of the how-to pages."""
    place = Path(str(files("genarium"))) / "site" / "howto"
    for path in sorted(place.glob("*.md")):
        title, _, text = path.read_text(encoding="utf-8").partition("\n")
        yield path.stem, title.lstrip("# "), text
