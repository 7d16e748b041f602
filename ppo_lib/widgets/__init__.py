"""小组件：有内核没有内核都能动，在 JupyterLab、Colab 和静态页面上是同一份代码。"""

from ppo_lib.widgets.adam import AdamWidget
from ppo_lib.widgets.clip import ClipWidget
from ppo_lib.widgets.explorer import ReturnExplorer, train_live
from ppo_lib.widgets.gae import GaeWidget
from ppo_lib.widgets.lab import HeatMap, Prediction, SearchGame
from ppo_lib.widgets.quiz import Quiz
from ppo_lib.widgets.train import TrainWidget

__all__ = [
    "AdamWidget",
    "ClipWidget",
    "GaeWidget",
    "HeatMap",
    "Prediction",
    "Quiz",
    "ReturnExplorer",
    "SearchGame",
    "TrainWidget",
    "train_live",
]
