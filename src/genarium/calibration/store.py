"""The store of a validation: one line a replicate, appended and flushed to disk, so that a kill loses nothing done."""

import json
import os
from pathlib import Path
from typing import Any, Self

import numpy as np

from genarium.calibration.replicate import DRAWS, Record, line
from genarium.errors import InputError
from genarium.writing import replacing

PLAN, REPLICATES, RANKS, LOCK = "plan.json", "replicates.jsonl", "ranks.csv", ".lock"


class Store:
    """Records of replicates, in a folder or in memory only.

    A folder has one writer: the store holds its lock until it is closed, or its process ends.

    Parameters
    ----------
    folder : Path or None
        None keeps records in memory.
    plan : dict
        From :meth:`Plan.describe`; a folder holds the replicates of one plan.
    resume : bool
        Go on with the replicates that the folder holds.

    Raises
    ------
    InputError
        If the folder holds replicates and is not to be resumed, holds those of another plan, or another validation
        writes to it.
    """

    def __init__(self, folder: Path | None, plan: dict[str, Any], resume: bool) -> None:
        self.records: dict[int, Record] = {}
        self.folder = folder
        self._lock: Any = None
        if folder is None:
            if resume:
                raise InputError("resume=True needs the folder of the run to go on with: give out.")
            return
        if folder.exists() and not folder.is_dir():
            raise InputError(f"{folder} is a file. Name a folder for the validation's files.")
        self._lock = _lock(folder)
        try:
            self._open(folder, plan, resume)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let others write to the folder."""
        if self._lock is not None:
            self._lock.release()

    def _open(self, folder: Path, plan: dict[str, Any], resume: bool) -> None:
        """Read the folder's plan and records, or write the plan."""
        path = folder / PLAN
        if path.is_file():
            self._compare(json.loads(path.read_text(encoding="utf-8")), plan, resume)
        elif (folder / REPLICATES).exists():
            raise InputError(f"{folder} holds {REPLICATES} but no {PLAN}. Choose another folder.")
        else:
            with replacing(path) as temporary:
                temporary.write_text(json.dumps(plan, indent=2) + "\n", encoding="utf-8")
        self._read(folder / REPLICATES)

    def _compare(self, before: dict[str, Any], plan: dict[str, Any], resume: bool) -> None:
        have = self.folder / REPLICATES if self.folder else None
        if not resume and have is not None and have.is_file() and have.stat().st_size:
            raise InputError(
                f"{self.folder} holds replicates already. Give --resume (resume=True) to go on with them, or choose "
                "another folder."
            )
        other = [name for name in {**before, **plan} if before.get(name) != plan.get(name)]
        if other:
            was = "; ".join(f"{name}: {before.get(name)!r} there, {plan.get(name)!r} now" for name in other)
            raise InputError(f"{self.folder} holds a run of other settings ({was}). Choose another folder.")

    def _read(self, path: Path) -> None:
        """Read what is there; a last line that a kill has torn is cut off, and its replicate is run again."""
        if not path.is_file():
            return
        whole = 0
        with path.open("rb") as file:
            for text in file:
                if not text.endswith(b"\n"):
                    break
                try:
                    record = json.loads(text)
                    self.records[int(record["index"])] = record
                except (ValueError, TypeError, KeyError):
                    raise InputError(
                        f"{path}, byte {whole}: this line is not a record. Restore the file, or start in a new folder."
                    ) from None
                whole += len(text)
        if whole < path.stat().st_size:
            os.truncate(path, whole)

    def append(self, record: Record) -> None:
        """Keep a record; when this returns, it is on disk, its draws before it."""
        if self.folder is not None and DRAWS in record:
            path = self.folder / DRAWS / f"{int(record['index'])}.npz"
            path.parent.mkdir(exist_ok=True)
            with replacing(path) as temporary, temporary.open("wb") as file:
                np.savez_compressed(file, **record[DRAWS])
        self.records[int(record["index"])] = json.loads(line(record))
        if self.folder is None:
            return
        with (self.folder / REPLICATES).open("ab") as file:
            file.write(line(record).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def finish(self, count: int) -> list[Record]:
        """Return the first ``count`` records in order, and write their ranks as a table."""
        records = [self.records[index] for index in range(count)]
        if self.folder is not None:
            with replacing(self.folder / RANKS) as temporary:
                temporary.write_text(ranks_table(records), encoding="utf-8", newline="\n")
        return records


def _lock(folder: Path) -> Any:
    """Make a folder where there is none, and take its lock.

    Raises
    ------
    InputError
        If it cannot be written to, or another process holds the lock.
    """
    from filelock import FileLock, Timeout

    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / LOCK)
        lock.acquire(timeout=0)
    except Timeout:
        raise InputError(
            f"{folder}: another validation is writing to this folder. Wait until it has ended, or choose another "
            "folder."
        ) from None
    except OSError as error:
        raise InputError(f"{folder} cannot be written to ({error.strerror}). Choose another folder.") from error
    return lock


def ranks_table(records: list[Record]) -> str:
    """Return the ranks as CSV: one row a replicate; rows of failed replicates hold no ranks."""
    names: list[str] = next((record["names"] for record in records if "rank" in record), [])
    quoted = [f'"{name}"' if "," in name else name for name in names]
    rows = [",".join(["replicate", *quoted])]
    for record in records:
        cells = [""] * len(names) if "error" in record else [str(rank) for rank in record.get("rank", [])]
        rows.append(",".join([str(record["index"]), *cells]))
    return "\n".join(rows) + "\n"
