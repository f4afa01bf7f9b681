# The one list of promised names: type checkers and editors read it, and at run time `degrade_kit.__getattr__` and
# `dir()` do, and docs/api.md is made of it. Each line promises one name; a name that is not here is not promised.
# The comment after each `isort: split` is the title of a group.

# isort: split
# Make pairs
from degrade_kit import transforms as transforms
from degrade_kit.degradation import apply as apply
from degrade_kit.degradation import degrade as degrade
from degrade_kit.degradation import finish as finish
from degrade_kit.degradation import make_target as make_target
from degrade_kit.image import decode_image as decode_image
from degrade_kit.pipelines.match import MatchReport as MatchReport
from degrade_kit.pipelines.match import match as match
from degrade_kit.pipelines.synth.synthesize import SynthReport as SynthReport
from degrade_kit.pipelines.synth.synthesize import synthesize as synthesize
from degrade_kit.presets import PRESETS as PRESETS
from degrade_kit.presets import preset as preset
from degrade_kit.progress import Progress as Progress
from degrade_kit.recipe import Recipe as Recipe
from degrade_kit.recipe import load_recipe as load_recipe
from degrade_kit.recipe import recipe_from_mapping as recipe_from_mapping
from degrade_kit.record import Record as Record
from degrade_kit.record import ops_from_json as ops_from_json
from degrade_kit.record_severity import kinds as kinds
from degrade_kit.record_severity import masks as masks
from degrade_kit.record_severity import severities as severities
from degrade_kit.record_severity import severity as severity
from degrade_kit.seeding import generator as generator
from degrade_kit.transforms import DegradeTransform as DegradeTransform
from degrade_kit.transforms import map_pairs as map_pairs

# isort: split
# Read pairs
from degrade_kit.face_points import FacePoints as FacePoints
from degrade_kit.reader import LoadedPair as LoadedPair
from degrade_kit.reader import PairReader as PairReader
from degrade_kit.shards import Sample as Sample
from degrade_kit.shards import ShardSet as ShardSet
from degrade_kit.shards import open_shards as open_shards
from degrade_kit.streaming import PairDataset as PairDataset
from degrade_kit.streaming import PairLoader as PairLoader
from degrade_kit.streaming import PairMapDataset as PairMapDataset
from degrade_kit.streaming import PairOptions as PairOptions
from degrade_kit.wds_pipeline import PairPipeline as PairPipeline
from degrade_kit.wds_pipeline import webdataset as webdataset

# isort: split
# Judge
from degrade_kit.pipelines.dataset.verify import VerifyReport as VerifyReport
from degrade_kit.pipelines.dataset.verify import verify as verify
from degrade_kit.pipelines.dataset.view import Viewed as Viewed
from degrade_kit.pipelines.dataset.view import view as view
from degrade_kit.pipelines.distribution.analyze import Analysis as Analysis
from degrade_kit.pipelines.distribution.analyze import analyze as analyze
from degrade_kit.pipelines.distribution.fit_bank import FittedBank as FittedBank
from degrade_kit.pipelines.distribution.fit_recipe import Fitted as Fitted
from degrade_kit.pipelines.distribution.fit_recipe import fit_recipe as fit_recipe
from degrade_kit.pipelines.evaluation.evaluate import Evaluation as Evaluation
from degrade_kit.pipelines.evaluation.evaluate import evaluate as evaluate

# isort: split
# Use trained models
from degrade_kit.flipnet.blip import read_captions as read_captions
from degrade_kit.flipnet.degrader import Degrader as Degrader
from degrade_kit.flipnet.degrader import Networks as Networks
from degrade_kit.flipnet.sampling import SamplingConfig as SamplingConfig
from degrade_kit.restore.infer import Restorer as Restorer

# isort: split
# Errors
from degrade_kit.errors import ConfigError as ConfigError
from degrade_kit.errors import DegradeKitError as DegradeKitError
from degrade_kit.errors import ImageError as ImageError
from degrade_kit.errors import RunError as RunError
from degrade_kit.errors import ShardError as ShardError
