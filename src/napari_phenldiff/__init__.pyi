from .diffusion.base import BaseModel as BaseModel
from .diffusion.dial import Dial as Dial
from .diffusion.finetune import finetune as finetune
from .diffusion.translate import Translation as Translation
from .diffusion.translate import Translator as Translator
from .errors import InputError as InputError
from .images.experiment import Condition as Condition
from .images.experiment import Experiment as Experiment
from .images.image import Image as Image
from .images.intensity import IntensityScaling as IntensityScaling
from .images.simulate import SimulatedPair as SimulatedPair
from .images.simulate import simulate_pairs as simulate_pairs
from .images.tiff import read_image as read_image
from .images.tiff import read_tiff as read_tiff
from .images.tiff import write_tiff as write_tiff
from .images.tiles import TileGrid as TileGrid
from .measurement.compare import Comparison as Comparison
from .measurement.compare import Recovery as Recovery
from .measurement.compare import compare as compare
from .measurement.compare import recovery as recovery
from .measurement.profiles import measure as measure
from .measurement.tables import Measurement as Measurement
from .runs.config import TrainingConfig as TrainingConfig
from .runs.config import TranslationConfig as TranslationConfig
from .runs.folder import Run as Run

__version__: str
