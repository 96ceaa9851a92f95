"""The documents say what the code does."""

from pathlib import Path

from jubako.bundle.options import OPTIONS, Fate
from jubako.config.support import markdown_table

DOCS = Path(__file__).parents[1] / "docs"


def test_supported_md_has_the_table_of_fields_that_the_code_goes_by() -> None:
    text = (DOCS / "supported.md").read_text()

    table = text.partition("checked by tests/test_docs.py -->\n")[2].partition("<!-- end of fields -->")[0]

    assert table == markdown_table(), "paste jubako.config.support.markdown_table() between the two marks"


def test_supported_md_names_every_option_that_is_refused() -> None:
    text = (DOCS / "supported.md").read_text()

    refused = [option.name for option in OPTIONS.values() if option.fate is Fate.REFUSED]

    assert [name for name in refused if f"`--{name}`" not in text] == []
