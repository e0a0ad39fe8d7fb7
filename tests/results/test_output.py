import json
import os
from pathlib import Path

import pytest

from nnunet_reca.results.output import ReportFolder

FOLDER = ReportFolder("nnunet_reca test", "results.json")


def write_report(output, *, overwrite=False, name="page"):
    with FOLDER.written(FOLDER.usable(output, overwrite=overwrite), overwrite=overwrite) as folder:
        (folder / "figures").mkdir()
        (folder / "figures" / f"{name}.png").touch()
        (folder / f"{name}.html").write_text(name)
        FOLDER.write_record(folder, {"name": name})


def content(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


REPORT = ["figures/page.png", "page.html", "results.json"]


def test_a_new_folder_is_made_with_its_parents(tmp_path):
    write_report(tmp_path / "deep" / "report")
    assert content(tmp_path / "deep" / "report") == REPORT and len(list((tmp_path / "deep").iterdir())) == 1


def test_an_empty_working_directory_is_filled(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = os.stat(tmp_path).st_ino
    write_report(Path("."))
    assert content(tmp_path) == REPORT and os.stat(tmp_path).st_ino == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["figures", "page.html", "results.json"]


def test_a_link_to_an_empty_folder_stays_a_link_and_the_folder_is_filled(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "there")
    write_report(tmp_path / "link")
    assert (tmp_path / "link").is_symlink() and content(tmp_path / "there") == REPORT
    assert sorted(p.name for p in tmp_path.iterdir()) == ["link", "there"]


def test_a_folder_that_cannot_be_replaced_such_as_a_mount_point_is_filled(tmp_path, monkeypatch):
    (tmp_path / "mount").mkdir()
    replace = os.replace

    def refusing(source, target):
        if (tmp_path / "mount") in (source, target):
            raise OSError("Device or resource busy")
        replace(source, target)

    monkeypatch.setattr(os, "replace", refusing)
    write_report(tmp_path / "mount")
    assert content(tmp_path / "mount") == REPORT


def test_overwriting_replaces_the_reports_entries_and_keeps_others(tmp_path):
    write_report(tmp_path / "r")
    (tmp_path / "r" / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="say --overwrite"):
        FOLDER.usable(tmp_path / "r", overwrite=False)
    write_report(tmp_path / "r", overwrite=True, name="new")
    assert content(tmp_path / "r") == ["figures/new.png", "new.html", "notes.txt", "results.json"]


def test_a_failure_while_moving_brings_the_old_report_back(tmp_path, monkeypatch):
    write_report(tmp_path / "r")
    replace = os.replace

    def failing(source, target):
        if target == tmp_path / "r" / "results.json" and source.parent.name.endswith(".partial"):
            raise OSError("disk full")
        replace(source, target)

    monkeypatch.setattr(os, "replace", failing)
    with pytest.raises(ValueError, match="nothing was written to .*: disk full"):
        with FOLDER.written(tmp_path / "r", overwrite=True) as folder:
            (folder / "page.html").write_text("new")
            FOLDER.write_record(folder, {})
    assert content(tmp_path / "r") == REPORT and (tmp_path / "r" / "page.html").read_text() == "page"


def test_an_output_below_a_file_or_in_a_circle_of_links_is_refused_at_once(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    for output in (tmp_path / "file" / "report", tmp_path / "a"):
        with pytest.raises(ValueError, match="cannot be written.*choose another with -o"):
            FOLDER.usable(output, overwrite=False)


def test_a_folder_without_the_right_to_write_is_refused_at_once(tmp_path, monkeypatch):
    def refused(*arguments, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.mkdtemp", refused)  # what a read-only disk does, to root as well
    with pytest.raises(ValueError, match="report cannot be written: Permission denied; choose another"):
        FOLDER.usable(tmp_path / "report", overwrite=False)
    assert not (tmp_path / "report").exists()


@pytest.mark.parametrize("record", [None, "{}", "broken", '["kind"]', '{"kind": "other", "files": ["notes.txt"]}'])
def test_only_a_report_is_overwritten(tmp_path, record):
    (tmp_path / "notes.txt").write_text("mine")
    if record:
        (tmp_path / FOLDER.record).write_text(record)
    before = content(tmp_path)
    with pytest.raises(ValueError, match="expected --overwrite to replace a report, got .*, which is not one"):
        write_report(tmp_path, overwrite=True)
    assert content(tmp_path) == before


def test_a_foreign_file_by_a_name_of_the_reports_is_not_overwritten(tmp_path):
    write_report(tmp_path)
    (tmp_path / "new.html").write_text("mine")
    with pytest.raises(ValueError, match=r"got \['new.html'\]"):
        write_report(tmp_path, overwrite=True, name="new")
    assert (tmp_path / "new.html").read_text() == "mine" and (tmp_path / "page.html").read_text() == "page"


def test_names_in_a_report_reach_nothing_outside_its_folder(tmp_path):
    output = tmp_path / "out"
    write_report(output)
    (tmp_path / "mine.txt").write_text("mine")
    files = ["../mine.txt", str(tmp_path / "mine.txt"), "figures", "page.html"]
    (output / FOLDER.record).write_text(json.dumps({"kind": FOLDER.kind, "files": files}))
    write_report(output, overwrite=True)
    assert (tmp_path / "mine.txt").exists() and content(output) == REPORT


def test_after_an_error_all_is_as_before(tmp_path):
    with pytest.raises(RuntimeError, match="stop"), FOLDER.written(tmp_path / "out", overwrite=False) as folder:
        (folder / "a.png").write_text("half")
        raise RuntimeError("stop")
    assert not list(tmp_path.iterdir())
