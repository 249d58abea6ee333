from cmr_lightning.methods.cca import CCA
from tests.building import trainer
from tests.toy import Toy


def test_fit_ends_after_the_first_batch_and_its_validation() -> None:
    data = Toy()
    model = CCA(data.spec, components=4)
    fit = trainer(max_epochs=50, limit_val_batches=1.0, num_sanity_val_steps=0)
    fit.fit(model, data)
    assert fit.current_epoch == 1
    assert fit.fit_loop.total_batch_idx == 0
    assert model.measurement is not None
