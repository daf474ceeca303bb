"""From the page's content to HTML: every text is escaped, and the browser is forbidden to fetch anything."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from deepsight_core.display import visible
from deepsight_html.page import Page


def render(page: Page) -> str:
    """The whole document. Style and script are part of it, and the only ones that its policy admits."""
    style, script = _asset("style.css"), _asset("table.js")
    policy = (
        f"default-src 'none'; style-src {_digest(style)}; script-src {_digest(script)}; "
        "base-uri 'none'; form-action 'none'"
    )
    environment = Environment(
        loader=PackageLoader("deepsight_html"),
        autoescape=True,
        finalize=_spell_out,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = environment.get_template("report.html.j2")
    # Markup is right for these two alone: they ship with this package and hold nothing of the run.
    return template.render(page=page, policy=policy, style=Markup(style), script=Markup(script))


def _spell_out(value: object) -> object:
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _asset(name: str) -> str:
    return files("deepsight_html").joinpath("templates", name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"
