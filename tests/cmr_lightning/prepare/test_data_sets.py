import pytest

from cmr_lightning.errors import UserError
from cmr_lightning.prepare.data_sets import data_set, data_sets, published, tables
from tests.building import ROOT
from tests.cmr_lightning.prepare.toys import Toys

NEVER_FETCHED = ("flickr8k", "flickr30k", "cuhk_pedes", "nus_wide", "fashion200k", "fashion_iq")


def test_tables_of_the_readme_and_the_cards_are_those_of_the_facts() -> None:
    """`python -m cmr_lightning.prepare.data_sets` writes them."""
    for path, text in tables(ROOT).items():
        assert path.read_text() == text, f"{path} has other tables"
    everything = "".join(tables(ROOT).values())
    for kind in data_sets().values():
        assert f"| `class_path` | `{kind.__name__}` |" in everything
        assert f"| `{kind.__name__}` | {kind.facts.parts} |" in everything


@pytest.mark.parametrize("name", published())
def test_every_data_set_says_its_terms_and_where_every_file_comes_from(name: str) -> None:
    facts = data_set(name).facts
    assert facts.terms.endswith(".")
    assert not any(origin.how.endswith(".") for origin in facts.origins)
    assert {*facts.optional, *facts.sha256} <= {path for origin in facts.origins for path in origin.holds}


@pytest.mark.parametrize("name", NEVER_FETCHED)
def test_what_is_given_on_request_only_is_never_fetched(name: str) -> None:
    assert not any(origin.file or origin.url for origin in data_set(name).facts.origins)


def test_a_data_set_outside_the_project_is_named_by_its_class_path() -> None:
    assert data_set("tests.cmr_lightning.prepare.toys.Toys") is Toys


@pytest.mark.parametrize(
    "name",
    [
        "wikipedya",
        "shapes",
        "pairs",
        f"{Toys.__module__}.Dolls",
        "no.such.Data",
        "os.path.join",
        "datamodules.base.CrossModalData",
        "datamodules.shapes.Shapes",
    ],
)
def test_an_unknown_data_set_is_answered_with_the_known_ones(name: str) -> None:
    with pytest.raises(UserError, match=f"no data set '{name}' to prepare; there are css3d, cuhk_pedes, fashion"):
        data_set(name)
