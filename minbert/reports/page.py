"""Reports as one HTML file each: no script, no font, no picture from elsewhere.

`base.html` holds the look that all reports share: light and dark by the reader's setting, narrow
and wide, on paper. A report's own template extends it and lies beside the code that fills it.
"""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined


def render(template: Path, **facts: Any) -> str:
    """The page that `template` makes of the facts; the template extends `base.html`.

    All text is escaped, so that a name in a report is never markup.
    """
    environment = Environment(
        loader=FileSystemLoader([template.parent, Path(__file__).parent]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template.name).render(**facts)
