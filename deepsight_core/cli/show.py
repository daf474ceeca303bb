"""deepsight show KIND NAME: what a component is, where it comes from, and its options."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from deepsight_core.cli.common import add_plugin_option
from deepsight_core.discovery import KINDS


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("kind", choices=[kind for kind in KINDS if kind != "observer"])
    parser.add_argument("name")
    parser.add_argument("--schema", action="store_true", help="print the JSON schema of its options")
    add_plugin_option(parser)


def main(args: Namespace) -> int:
    import inspect
    import json

    from deepsight_core.hub import Hub

    hub = Hub(files=args.plugin)
    cls = hub.get(args.kind, args.name)
    if args.schema:
        print(json.dumps(cls.model_json_schema(), indent=1))
        return 0
    print(f"{args.kind} {args.name}\n\n{inspect.getdoc(cls) or 'It has no description.'}\n")
    for offer in hub.catalogue.find(args.kind, args.name):
        print(f"from {offer.origin}" + (f" ({', '.join(offer.tags)})" if offer.tags else ""))
    for attribute in ("judges", "metrics", "breakdown", "roles", "needs", "capabilities", "labels", "better"):
        if value := getattr(cls, attribute, None):
            print(f"{attribute}: {_listed(value)}")
    print("\noptions")
    for name, field in cls.model_fields.items():
        default = "required" if field.is_required() else repr(field.get_default(call_default_factory=True))
        print(f"  {name} = {default}")
        if field.description:
            print(f"      {' '.join(field.description.split())}")
    return 0


def _listed(value: object) -> str:
    """A name, or several: in their order where they have one."""
    if isinstance(value, frozenset):
        return ", ".join(sorted(value))
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return str(value)
