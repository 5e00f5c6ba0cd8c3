"""A finished run, asked: `from minbert.predict import load`."""

from minbert.predict.predictor import Predictor, load

__all__ = ["Predictor", "load"]
