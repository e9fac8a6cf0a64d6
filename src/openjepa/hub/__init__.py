"""Models that come and go: safe loading and saving."""

from openjepa.hub.store import load_model as load_model
from openjepa.hub.store import save_model as save_model
