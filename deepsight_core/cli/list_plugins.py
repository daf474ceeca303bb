"""deepsight list-plugins: what is installed, from metadata alone; with --check, each is loaded as well."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace

from deepsight_core.discovery import KINDS, Catalogue, Offer, discover


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--kind", choices=KINDS, help="only this kind")
    parser.add_argument("--tag", action="append", default=[], help="only what carries this tag, e.g. modality:text")
    parser.add_argument("--check", action="store_true", help="load each plugin and say what is wrong with it")
    parser.add_argument("--json", action="store_true", help="machine-readable")


def main(args: Namespace) -> int:
    catalogue = discover()
    offers = [
        offer
        for offer in catalogue.offers
        if args.kind in (None, offer.kind) and all(tag in offer.tags for tag in args.tag)
    ]
    status = {offer: _status(offer, catalogue) for offer in offers}
    if args.check:
        status = _checked(catalogue, offers)
    if args.json:
        _print_json(offers, status, catalogue)
    else:
        _print_table(offers, status)
        for fault in catalogue.faults:
            print(f"{fault.distribution}: {fault.cause}", file=sys.stderr)
    return 3 if catalogue.faults or any(text not in ("", "ok", "blocked") for text in status.values()) else 0


def _status(offer: Offer, catalogue: Catalogue) -> str:
    if offer.blocked:
        return "blocked"
    if claims := catalogue.conflicts.get(offer.address):
        return "conflict with " + ", ".join(other.origin for other in claims if other != offer)
    return ""


def _checked(catalogue: Catalogue, offers: list[Offer]) -> dict[Offer, str]:
    from deepsight_core.hub import Hub

    hub = Hub(catalogue)
    return {offer: _status(offer, catalogue) if offer.blocked else str(hub.check(offer) or "ok") for offer in offers}


def _print_table(offers: list[Offer], status: dict[Offer, str]) -> None:
    if not offers:
        print("no plugin matches", file=sys.stderr)
        return
    width = max(len(offer.name) for offer in offers)
    origin = max(len(offer.origin) for offer in offers)
    kind = ""
    for offer in offers:
        if offer.kind != kind:
            kind = offer.kind
            print(f"{kind}s")
        note = f"  [{status[offer]}]" if status[offer] not in ("", "ok") else ""
        print(f"  {offer.name:<{width}}  {offer.origin:<{origin}}  {offer.summary}{note}")


def _print_json(offers: list[Offer], status: dict[Offer, str], catalogue: Catalogue) -> None:
    import json

    rows = [
        {
            "kind": offer.kind,
            "name": offer.name,
            "module": offer.module,
            "distribution": offer.distribution,
            "version": offer.version,
            "summary": offer.summary,
            "tags": list(offer.tags),
            "status": status[offer] or "installed",
        }
        for offer in offers
    ]
    faults = [{"distribution": fault.distribution, "cause": fault.cause} for fault in catalogue.faults]
    print(json.dumps({"plugins": rows, "faults": faults}, indent=1))
