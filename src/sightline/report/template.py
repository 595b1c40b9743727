"""The templates of the pages: what a data set or a user has named is escaped, and a missing value is an error."""

from jinja2 import Environment, PackageLoader, StrictUndefined, Template


def template(name: str) -> Template:
    """A template of this folder.

    Args:
        name: of its file.

    Example:
        >>> template("check.html.jinja").name
        'check.html.jinja'
    """
    environment = Environment(
        loader=PackageLoader("sightline", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)
