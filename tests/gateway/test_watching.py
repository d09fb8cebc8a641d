"""The services folder is watched: whatever comes into it is taken, at whatever moment it comes."""

from itertools import count
from types import SimpleNamespace

from gateway import watching
from gateway.options import Options


def test_what_comes_into_the_folder_while_it_is_scanned_is_scanned_next(tmp_path, monkeypatch):
    scans, looks = [], count()
    stopping = SimpleNamespace(is_set=lambda: len(scans) == 2 or next(looks) > 20)
    steward = SimpleNamespace(options=Options(services=tmp_path), stopping=stopping)

    def scan(options):
        scans.append(sorted(path.name for path in tmp_path.iterdir()))
        if len(scans) == 1:
            (tmp_path / "late.py").write_text("X = 1\n")

    monkeypatch.setattr(watching, "scan", scan)
    monkeypatch.setattr(watching, "LOOK_EVERY", 100)
    watching.watch_services(steward)
    assert scans == [[], ["late.py"]]
