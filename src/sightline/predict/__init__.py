"""From pictures to answers: `sightline.load(bundle).predict(picture)`."""

from sightline.predict.answers import Answer, MultilabelPrediction, Prediction, to_csv, to_json
from sightline.predict.predictor import Predictor, load
from sightline.predict.sources import gather_sources

__all__ = ["Answer", "MultilabelPrediction", "Prediction", "Predictor", "gather_sources", "load", "to_csv", "to_json"]
