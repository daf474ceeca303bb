"""deepsight doctor: is the installation sound, and if not, what to type next."""

from __future__ import annotations

import shutil
import sys
import time
from argparse import ArgumentParser, Namespace
from importlib import import_module, metadata, util
from pathlib import Path

from deepsight_core import __version__
from deepsight_core.discovery import Catalogue, Offer, discover

SLOW_IMPORT = 1.0  # seconds beyond which looking a component up feels broken


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, default=Path("runs"), help="folder of run directories")


def main(args: Namespace) -> int:
    catalogue = discover()
    problems = [*_catalogue_problems(catalogue), *_plugin_problems(catalogue)]
    print(f"deepsight {__version__}, Python {sys.version.split()[0]}, {sys.prefix}")
    distributions = {offer.origin for offer in catalogue.offers}
    print(f"{len(catalogue.offers)} components from {len(distributions)} distributions")
    print(_hardware())
    print(_disk(args.out))
    for problem in problems:
        print(f"✗ {problem}")
    print("no problems found" if not problems else f"{len(problems)} problems found")
    return 3 if problems else 0


def _catalogue_problems(catalogue: Catalogue) -> list[str]:
    problems = [
        f"{fault.distribution}: {fault.cause}. Try: pip uninstall {fault.distribution}" for fault in catalogue.faults
    ]
    for address, claims in catalogue.conflicts.items():
        names = " and ".join(offer.origin for offer in claims)
        problems.append(f"{address} is offered by {names}. Try: pip uninstall {claims[-1].distribution}")
    return problems


def _plugin_problems(catalogue: Catalogue) -> list[str]:
    from deepsight_core.hub import Hub

    hub = Hub(catalogue)
    problems = []
    for offer in catalogue.offers:
        if offer.blocked or offer.address in catalogue.conflicts or offer.kind == "observer":
            continue
        began = time.monotonic()
        error = hub.check(offer)
        seconds = time.monotonic() - began
        if error is not None:
            problems.append(str(error))
        elif seconds > SLOW_IMPORT:
            problems.append(
                f"{offer.origin}: importing {offer.module} took {seconds:.1f} s; it imports too much at the top"
            )
        problems.extend(_unmet(offer))
    return list(dict.fromkeys(problems))


def _unmet(offer: Offer) -> list[str]:
    """Declared dependencies that are missing or of the wrong version, as far as `packaging` is there to tell."""
    if util.find_spec("packaging") is None:
        return []
    requirements = import_module("packaging.requirements")
    problems = []
    for text in metadata.requires(offer.distribution) or ():
        requirement = requirements.Requirement(text)
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            found = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            problems.append(f'{offer.origin} needs {text}, which is missing. Try: pip install "{text}"')
            continue
        if not requirement.specifier.contains(found, prereleases=True):
            problems.append(f'{offer.origin} needs {text}, but {found} is installed. Try: pip install "{text}"')
    return problems


def _hardware() -> str:
    from deepsight_core.provenance import environment

    facts = environment()
    if util.find_spec("torch") is None:
        torch = "torch is not installed"
    else:
        cuda = import_module("torch").cuda
        devices = [cuda.get_device_name(number) for number in range(cuda.device_count())]
        torch = f"accelerators: {', '.join(devices) or 'none, models run on the CPU'}"
    return f"{facts['cores']} cores, {facts['memory_gib']} GiB of memory; {torch}"


def _disk(out: Path) -> str:
    folder = next(parent for parent in (out.absolute(), *out.absolute().parents) if parent.exists())
    return f"{shutil.disk_usage(folder).free / 2**30:.1f} GiB free for runs in {out}"
