"""What is installed, read from metadata that the tests write into a folder of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from deepsight_core.discovery import discover
from deepsight_core.errors import (
    BrokenPlugin,
    ConflictingPlugins,
    InvalidPlugin,
    UnknownComponent,
)
from deepsight_core.hub import Hub

DATASET = """
from deepsight_core import Dataset, hookimpl
class Fake(Dataset):
    \"\"\"A fake.\"\"\"
    name = "{name}"
    def samples(self): return iter(())
@hookimpl
def deepsight_datasets(): return [Fake]
"""


class Site:
    """A folder on sys.path into which plugins are installed."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def install(self, name: str, entry: str, code: str | None = None, keywords: str = "") -> Path:
        info = self.path / f"{name.replace('-', '_')}-1.0.dist-info"
        info.mkdir(parents=True)
        head = f"Metadata-Version: 2.4\nName: {name}\nVersion: 1.0\nSummary: A fake plugin\n"
        (info / "METADATA").write_text(
            head + (f"Keywords: {keywords}\n" if keywords else "") + "\nLong text: no header\n"
        )
        module = f"{name.replace('-', '_')}_module"
        (info / "entry_points.txt").write_text(f"[deepsight]\n{entry} = {module}\n")
        if code is not None:
            (self.path / f"{module}.py").write_text(code)
        return info


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delenv("DEEPSIGHT_LOAD_PLUGINS", raising=False)
    monkeypatch.delenv("DEEPSIGHT_BLOCK_PLUGINS", raising=False)
    return Site(tmp_path)


def names(kind: str = "dataset") -> list[str]:
    return [offer.name for offer in discover().offers if offer.kind == kind and not offer.blocked]


def test_an_offer_carries_address_version_summary_and_tags(site: Site) -> None:
    site.install("fake-one", "dataset.one", keywords="risk:x,modality:text")
    offer = discover().find("dataset", "one")[0]
    assert (offer.address, offer.origin, offer.summary) == ("dataset.one", "fake-one 1.0", "A fake plugin")
    assert offer.tags == ("risk:x", "modality:text")


def test_a_half_removed_distribution_is_named_and_hides_no_other(site: Site) -> None:
    site.install("fake-one", "dataset.one")
    (site.install("fake-two", "dataset.two") / "METADATA").unlink()
    (site.install("fake-three", "dataset.three") / "entry_points.txt").write_text("[deepsight]\nno equals sign here\n")
    catalogue = discover()
    assert "one" in [offer.name for offer in catalogue.offers]
    assert {fault.distribution for fault in catalogue.faults} == {"fake-two", "fake-three"}


def test_an_unknown_kind_is_a_fault(site: Site) -> None:
    site.install("fake-one", "datset.one")
    assert "no kind 'datset'" in discover().faults[0].cause


def test_block_and_load_lists_filter_by_distribution_and_address(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.install("fake-one", "dataset.one")
    site.install("fake-two", "dataset.two")
    monkeypatch.setenv("DEEPSIGHT_BLOCK_PLUGINS", "fake-one")
    assert "one" not in names() and "two" in names()
    monkeypatch.setenv("DEEPSIGHT_BLOCK_PLUGINS", "*.two, dataset.o*")
    assert not {"one", "two"} & set(names())
    monkeypatch.setenv("DEEPSIGHT_BLOCK_PLUGINS", "")
    monkeypatch.setenv("DEEPSIGHT_LOAD_PLUGINS", "fake-two")
    assert names() == ["two"]


def test_a_component_is_loaded_from_its_plugin_on_first_use(site: Site) -> None:
    site.install("fake-ok", "dataset.ok", DATASET.format(name="ok"))
    hub = Hub()
    assert "fake_ok_module" not in sys.modules
    assert hub.get("dataset", "ok").name == "ok"


def test_two_distributions_with_one_address_are_a_conflict_that_names_both(site: Site) -> None:
    site.install("fake-left", "dataset.same", DATASET.format(name="same"))
    site.install("fake-right", "dataset.same", DATASET.format(name="same"))
    assert list(discover().conflicts) == ["dataset.same"]
    with pytest.raises(ConflictingPlugins, match=r"fake-left 1\.0 and fake-right 1\.0"):
        Hub().get("dataset", "same")


def test_a_plugin_that_cannot_be_imported_is_named_with_its_cause_and_breaks_no_other(site: Site) -> None:
    site.install("fake-broken", "dataset.broken", "import a_module_that_is_not_there")
    site.install("fake-absent", "dataset.absent")
    site.install("fake-fine", "dataset.fine", DATASET.format(name="fine"))
    hub = Hub()
    with pytest.raises(BrokenPlugin, match=r"fake-broken 1\.0 .*a_module_that_is_not_there"):
        hub.get("dataset", "broken")
    with pytest.raises(BrokenPlugin, match="fake_absent_module"):
        hub.get("dataset", "absent")
    assert hub.get("dataset", "fine").name == "fine"


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (DATASET.format(name="other"), "does not return it"),
        (
            "from deepsight_core import hookimpl\n@hookimpl\ndef deepsight_datasets(): return [int]",
            "not a Dataset class",
        ),
        ("from deepsight_core import hookimpl\n@hookimpl\ndef deepsight_datasets(): return 3", "iterable of classes"),
        ("from deepsight_core import hookimpl\n@hookimpl\ndef deepsight_datsets(): return []", "deepsight_datsets"),
        ("def deepsight_datasets(): return []", "@hookimpl"),
        ("from deepsight_core import hookimpl\n@hookimpl\ndef deepsight_datasets(x): return []", "deepsight_datasets"),
        ("from deepsight_core import hookimpl\n@hookimpl\ndef deepsight_datasets(): 1/0", "division by zero"),
    ],
)
def test_a_plugin_that_does_not_keep_the_contract_is_refused_by_name(site: Site, code: str, message: str) -> None:
    name = f"fake-{abs(hash(code)) % 10**8}"
    site.install(name, "dataset.invalid", code)
    with pytest.raises(InvalidPlugin, match=message) as caught:
        Hub().get("dataset", "invalid")
    assert name in str(caught.value)


def test_an_unknown_component_suggests_the_nearest_name(site: Site) -> None:
    site.install("fake-one", "dataset.xstest-like")
    with pytest.raises(UnknownComponent, match="did you mean 'xstest-like'"):
        Hub().get("dataset", "xstest-lik")


def test_an_observer_that_raises_is_logged_and_skipped(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    code = "from deepsight_core import hookimpl\n@hookimpl\ndef deepsight_sample_done(record): {}"
    site.install("fake-bad-observer", "observer.bad", code.format("1/0"))
    site.install("fake-good-observer", "observer.good", code.format("record.append(1)"))
    hub = Hub()
    hub.load_observers()
    seen: list[int] = []
    hub.notify("deepsight_sample_done", record=seen)
    assert seen == [1]
    assert "fake_bad_observer_module" in caplog.text


def test_a_local_file_is_a_plugin_without_packaging(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(DATASET.format(name="mine"))
    assert Hub(files=[file]).get("dataset", "mine").name == "mine"


HEAVY = ("torch", "transformers", "pydantic", "pluggy", "numpy", "tqdm")


def cli(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the command line in a fresh interpreter and report CPU time and heavy modules on the last line of stderr."""
    code = (
        "import sys, json, resource\n"
        "from deepsight_core.cli import main\n"
        f"try:\n    status = main({list(arguments)!r})\n"
        "except SystemExit as exit:  # argparse, after its help\n    status = exit.code\n"
        "usage = resource.getrusage(resource.RUSAGE_SELF)\n"
        f"heavy = [m for m in {HEAVY!r} if m in sys.modules] + [m for m in sys.modules if m.startswith('fake_')]\n"
        "print(json.dumps({'cpu': usage.ru_utime + usage.ru_stime, 'heavy': heavy}), file=sys.stderr)\n"
        "sys.exit(status)\n"
    )
    root = str(Path(__file__).parent.parent)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), root])}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)


def test_listing_and_help_import_no_plugin_and_nothing_heavy(site: Site) -> None:
    for number in range(50):
        site.install(f"fake-{number}", f"dataset.fake-{number}", "raise SystemError('imported')")
    for arguments in (["list-plugins"], ["--help"], ["list-plugins", "--json"], ["run", "--help"]):
        done = cli(*arguments, folder=site.path)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stderr.splitlines()[-1])["heavy"] == []
    listed = json.loads(cli("list-plugins", "--json", folder=site.path).stdout)["plugins"]
    assert len([row for row in listed if row["name"].startswith("fake-")]) == 50


def test_check_loads_each_plugin_and_says_what_is_wrong(site: Site) -> None:
    site.install("fake-fine", "dataset.fine", DATASET.format(name="fine"))
    site.install("fake-broken", "dataset.broken", "1/0")
    done = cli("list-plugins", "--check", "--kind", "dataset", folder=site.path)
    assert done.returncode == 3
    assert "division by zero" in next(line for line in done.stdout.splitlines() if "broken" in line)


TWO = """
from deepsight_core import Dataset, hookimpl
class One(Dataset):
    name = "one"
    def samples(self): return iter(())
class Two(One):
    name = "two"
@hookimpl
def deepsight_datasets(): return [One, Two]
"""


def test_a_blocked_or_contested_component_does_not_slip_in_with_its_neighbour(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = site.install("fake-pair", "dataset.one", TWO)
    (info / "entry_points.txt").write_text(
        "[deepsight]\ndataset.one = fake_pair_module\ndataset.two = fake_pair_module\n"
    )
    monkeypatch.setenv("DEEPSIGHT_BLOCK_PLUGINS", "dataset.two")
    hub = Hub()
    hub.get("dataset", "one")
    with pytest.raises(UnknownComponent, match="blocked"):
        hub.get("dataset", "two")
    monkeypatch.delenv("DEEPSIGHT_BLOCK_PLUGINS")
    site.install("fake-rival", "dataset.two", DATASET.format(name="two"))
    hub = Hub()
    hub.get("dataset", "one")
    with pytest.raises(ConflictingPlugins):
        hub.get("dataset", "two")


def test_an_entry_point_may_name_an_attribute_or_extras(site: Site) -> None:
    info = site.install("fake-extra", "dataset.extra", DATASET.format(name="extra"))
    (info / "entry_points.txt").write_text("[deepsight]\ndataset.extra = fake_extra_module:Fake [fast]\n")
    assert Hub().get("dataset", "extra").name == "extra"


def test_a_plugin_that_exits_on_import_is_broken_and_no_more(site: Site) -> None:
    site.install("fake-exit", "dataset.exit", "import sys; sys.exit(3)")
    with pytest.raises(BrokenPlugin, match="SystemExit"):
        Hub().get("dataset", "exit")


def test_checking_an_observer_loads_it(site: Site) -> None:
    site.install("fake-observer", "observer.fine", "from deepsight_core import hookimpl")
    hub = Hub()
    assert [hub.check(offer) for offer in hub.catalogue.offers if offer.kind == "observer"] == [None]
