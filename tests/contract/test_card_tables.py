"""Tables of cards hold what was measured, and the command that measures them keeps every row."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def tables(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    folder = root / "validation" / "benchmarks"
    if not folder.is_dir():
        pytest.skip("benchmarks are not part of the installed package")
    monkeypatch.syspath_prepend(str(folder))
    import card_tables  # type: ignore[import-not-found]

    yield card_tables
    sys.modules.pop("card_tables", None)


def test_cards_hold_the_rows_that_are_kept(tables: Any, root: Path) -> None:
    found = tables.every()
    assert {table.model for table in found} >= {"nb_mixture", "mendelian_randomization"}
    for table in found:
        card = (root / "models" / table.model / "README.md").read_text(encoding="utf-8")
        _, rest = card.split(f"<!-- written by {table.label} -->\n")
        if table.rows():
            written = rest.split(tables.END)[0].strip("\n")
            assert written == table.text().strip("\n"), "run python -m validation benchmarks --write"


def test_rows_are_measured_once_and_written(
    tables: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tables, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(tables, "CARDS", tmp_path)
    card = tmp_path / "toy" / "README.md"
    card.parent.mkdir()
    card.write_text("Before.\n\n<!-- written by tried.py -->\n\nold\n\n<!-- end -->\n\nAfter.\n", encoding="utf-8")
    calls = []

    def one(what: str, size: float | None, seed: int) -> dict[str, float]:
        calls.append((what, size, seed))
        return {"a": seed + (size or 0), "b": 9.0, "c": float("nan")}

    columns = {"a": "mean", "b": "root of 9", "c": "nothing"}
    table = tables.Table("tried", "toy", {"right": (None,), "wrong": (0.5, 2)}, one, columns, 3, roots=("b",))
    for arguments, count in ([], 9), ([], 9), (["--again", "--only", "right"], 12):
        monkeypatch.setattr(sys, "argv", ["tried.py", *arguments])
        tables.run([table], "Doc.")
        assert len(calls) == count
    capsys.readouterr()
    text = card.read_text(encoding="utf-8")
    assert text.startswith("Before.\n\n<!-- written by tried.py -->\n\n| what is wrong | size | mean | root of 9 |")
    assert "| right |  | 1.00 | 3.00 |  |\n| wrong | .5 | 1.50 | 3.00 |  |\n|  | 2 | 3.00 | 3.00 |  |\n" in text
    assert "\nMeans of 3 simulations; largest standard errors, by column: .58, .000.\n" in text
    assert text.endswith("<!-- end -->\n\nAfter.\n")
    kept = [json.loads(line) for line in (tmp_path / "results" / "tried.jsonl").read_text().splitlines()]
    assert [row["what"] for row in kept] == ["right", "wrong", "wrong", "right"]
    monkeypatch.setattr(sys, "argv", ["tried.py", "--only", "elsewhere"])
    with pytest.raises(SystemExit):
        tables.run([table], "Doc.")


@pytest.mark.parametrize(
    ("value", "text"), [(0.5, ".50"), (-0.02, "-.020"), (1.0, "1.00"), (0.0, ".000"), (-0.0001, ".000"), (123.4, "123")]
)
def test_numbers(tables: Any, value: float, text: str) -> None:
    assert tables.told(value) == text
