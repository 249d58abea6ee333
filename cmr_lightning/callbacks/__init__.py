"""Callbacks of training and evaluation: checkpoints, signals, progress, and the files that they leave."""

# ruff: noqa: F401 (the public names of this folder)

from cmr_lightning.callbacks.checkpoints import BestCheckpoint, LastCheckpoint
from cmr_lightning.callbacks.embeddings_file import EmbeddingsFile
from cmr_lightning.callbacks.ending import End, TrainingTime
from cmr_lightning.callbacks.examples_writer import ExamplesWriter
from cmr_lightning.callbacks.first_batch import FirstBatch
from cmr_lightning.callbacks.gallery import RetrievalGallery
from cmr_lightning.callbacks.interruption import Interruption
from cmr_lightning.callbacks.loggers import LoggerReport, NoLogger, RunLoggers, as_list
from cmr_lightning.callbacks.progress_bar import RunProgress
from cmr_lightning.callbacks.record import RecordWriter
from cmr_lightning.callbacks.wandb_logging import WandbWatch
