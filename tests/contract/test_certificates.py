"""Certificates speak for the sources beside them, and the page that lists them says what they say."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

from genarium import registry
from genarium.calibration import plan_of
from genarium.certificates import Certificate, certificates, choices, matrix
from genarium.methods import methods

PRESENT = list(certificates())

every_certificate = pytest.mark.parametrize("made", [pytest.param(one, id=one.name) for one in PRESENT])


@every_certificate
def test_it_is_of_a_method_that_the_model_has(made: Certificate) -> None:
    told = made.content
    model = registry.get(told["model"]).variant(**told["model_options"])
    assert methods(model)[told["method"]].claim == told["claim"]


@every_certificate
def test_its_file_has_its_name(made: Certificate, root: Path) -> None:
    assert (root / "validation" / "certificates" / f"{made.name}.json").is_file()


def test_pages_list_the_certificates(root: Path) -> None:
    page = root / "validation" / "README.md"
    if not page.exists():
        pytest.skip("there is no validation/README.md")
    spec = spec_from_file_location("validation_run", root / "validation" / "run.py")
    assert spec is not None
    assert spec.loader is not None
    run = module_from_spec(spec)
    spec.loader.exec_module(run)
    assert page.read_text(encoding="utf-8") == run.table_text(PRESENT), "run python -m validation --table"
    readme = (root / "README.md").read_text(encoding="utf-8")
    assert readme == run.with_certified(readme, PRESENT), "run python -m validation --table"
    for name in registry.built_in():
        card = (root / "models" / name / "README.md").read_text(encoding="utf-8")
        assert card == run.with_certificates(card, PRESENT, name), "run python -m validation --table"


@pytest.mark.parametrize("name", registry.built_in())
def test_every_certified_variant_has_sizes_that_it_can_be_simulated_at(name: str) -> None:
    model = registry.get(name)
    given = choices(model)
    made = [plan_of(name, next(iter(methods(model.variant(**one)))), 0, one) for one in given]
    assert len({tuple(plan.declared.chosen.items()) for plan in made}) == len(given)
    assert all(plan.sizes for plan in made)


def test_the_variants_in_the_matrix_are_those_that_certificates_are_made_for() -> None:
    plan = plan_of("notmad", "nuts", 0, {"encoder": "mlp"})
    content = {"model": "notmad", "label": "nuts", "model_options": dict(plan.declared.chosen), "passed": True}
    one = Certificate(content | {"calibrated": True, "sources": {}, "method": "nuts"})
    columns, rows = matrix(registry.get("notmad"), [one])
    assert [
        (row, column)
        for row, cells in rows
        for column, cell in zip(columns, cells, strict=True)
        if cell == one.finding or cell == "stale"
    ] == [("encoder=mlp, order=given", "nuts")]


def test_a_certificate_of_options_that_are_all_defaults_is_that_of_the_default() -> None:
    """``variant(order="free")`` names every option, ``variant()`` none, and they are one model."""
    free = registry.get("notmad").variant(order="free").chosen
    content = {"model": "notmad", "label": "nuts", "model_options": dict(free), "passed": True, "calibrated": True}
    columns, rows = matrix(registry.get("notmad"), [Certificate(content | {"sources": {}, "method": "nuts"})])
    assert dict(rows)["default"][columns.index("nuts")] in ("pass", "stale")


def test_methods_that_only_a_variant_has_can_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    from validation.run import main

    with pytest.raises(SystemExit):
        main(["mendelian_randomization", "nonsense"])
    assert "independence" in capsys.readouterr().err  # of the designs


def test_every_method_of_every_variant_has_a_cell(root: Path) -> None:
    page = root / "validation" / "README.md"
    if not page.exists():
        pytest.skip("there is no validation/README.md")
    _, _, text = page.read_text(encoding="utf-8").partition("## Methods, variants, certificates")
    for name in registry.built_in():
        table = text.partition(f"### {name}\n")[2].partition("###")[0]
        head, _, *rows = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("|")]
        model = registry.get(name)
        told = {"default", *(f"{option}={value}" for option, values in model.options.items() for value in values[1:])}
        assert {part for row in rows for part in row[0].split(", ")} == told
        assert set(methods(model)) <= set(head)
        assert all(len(row) == len(head) + 1 and all(row) for row in rows)
