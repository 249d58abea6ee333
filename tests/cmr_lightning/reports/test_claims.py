"""Claims as they are committed, and what is wrong with others."""

from dataclasses import replace

import pytest
import yaml

from cmr_lightning.errors import UserError
from cmr_lightning.methods import METHODS
from cmr_lightning.reports.claims import NOT_STATED, STANDINGS, agreeing, read_claims
from datamodules.pascal_sentence_dscmr import PascalSentenceDSCMR
from datamodules.wikipedia import Wikipedia
from tests.building import ROOT
from tests.cmr_lightning.reports.test_comparison import record

COMMITTED = ROOT / "experiments" / "claims"

CCA = {"method": "CCA", "values": {"mAP": {"i2t": 0.2, "t2i": 0.25}}}
DAML = {"method": "DAML", "standing": "paper", "features": "SIFT; LDA", "values": {"mAP": {"i2t": 0.3, "mean": 0.29}}}
COMMON = {"dataset": "Wikipedia", "source": "a paper", "encoder": "SIFT and LDA", "standing": "second-hand"}
TABLE = {**COMMON, "protocol": "map@all/cos/label", "rows": [CCA, DAML]}


def write(folder, *tables):
    (folder / "wikipedia.yaml").write_text(yaml.safe_dump(list(tables)))
    return folder


def with_row(**changes):
    """The table with its second row changed; a key set to None is left out."""
    row = {key: value for key, value in {**DAML, **changes}.items() if value is not None}
    return {**TABLE, "rows": [CCA, row]}


def test_rows_inherit_from_their_table_and_have_a_claim_for_each_metric(tmp_path):
    cca, daml = read_claims(write(tmp_path, TABLE))
    assert (cca.method, cca.standing, cca.features) == ("CCA", "second-hand", None)
    assert cca.values == {"i2t": 0.2, "t2i": 0.25}
    assert (daml.standing, daml.source, daml.values) == ("paper", "a paper", {"i2t": 0.3, "mean": 0.29})
    row = with_row(protocol=NOT_STATED, values={"R@1": {"i2t": 40.1}, "R@10": {"i2t": 79}})
    found = [(claim.metric, claim.values) for claim in read_claims(write(tmp_path, row))[1:]]
    assert found == [("R@1", {"i2t": 40.1}), ("R@10", {"i2t": 79})]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"method": None}, r"\(no method\): method missing"),
        ({"values": None}, "values missing"),
        ({"value": 3}, "unknown keys value"),
        ({"source": ""}, "source must be text, not ''"),
        ({"encoder": 18}, "encoder must be text, not 18"),
        ({"standing": "rumour"}, "standing must be one of paper, code, second-hand, recalled, not rumour"),
        ({"protocol": "mAP@50"}, "Unknown protocol 'mAP@50'.*`not stated`"),
        ({"values": {}}, "values must be metrics"),
        ({"values": {"mAP": 0.3}}, "mAP must have values for some of i2t, t2i, mean"),
        ({"values": {"mAP": {"i2i": 0.3}}}, "mAP must have values for some of i2t, t2i, mean"),
        ({"values": {"mAP": {"i2t": 30.0}}}, "mAP i2t must be a number from 0 to 1, not 30.0"),
        ({"values": {"mAP": {"i2t": "0.3"}}}, "mAP i2t must be a number from 0 to 1, not '0.3'"),
        ({"values": {"mAP": {"i2t": float("nan")}}}, "mAP i2t must be a number from 0 to 1, not nan"),
        ({"values": {"mAP": {"i2t": 0.1}, "mAP@50": {"i2t": 0.1}}}, "the protocol of one metric, but there are 2"),
        ({"method": "CCA"}, "mAP was given before"),
    ],
)
def test_errors_name_file_and_entry(tmp_path, changes, problem):
    with pytest.raises(UserError, match=rf"wikipedia\.yaml, table 2, row 2.*{problem}"):
        read_claims(write(tmp_path, {**TABLE, "dataset": "Shapes"}, with_row(**changes)))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "holds no claims"),
        ("a: [", r"wikipedia\.yaml is not YAML"),
        ("a: 1", r"wikipedia\.yaml must be a list of tables"),
        ("- method: CCA", r"wikipedia\.yaml, table 1: it must have a list of `rows`"),
        ("- rows: [CCA]", r"wikipedia\.yaml, table 1, row 1: it must have keys"),
    ],
)
def test_files_of_another_form(tmp_path, content, problem):
    if content is not None:
        (tmp_path / "wikipedia.yaml").write_text(content)
    with pytest.raises(UserError, match=problem):
        read_claims(tmp_path)


def test_only_what_was_measured_alike_agrees(tmp_path):
    claims = read_claims(write(tmp_path, TABLE))
    ours = record()
    assert agreeing(claims, ours) == [claims[1]]
    for other in (
        replace(ours, method="CCA"),
        replace(ours, dataset="PascalSentence"),
        replace(ours, metrics={"map@50-hits/cos/label": {}}),
        replace(ours, encoders={**ours.encoders, "features": "VGG"}),
    ):
        assert agreeing(claims, other) == []
    assert agreeing([replace(claims[1], protocol=NOT_STATED)], ours) == []
    unknown = replace(claims[1], features=None)
    assert agreeing([unknown], replace(ours, encoders={**ours.encoders, "features": None})) == []


def test_committed_claims_are_sound():
    claims = read_claims(COMMITTED)
    datasets = {"Wikipedia", "PascalSentence", "NUSWIDE", "Flickr8k", "Flickr30k", "MSCOCO", "CUHKPEDES"}
    assert datasets <= {claim.dataset for claim in claims}
    assert {claim.standing for claim in claims} == set(STANDINGS)
    assert {claim.standing for claim in claims if claim.method == "DAML"} == {"recalled"}


def test_methods_of_this_project_are_called_by_their_class():
    def letters(name: str) -> str:
        return "".join(filter(str.isalnum, name.replace("pp", "").lower()))

    ours = {letters(name): name for name in METHODS}
    for claim in read_claims(COMMITTED):
        assert ours.get(letters(claim.method)) in (None, claim.method)


def test_claims_name_features_as_records_do(invented_data):
    """Numbers that were made with the features of our data sets stay comparable when these are described anew."""
    said = {claim.dataset: claim.features for claim in read_claims(COMMITTED) if claim.features}
    assert said == {
        "Wikipedia": Wikipedia(str(invented_data / "wikipedia")).features,
        "PascalSentenceDSCMR": PascalSentenceDSCMR(str(invented_data / "pascal_sentence_dscmr")).features,
    }
