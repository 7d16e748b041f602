"""只有课程用得到的东西：展示源码，检查练习。"""

from ppo_lib.course.card import chapter_card
from ppo_lib.course.exercises import Verdict
from ppo_lib.course.source import show_source
from ppo_lib.course.table import show_table

__all__ = ["Verdict", "chapter_card", "show_source", "show_table"]
