"""Reports whose record lists their files: only those are ever replaced or removed."""

import json
import os

import pytest

from nnunet_reca.results.output import Record, usable_output, whole_folder

RECORD = Record("explain.json", "some report")


def write_report(output, *names, overwrite=False, text="report"):
    with whole_folder(output, overwrite=overwrite, record=RECORD) as folder:
        for name in names:
            (folder / name).write_text(text)
        (folder / RECORD.file).write_text(json.dumps({"kind": RECORD.kind, "files": [*names, RECORD.file]}))


def test_a_report_is_replaced_and_other_files_stay(tmp_path):
    output = tmp_path / "new" / "out"
    write_report(output, "a.png", "b.png")
    (output / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="expected a new or empty folder"):
        write_report(output, "b.png")
    write_report(output, "b.png", "c.png", overwrite=True, text="second")
    assert set(os.listdir(output)) == {"b.png", "c.png", RECORD.file, "notes.txt"}
    assert (output / "b.png").read_text() == "second" and (output / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("record", [None, "{}", "broken", '["kind"]', '{"kind": "other", "files": ["notes.txt"]}'])
def test_only_a_report_is_overwritten(tmp_path, record):
    (tmp_path / "notes.txt").write_text("mine")
    if record:
        (tmp_path / RECORD.file).write_text(record)
    before = set(os.listdir(tmp_path))
    with pytest.raises(ValueError, match="expected --overwrite to replace a report, got .*, which is not one"):
        write_report(tmp_path, "a.png", overwrite=True)
    assert set(os.listdir(tmp_path)) == before


def test_a_foreign_file_by_a_name_of_the_reports_is_not_overwritten(tmp_path):
    write_report(tmp_path, "a.png")
    (tmp_path / "b.png").write_text("mine")
    with pytest.raises(ValueError, match=r"got \['b.png'\]"):
        write_report(tmp_path, "a.png", "b.png", overwrite=True, text="second")
    assert (tmp_path / "b.png").read_text() == "mine" and (tmp_path / "a.png").read_text() == "report"


def test_names_in_a_report_reach_nothing_outside_its_folder(tmp_path):
    output = tmp_path / "out"
    write_report(output, "a.png")
    (tmp_path / "mine.txt").write_text("mine")
    (output / RECORD.file).write_text(
        json.dumps({"kind": RECORD.kind, "files": ["../mine.txt", str(tmp_path / "mine.txt")]})
    )
    (output / "a.png").unlink()
    write_report(output, "a.png", overwrite=True)
    assert (tmp_path / "mine.txt").exists()


def test_after_an_error_all_is_as_before(tmp_path):
    output = tmp_path / "out"
    with pytest.raises(RuntimeError, match="stop"), whole_folder(output, overwrite=False, record=RECORD) as folder:
        (folder / "a.png").write_text("half")
        raise RuntimeError("stop")
    assert not output.exists()


def test_a_report_of_another_kind_is_not_replaced(tmp_path):
    write_report(tmp_path, "a.png")
    with pytest.raises(ValueError, match="which is not one"):
        usable_output(tmp_path, overwrite=True, record=Record(RECORD.file, "another report"))
